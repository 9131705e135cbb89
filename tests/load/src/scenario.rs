//! Lets the sides of a comparison take turns.

use anyhow::{Context as _, Result};
use clap::Args;

use crate::bench::Bench;
use crate::figures::Figures;
use crate::progress;
use crate::report::{Results, Section};
use crate::side::Side;

/// What all scenarios have in common.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// A side of the comparison: NAME[:OPTION,...] with the options extender=PATH, manifests=DIR,
    /// installed=BOOL (without PrivateKube if false), runs=BOOL (the manifests without the extender if false),
    /// omit=KIND/NAME (an object to delete after the installation). May be given several times; ratios are to
    /// the first. Without it, the present build alone is measured.
    #[arg(long = "side", global = true, value_name = "SIDE")]
    sides: Vec<Side>,
    /// Rounds of each side; they take turns.
    #[arg(long, global = true, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: u32,
    /// Fake nodes of each cluster.
    #[arg(long, global = true, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) nodes: u16,
    /// Objects that are created at the same time.
    #[arg(long, global = true, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) connections: u16,
}

impl Options {
    pub(crate) fn sides(&self) -> Vec<Side> {
        if self.sides.is_empty() {
            vec![Side::present()]
        } else {
            self.sides.clone()
        }
    }
}

/// One of a scenario's comparisons, whose sides are benches that stay for all rounds.
pub(crate) trait Comparison {
    fn title(&self) -> String;

    /// Measures one round. Rounds before the first are smaller, and not counted.
    async fn round(&self, bench: &Bench, is_warm_up: bool) -> Result<Figures>;
}

/// Starts a bench for each side and makes all comparisons.
pub(crate) async fn compare(options: &Options, comparisons: &[impl Comparison]) -> Result<Results> {
    let mut benches = Vec::new();
    for side in options.sides() {
        benches.push(Bench::start(side, options.nodes).await?);
    }
    let mut results = Results::new();
    for comparison in comparisons {
        let title = comparison.title();
        for bench in &benches {
            progress(&format!("{title}: {}: warming up", bench.name()));
            comparison.round(bench, true).await?;
        }
        let mut rounds = vec![Vec::new(); benches.len()];
        for round in 0..options.rounds {
            for at in turns(benches.len(), round) {
                let bench = &benches[at];
                progress(&format!(
                    "{title}: round {} of {}: {}",
                    round + 1,
                    options.rounds,
                    bench.name()
                ));
                let figures = comparison
                    .round(bench, false)
                    .await
                    .with_context(|| format!("{title}: {}", bench.name()))?;
                rounds[at].push(figures);
            }
        }
        let names: Vec<String> = benches.iter().map(|bench| bench.name().to_owned()).collect();
        results.add(Section::new(title, &names, rounds));
    }
    for bench in benches {
        bench.stop().await?;
    }
    Ok(results)
}

/// The order of a round: the other way round in every second one, so that no side always comes first.
pub(crate) fn turns(sides: usize, round: u32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..sides).collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use super::turns;

    #[test]
    fn every_second_round_begins_with_the_last_side() {
        assert_eq!(turns(3, 0), [0, 1, 2]);
        assert_eq!(turns(3, 1), [2, 1, 0]);
    }
}
