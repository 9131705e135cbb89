//! The scenario `life`: a ledger that is days or years old, what is left of it in the cluster, and a start on it.
//!
//! The entries are written by the ledger's own crates to a real API server, one after another and as fast as it accepts
//! them, with the times of the days that they stand for: claims of pods arrive, are granted, are consumed an hour later,
//! and are forgotten once their pods are gone, as the extender does it. Then PrivateKube is installed, and starts.

mod passing;

use anyhow::{Context as _, Result};
use clap::Args;
use kube::{Api, ResourceExt as _, api::ListParams};
use privatekube_api::{DatasetKey, PrivacyBudgetClaim, PrivateDatasetSpec};
use privatekube_e2e::{block, claim, create_with_retries, dataset};
use privatekube_policy::{ClaimId, DatasetRules};
use serde_json::Value;

use crate::bench::Bench;
use crate::claims::{DATASET, block_name};
use crate::creation::{self, Pace};
use crate::figures::Figures;
use crate::progress;
use crate::report::{Results, Section};
use crate::scenario::{Options, turns};

/// How many objects a page of a list has.
const PAGE: u32 = 500;
/// The orders of Renyi composition.
/// Measures a ledger of many days: what it leaves in the cluster, and how the extender starts on it.
#[derive(Debug, Clone, Copy, Args)]
#[command(after_help = "Examples:\n  \
    privatekube-load life --days 365 --claims 1000 --rounds 1\n  \
    privatekube-load life --days 0 --blocks 10000 --waiting 100000 --rounds 1")]
pub(crate) struct Life {
    /// Days. Each has a block of its own.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(0..=3650))]
    days: u32,
    /// Claims of each day, each on the blocks of the last seven days.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    claims: u32,
    /// Claims that arrive in one entry.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    together: u32,
    /// Entries from one checkpoint to the next.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    checkpoint_every: u64,
    /// Days for which entries are kept that a checkpoint covers; all are kept without it.
    #[arg(long, value_parser = clap::value_parser!(u64).range(0..=3650))]
    keep_days: Option<u64>,
    /// Blocks besides those of the days.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=99_999))]
    blocks: u32,
    /// Claims that wait at the end, each for one of those blocks.
    #[arg(long, default_value_t = 0, requires = "blocks", value_parser = clap::value_parser!(u32).range(0..=999_999))]
    waiting: u32,
    /// Renyi composition with 12 orders, in place of basic composition.
    #[arg(long)]
    renyi: bool,
}

impl Life {
    pub(crate) async fn run(&self, options: &Options) -> Result<Results> {
        let title = format!(
            "{} days of {} claims; {} blocks, {} waiting claims",
            self.days,
            self.claims,
            self.days + self.blocks,
            self.waiting
        );
        let sides = options.sides();
        let mut rounds = vec![Vec::new(); sides.len()];
        for round in 0..options.rounds {
            for at in turns(sides.len(), round) {
                progress(&format!("{title}: round {} of {}", round + 1, options.rounds));
                let mut bench = Bench::start_uninstalled(sides[at].clone(), options.nodes).await?;
                let figures = self.measure(&mut bench, options.connections.into()).await?;
                bench.stop().await?;
                rounds[at].push(figures);
            }
        }
        let names: Vec<String> = sides.into_iter().map(|side| side.name).collect();
        let mut results = Results::new();
        results.add(Section::new(title, &names, rounds));
        Ok(results)
    }

    async fn measure(self, bench: &mut Bench, connections: usize) -> Result<Figures> {
        let mut figures = Figures::default();
        bench.install_kinds().await?;
        let namespace = bench.new_namespace().await?;
        let (object, rules) = self.dataset(&namespace)?;
        create_with_retries(&bench.client, object).await?;
        let pace = Pace {
            connections,
            rate: None,
        };
        let days = (0..self.days as usize).map(passing::day_name);
        let objects = days
            .chain((0..self.blocks as usize).map(block_name))
            .map(|name| block(DATASET, &name).within(&namespace))
            .collect();
        creation::create(&bench.client, pace, objects).await?;
        let waiting = self.create_waiting(bench, pace, &namespace).await?;
        let key = DatasetKey {
            namespace,
            name: DATASET.to_owned(),
        };
        passing::pass(self, bench, key, rules, &waiting, &mut figures).await?;

        let ready = bench.install_and_start().await?;
        figures.add("start: ready, s", ready);
        if let Some(memory) = bench.extender_memory()? {
            figures.add("start: extender when ready, MiB", memory.resident);
        }
        bench.wait_until_quiet().await?;
        figures.add("second start: ready, s", bench.restart_extender().await?);
        if let Some(memory) = bench.extender_memory()? {
            figures.add("second start: extender when ready, MiB", memory.resident);
        }
        bench.wait_until_quiet().await?;
        if let Some(memory) = bench.extender_memory()? {
            figures.add("extender settled, MiB", memory.resident);
            figures.add("extender at most, MiB", memory.peak);
        }
        Ok(figures)
    }

    /// The dataset's object and rules: each claim of a day is granted at once, and one that asks for more waits.
    fn dataset(self, namespace: &str) -> Result<(Value, DatasetRules)> {
        let mut object = dataset(DATASET).arrivals(self.claims * 10);
        if self.renyi {
            object = object.renyi(&ORDERS);
        }
        let object = object.within(namespace);
        let spec: PrivateDatasetSpec = serde_json::from_value(object["spec"].clone())?;
        let rules = spec.rules().context("the dataset's rules")?;
        Ok((object, rules))
    }

    /// Creates the objects of the claims that wait, and returns the claims' names in the ledger with their blocks.
    async fn create_waiting(
        self,
        bench: &Bench,
        pace: Pace,
        namespace: &str,
    ) -> Result<Vec<(ClaimId, String)>> {
        let blocks = self.blocks.max(1) as usize;
        let of_claim = |number: usize| block_name(number % blocks);
        let objects = (0..self.waiting as usize)
            .map(|number| {
                claim(DATASET, &format!("claim-{number:06}"))
                    .on(&of_claim(number), "5", "1e-9")
                    .within(namespace)
            })
            .collect();
        creation::create(&bench.client, pace, objects).await?;
        let api: Api<PrivacyBudgetClaim> = Api::namespaced(bench.client.clone(), namespace);
        let mut found = Vec::new();
        let mut params = ListParams::default().limit(PAGE);
        loop {
            let listed = api.list_metadata(&params).await?;
            for object in &listed.items {
                let name = object.name_any();
                let uid = object.uid().context("an object without a UID")?;
                let id = ClaimId::from(format!("claim/{namespace}/{name}/{uid}"));
                found.push((id, of_claim(found.len())));
            }
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(found),
            }
        }
    }
}

const ORDERS: [&str; 12] = [
    "1.5", "1.75", "2", "2.5", "3", "4", "5", "6", "8", "16", "32", "64",
];
