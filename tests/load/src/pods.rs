//! The scenario `pods`: pods until they have a node.

use anyhow::{Context as _, Result, ensure};
use clap::{Args, ValueEnum};
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use privatekube_e2e::pod;
use serde_json::Value;

use crate::arrivals::Arrivals;
use crate::bench::Bench;
use crate::claims::{DATASET, WARM_UP, prepare};
use crate::creation::{self, Pace};
use crate::figures::{Figures, number, quantile};
use crate::report::Results;
use crate::scenario::{Comparison, Options, compare};

/// Creates pods, and measures how fast they get a node and what each costs.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  \
    privatekube-load pods --kind plain --count 500 --rounds 6 --side without:installed=false --side with")]
pub(crate) struct Pods {
    /// Whether the pods request budget. Of mixed ones, every second one does.
    #[arg(long, value_enum, default_value_t = Kind::Plain)]
    kind: Kind,
    /// Pods in each round.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=9000))]
    count: u32,
    /// Private pods that run before each round, where PrivateKube is installed, and are not measured.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=9000))]
    before: u32,
    /// Pods created a second, at most; without it, as fast as they are accepted.
    #[arg(long)]
    rate: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Plain,
    Private,
    Mixed,
}

impl Pods {
    pub(crate) async fn run(&self, options: &Options) -> Result<Results> {
        let comparison = PodsOf {
            kind: self.kind,
            count: self.count as usize,
            before: self.before as usize,
            pace: Pace {
                connections: options.connections.into(),
                rate: self.rate,
            },
        };
        compare(options, &[comparison]).await
    }
}

struct PodsOf {
    kind: Kind,
    count: usize,
    before: usize,
    pace: Pace,
}

impl Comparison for PodsOf {
    fn title(&self) -> String {
        let kind = match self.kind {
            Kind::Plain => "plain",
            Kind::Private => "private",
            Kind::Mixed => "plain and private",
        };
        let before = match self.before {
            0 => String::new(),
            before => format!(" after {before} private ones"),
        };
        format!("{} {kind} pods{before}", self.count)
    }

    async fn round(&self, bench: &Bench, is_warm_up: bool) -> Result<Figures> {
        let count = if is_warm_up {
            self.count.min(WARM_UP)
        } else {
            self.count
        };
        if self.before > 0 && bench.has_extender() {
            let before = self.before.min(if is_warm_up { WARM_UP } else { self.before });
            self.bind(bench, Kind::Private, before).await?;
        }
        self.bind(bench, self.kind, count).await
    }
}

impl PodsOf {
    /// Creates `count` pods in a namespace of their own and waits until all have a node.
    async fn bind(&self, bench: &Bench, kind: Kind, count: usize) -> Result<Figures> {
        let namespace = bench.new_namespace().await?;
        if kind != Kind::Plain {
            ensure!(
                bench.has_extender(),
                "nobody grants budget on side {}",
                bench.name()
            );
            prepare(bench, self.pace, &namespace, 1).await?;
        }
        let mut bound = Arrivals::follow(pods_of(bench, &namespace), has_node).await?;
        let window = bench.begin().await?;
        let pods = (0..count)
            .map(|number| new_pod(kind, number, &namespace))
            .collect();
        let sent = creation::create(&bench.client, self.pace, pods).await?;
        let seen = bound.wait(count).await?;
        let mut figures = Figures::default();
        let mut latencies = Vec::new();
        for (at, sent) in sent.iter().enumerate() {
            let seen = seen
                .get(&pod_name(at))
                .context("a pod of another name got a node")?;
            latencies.push(seen.saturating_duration_since(*sent).as_secs_f64());
        }
        let (first, last) = (sent.iter().min(), seen.values().max());
        if let (Some(first), Some(last)) = (first, last) {
            let took = last.duration_since(*first).as_secs_f64();
            figures.add("pods per s", number(count) / took);
        }
        figures.add("p50, s", quantile(&latencies, 0.5).unwrap_or_default());
        figures.add("p99, s", quantile(&latencies, 0.99).unwrap_or_default());
        bench
            .end(window)
            .await?
            .add_to(&mut figures, "pod", number(count));
        Ok(figures)
    }
}

fn pod_name(number: usize) -> String {
    format!("pod-{number:05}")
}

fn new_pod(kind: Kind, number: usize, namespace: &str) -> Value {
    let pod = pod(&pod_name(number));
    let requests = match kind {
        Kind::Plain => false,
        Kind::Private => true,
        Kind::Mixed => number % 2 == 1,
    };
    let pod = if requests {
        // Earlier versions, which a comparison may have as a side, don't know `blocks: all`.
        pod.annotation("max-blocks", "1")
            .requests(DATASET, "0.001", "1e-12")
    } else {
        pod
    };
    pod.within(namespace)
}

fn pods_of(bench: &Bench, namespace: &str) -> Api<DynamicObject> {
    let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&());
    Api::namespaced_with(bench.client.clone(), namespace, &resource)
}

fn has_node(pod: &DynamicObject) -> bool {
    pod.data
        .get("spec")
        .and_then(|spec| spec.get("nodeName"))
        .is_some()
}
