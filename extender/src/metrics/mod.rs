//! Prometheus metrics. Each is declared once, with its help and labels, in the room that measures it: see
//! [`Declarations`]. Names begin with `privatekube_` and end with their units; the values of each label are a closed set
//! or bounded. The page `docs/metrics.md` is made of the declarations.

mod declarations;
mod page;
#[cfg(test)]
pub mod tests;

use std::{ops::Deref, sync::Arc};

use prometheus::{Encoder, IntGauge, Registry, TextEncoder, process_collector::ProcessCollector};

pub use self::{
    declarations::{DATASET, Declaration, Declarations, Label},
    page::page,
};
use crate::{
    admission::AdmissionMetrics, api_requests::ApiMetrics, bookkeeper::LedgerMetrics,
    certificates::CertificateMetrics, controllers::WatchMetrics, leadership::LeadershipMetrics,
    scheduler::SchedulerMetrics, writers::WriterMetrics,
};

/// Every metric, by the room that measures it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Rooms>);

/// The rooms that measure something.
#[derive(Debug)]
pub struct Rooms {
    registry: Registry,
    declared: Vec<Declaration>,
    /// The bookkeepers: datasets, their blocks and claims, and their ledgers.
    pub ledgers: LedgerMetrics,
    /// The scheduler's verbs.
    pub scheduler: SchedulerMetrics,
    /// The webhooks.
    pub admission: AdmissionMetrics,
    /// The writers of statuses, gates and Events.
    pub writers: WriterMetrics,
    /// The watches of the controllers.
    pub watches: WatchMetrics,
    /// The extender's own requests to the API server.
    pub api: ApiMetrics,
    /// The certificates of the extender's servers.
    pub certificates: CertificateMetrics,
    /// Which replica leads.
    pub leadership: LeadershipMetrics,
    /// 1 once the ledgers, datasets and blocks have been read.
    pub ready: IntGauge,
}

impl Metrics {
    /// Declares every metric.
    pub fn new() -> Result<Self, prometheus::Error> {
        let mut declare = Declarations::new();
        let ledgers = LedgerMetrics::declare(&mut declare)?;
        let scheduler = SchedulerMetrics::declare(&mut declare)?;
        let admission = AdmissionMetrics::declare(&mut declare)?;
        let writers = WriterMetrics::declare(&mut declare)?;
        let watches = WatchMetrics::declare(&mut declare)?;
        let api = ApiMetrics::declare(&mut declare)?;
        let certificates = CertificateMetrics::declare(&mut declare)?;
        let leadership = LeadershipMetrics::declare(&mut declare)?;
        declare.room("The process");
        let ready = declare.single_gauge(
            "ready",
            "1 once everything that was committed before the start has been read, and every dataset and block was seen.",
        )?;
        let build = declare.gauge(
            "build_info",
            "1, for the version that runs.",
            &[("version", "of the extender")],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        declare.collector(ProcessCollector::for_self())?;
        let (registry, declared) = declare.finish();
        Ok(Self(Arc::new(Rooms {
            registry,
            declared,
            ledgers,
            scheduler,
            admission,
            writers,
            watches,
            api,
            certificates,
            leadership,
            ready,
        })))
    }

    /// The declarations of all metrics, by room.
    pub fn declared(&self) -> &[Declaration] {
        &self.declared
    }

    /// Every metric in Prometheus' text format.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

impl Deref for Metrics {
    type Target = Rooms;

    fn deref(&self) -> &Rooms {
        &self.0
    }
}
