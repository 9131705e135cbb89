//! The program `privatekube-faults`: a fault proxy in front of a cluster, until Ctrl-C.
#![forbid(unsafe_code)]

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::Parser;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use privatekube_faults::{Fault, FaultProxy, FaultRates};

/// Lets requests to an API server go wrong: lost, answered and the answer lost, delayed, cut, refused, watches stalled.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Example:\n  privatekube-faults --kubeconfig extender.kubeconfig --out faulty.kubeconfig --rate reply-lost=20 --rate watch-stalled=300\n  privatekube-extender serve --kubeconfig faulty.kubeconfig ..."
)]
struct Cli {
    /// The kubeconfig by which requests are sent on.
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// The kubeconfig that is written, for the program whose requests are to go wrong.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Chooses which requests go wrong.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many thousandths of the requests have a fault; may be given several times.
    #[arg(long, value_name = "FAULT=THOUSANDTHS", value_parser = FaultRates::parse)]
    rate: Vec<(Fault, u16)>,
    /// The longest delay, in milliseconds.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1000)]
    longest_delay: u64,
    /// The longest time for which a watch stalls, in milliseconds.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 5000)]
    longest_stall: u64,
    /// A file to which each fault is written.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let kubeconfig = Kubeconfig::read_from(&cli.kubeconfig)
        .with_context(|| format!("can't read the kubeconfig {}", cli.kubeconfig.display()))?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let proxy = FaultProxy::start(Client::try_from(config)?, cli.seed, cli.log.as_deref()).await?;
    let mut rates = FaultRates::none();
    for (fault, thousandths) in cli.rate {
        rates = rates.with(fault, thousandths);
    }
    rates.longest_delay = Duration::from_millis(cli.longest_delay);
    rates.longest_stall = Duration::from_millis(cli.longest_stall);
    proxy.set_rates(rates);
    std::fs::write(&cli.out, proxy.kubeconfig())
        .with_context(|| format!("can't write {}", cli.out.display()))?;
    println!("{} is written; Ctrl-C ends the proxy", cli.out.display());
    tokio::signal::ctrl_c().await?;
    println!("{}", proxy.counts());
    Ok(())
}
