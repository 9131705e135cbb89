//! What is measured of leadership.

use prometheus::{IntCounter, IntGauge};

use crate::metrics::Declarations;

/// The metrics of leadership.
#[derive(Clone, Debug)]
pub struct LeadershipMetrics {
    leader: IntGauge,
    elections: IntCounter,
}

impl LeadershipMetrics {
    /// Declares them.
    pub fn declare(declare: &mut Declarations) -> Result<Self, prometheus::Error> {
        declare.room("Replicas");
        Ok(Self {
            leader: declare.single_gauge(
                "leader",
                "1 on the replica that holds the lease, writes the ledgers and answers the scheduler; 0 on the others.",
            )?,
            elections: declare.single_counter("elections_total", "Times that this process became the leader.")?,
        })
    }

    /// Measures whether this process leads.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
        if leads {
            self.elections.inc();
        }
    }
}
