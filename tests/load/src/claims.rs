//! The scenario `claims`: claims that all fit, granted one after the other.

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use privatekube_e2e::{block, claim, create_with_retries, dataset};
use serde_json::json;

use crate::arrivals::Arrivals;
use crate::bench::Bench;
use crate::creation::{self, Pace};
use crate::figures::{Figures, number, quantile};
use crate::report::Results;
use crate::scenario::{Comparison, Options, compare};

/// Creates claims that all fit at once, and measures how fast they are granted and what each costs.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  privatekube-load claims --blocks 1,10,100 --count 500 -o json")]
pub(crate) struct Claims {
    /// Blocks of each claim: one comparison for each number.
    #[arg(long, value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1000))]
    blocks: Vec<u16>,
    /// Claims in each round.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=9000))]
    count: u32,
    /// Claims created a second, at most; without it, as fast as they are accepted.
    #[arg(long)]
    rate: Option<f64>,
}

/// A claim's budget. The blocks have epsilon 10 and delta 1e-6, so the most claims of a round fit.
const EPSILON: &str = "0.001";
const DELTA: &str = "1e-12";
pub(crate) const DATASET: &str = "data";
pub(crate) const WARM_UP: usize = 50;

impl Claims {
    pub(crate) async fn run(&self, options: &Options) -> Result<Results> {
        let comparison = |blocks: &u16| ClaimsOn {
            blocks: usize::from(*blocks),
            count: self.count as usize,
            pace: Pace {
                connections: options.connections.into(),
                rate: self.rate,
            },
        };
        let comparisons: Vec<_> = self.blocks.iter().map(comparison).collect();
        compare(options, &comparisons).await
    }
}

struct ClaimsOn {
    blocks: usize,
    count: usize,
    pace: Pace,
}

impl Comparison for ClaimsOn {
    fn title(&self) -> String {
        format!("{} claims on {} blocks each", self.count, self.blocks)
    }

    async fn round(&self, bench: &Bench, is_warm_up: bool) -> Result<Figures> {
        ensure!(
            bench.has_extender(),
            "nobody grants claims on side {}",
            bench.name()
        );
        let count = if is_warm_up {
            self.count.min(WARM_UP)
        } else {
            self.count
        };
        let namespace = bench.new_namespace().await?;
        prepare(bench, self.pace, &namespace, self.blocks).await?;
        let mut granted = Arrivals::follow(claims_of(bench, &namespace), is_granted).await?;
        let window = bench.begin().await?;
        let claims = (0..count)
            .map(|number| {
                // Earlier versions, which a comparison may have as a side, don't know `which: all`.
                claim(DATASET, &claim_name(number))
                    .with("blocks", json!({"max": self.blocks}))
                    .epsilon(EPSILON, DELTA)
                    .within(&namespace)
            })
            .collect();
        let sent = creation::create(&bench.client, self.pace, claims).await?;
        let seen = granted.wait(count).await?;
        let mut figures = Figures::default();
        let mut latencies = Vec::new();
        for (at, sent) in sent.iter().enumerate() {
            let seen = seen
                .get(&claim_name(at))
                .context("a claim of another name was granted")?;
            latencies.push(seen.saturating_duration_since(*sent).as_secs_f64());
        }
        let (first, last) = (sent.iter().min(), seen.values().max());
        if let (Some(first), Some(last)) = (first, last) {
            let took = last.duration_since(*first).as_secs_f64();
            figures.add("grants per s", number(count) / took);
        }
        figures.add("p50, s", quantile(&latencies, 0.5).unwrap_or_default());
        figures.add("p99, s", quantile(&latencies, 0.99).unwrap_or_default());
        bench
            .end(window)
            .await?
            .add_to(&mut figures, "claim", number(count));
        Ok(figures)
    }
}

fn claim_name(number: usize) -> String {
    format!("claim-{number:05}")
}

pub(crate) fn block_name(number: usize) -> String {
    format!("block-{number:05}")
}

/// Creates a dataset whose blocks are unlocked at once, and its blocks.
pub(crate) async fn prepare(bench: &Bench, pace: Pace, namespace: &str, blocks: usize) -> Result<()> {
    create_with_retries(&bench.client, dataset(DATASET).within(namespace)).await?;
    let blocks = (0..blocks)
        .map(|number| block(DATASET, &block_name(number)).within(namespace))
        .collect();
    let pace = Pace { rate: None, ..pace };
    creation::create(&bench.client, pace, blocks).await?;
    bench.wait_until_quiet().await?;
    Ok(())
}

pub(crate) fn claims_of(bench: &Bench, namespace: &str) -> Api<DynamicObject> {
    let resource = ApiResource {
        group: "privatekube.dev".to_owned(),
        version: "v1alpha1".to_owned(),
        api_version: "privatekube.dev/v1alpha1".to_owned(),
        kind: "PrivacyBudgetClaim".to_owned(),
        plural: "privacybudgetclaims".to_owned(),
    };
    Api::namespaced_with(bench.client.clone(), namespace, &resource)
}

fn is_granted(claim: &DynamicObject) -> bool {
    phase(claim) == Some("Granted")
}

pub(crate) fn is_waiting(claim: &DynamicObject) -> bool {
    phase(claim) == Some("Waiting")
}

fn phase(claim: &DynamicObject) -> Option<&str> {
    claim.data.get("status")?.get("phase")?.as_str()
}
