//! The scenarios `idle` and `size`: many blocks and waiting claims, on which nothing happens, and a restart.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use privatekube_e2e::{block, claim, create_with_retries, dataset};
use tokio::time::{Instant, sleep};

use crate::arrivals::Arrivals;
use crate::bench::Bench;
use crate::claims::{DATASET, block_name, claims_of, is_waiting};
use crate::creation::{self, Pace};
use crate::figures::{Figures, number};
use crate::progress;
use crate::report::{Results, Section};
use crate::scenario::{Options, turns};

/// Blocks, and claims that wait for them.
#[derive(Debug, Clone, Copy, Args)]
struct Standing {
    /// Blocks of the dataset.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=99_999))]
    blocks: u32,
    /// Claims that wait, each for one block.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=999_999))]
    waiting: u32,
}

/// Counts requests while nothing happens, and after a restart of the extender.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  privatekube-load idle --blocks 100 --waiting 100 --seconds 60 -o json")]
pub(crate) struct Idle {
    #[command(flatten)]
    standing: Standing,
    /// How long nothing happens.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
}

/// Measures the extender's memory and start with many blocks and waiting claims.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  privatekube-load size --blocks 1000 --waiting 5000")]
pub(crate) struct Size {
    #[command(flatten)]
    standing: Standing,
}

impl Idle {
    pub(crate) async fn run(&self, options: &Options) -> Result<Results> {
        let title = format!(
            "idle with {} blocks and {} waiting claims",
            self.standing.blocks, self.standing.waiting
        );
        alternate(options, &title, self.standing, Some(self.seconds)).await
    }
}

impl Size {
    pub(crate) async fn run(&self, options: &Options) -> Result<Results> {
        let title = format!(
            "{} blocks and {} waiting claims",
            self.standing.blocks, self.standing.waiting
        );
        alternate(options, &title, self.standing, None).await
    }
}

/// Starts a cluster for each side in each round: what is made in one stays for ever.
async fn alternate(
    options: &Options,
    title: &str,
    standing: Standing,
    idle_seconds: Option<u32>,
) -> Result<Results> {
    let sides = options.sides();
    let mut results = Results::new();
    let mut rounds = vec![Vec::new(); sides.len()];
    for round in 0..options.rounds {
        for at in turns(sides.len(), round) {
            progress(&format!("{title}: round {} of {}", round + 1, options.rounds));
            let mut bench = Bench::start(sides[at].clone(), options.nodes).await?;
            let mut figures = Figures::default();
            if bench.has_extender() {
                standing
                    .make(&bench, options.connections.into(), &mut figures)
                    .await?;
            }
            if let Some(seconds) = idle_seconds {
                idle(&bench, seconds, &mut figures).await?;
            }
            if bench.has_extender() {
                restart(&mut bench, &mut figures).await?;
            }
            bench.stop().await?;
            rounds[at].push(figures);
        }
    }
    let names: Vec<String> = sides.into_iter().map(|side| side.name).collect();
    results.add(Section::new(title.to_owned(), &names, rounds));
    Ok(results)
}

impl Standing {
    /// Creates blocks of which next to nothing is unlocked, and claims that wait for it.
    async fn make(self, bench: &Bench, connections: usize, figures: &mut Figures) -> Result<()> {
        let pace = Pace {
            connections,
            rate: None,
        };
        let namespace = bench.new_namespace().await?;
        let locked = dataset(DATASET).arrivals(1_000_000).within(&namespace);
        create_with_retries(&bench.client, locked).await?;
        let count = self.blocks as usize;
        ensure!(count > 0, "a claim needs a block to wait for");
        let blocks = (0..count)
            .map(|number| block(DATASET, &block_name(number)).within(&namespace))
            .collect();
        let begun = Instant::now();
        creation::create(&bench.client, pace, blocks).await?;
        figures.add(
            "blocks created per s",
            number(count) / begun.elapsed().as_secs_f64(),
        );
        bench.wait_until_quiet().await?;
        figures.add("quiet after the first block, s", begun.elapsed().as_secs_f64());

        let waiting = self.waiting as usize;
        if waiting > 0 {
            let mut shown = Arrivals::follow(claims_of(bench, &namespace), is_waiting).await?;
            let claims = (0..waiting)
                .map(|number| {
                    claim(DATASET, &format!("claim-{number:06}"))
                        .on(&block_name(number % count), "5", "1e-9")
                        .within(&namespace)
                })
                .collect();
            let begun = Instant::now();
            creation::create(&bench.client, pace, claims).await?;
            figures.add(
                "claims created per s",
                number(waiting) / begun.elapsed().as_secs_f64(),
            );
            let created = Instant::now();
            shown.wait(waiting).await?;
            figures.add(
                "last status after the last creation, s",
                created.elapsed().as_secs_f64(),
            );
            bench.wait_until_quiet().await?;
            figures.add(
                "quiet after the last creation, s",
                created.elapsed().as_secs_f64(),
            );
        }
        if let Some(memory) = bench.extender_memory()? {
            figures.add("extender settled, MiB", memory.resident);
            figures.add("extender at most, MiB", memory.peak);
        }
        figures.add("API server settled, MiB", bench.api_server_memory()?.resident);
        Ok(())
    }
}

/// Lets nothing happen, and counts what is requested all the same.
async fn idle(bench: &Bench, seconds: u32, figures: &mut Figures) -> Result<()> {
    bench.wait_until_quiet().await?;
    let (cpu, requests) = (bench.cpu()?, bench.requests().await?);
    sleep(Duration::from_secs(seconds.into())).await;
    let (used, requests) = (bench.cpu()?.since(cpu), bench.requests().await?.since(&requests));
    let minutes = f64::from(seconds) / 60.0;
    used.add_to(figures, 1000.0 / minutes, "ms per idle minute");
    for (request, count) in requests.iter() {
        figures.add(format!("{request} per idle minute"), count / minutes);
    }
    Ok(())
}

/// Restarts the extender and counts what it does until the cluster is quiet.
async fn restart(bench: &mut Bench, figures: &mut Figures) -> Result<()> {
    let requests = bench.requests().await?;
    let before = bench.cpu()?;
    let ready = bench.restart_extender().await?;
    bench.wait_until_quiet().await?;
    let used = bench.cpu()?.since(before);
    let requests = bench.requests().await?.since(&requests);
    figures.add("restart: ready, s", ready);
    if let Some(memory) = bench.extender_memory()? {
        figures.add("restart: extender settled, MiB", memory.resident);
        figures.add("restart: extender at most, MiB", memory.peak);
    }
    figures.add("restart: API server CPU, s", used.api_server());
    figures.add("restart: writes", requests.writes());
    for (request, count) in requests.iter() {
        figures.add(format!("restart: {request}"), count);
    }
    Ok(())
}
