//! Days pass: entries are written, checkpoints published, old entries removed, and what is left is measured.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use privatekube_api::{BudgetRequest, DatasetKey};
use privatekube_kubernetes::KubernetesStore;
use privatekube_ledger::{ApplyError, CheckpointStore as _, Ledger, Removal, Requester, remove_entries};
use privatekube_policy::{
    Amount, Arrival, BlockId, Budget, ClaimId, DatasetRules, Demand, Event, Time, Weight,
};
use tokio::time::Instant;

use super::Life;
use crate::bench::Bench;
use crate::claims::block_name;
use crate::figures::{Figures, number};
use crate::progress;

/// The most claims that one event forgets, as in the extender.
const MOST_FORGOTTEN: usize = 1000;
/// The most entries that are removed at a time, as in the extender.
const MOST_REMOVED: usize = 10_000;
/// A claim's days: those of a week.
const WEEK: usize = 7;
/// Microseconds.
const HOUR: u64 = 3_600_000_000;
const DAY: u64 = 24 * HOUR;

/// The name of a day's block.
pub(super) fn day_name(day: usize) -> String {
    format!("day-{day:04}")
}

/// Writes the ledger of a life that ends now, and adds what is left after each quarter of its days, and at its end.
pub(super) async fn pass(
    life: Life,
    bench: &Bench,
    dataset: DatasetKey,
    rules: DatasetRules,
    waiting: &[(ClaimId, String)],
    figures: &mut Figures,
) -> Result<()> {
    let store = KubernetesStore::new(bench.client.clone(), dataset.clone());
    let of_block = rules.composition.capacity("10".parse()?, "1e-6".parse()?)?;
    let ask = |epsilon: &str, delta: &str| -> Result<Budget> {
        let (epsilon, delta) = (epsilon.parse()?, delta.parse()?);
        let asked = BudgetRequest::Guarantee { epsilon, delta };
        Ok(asked.demand(&rules.composition)?)
    };
    // No more than what its arrival unlocks on each block: 1 of the block's 10, divided by the claims of a day.
    let share = 1_000_000_000_000 / u64::from(life.claims);
    let small = ask(&format!("0.{share:012}"), "0")?;
    let large = ask("5", "1e-9")?;
    let ledger = Ledger::open(store.clone(), "load".to_owned(), rules).await?;
    let mut passing = Passing {
        life,
        dataset,
        of_block,
        small,
        store,
        ledger,
        ended: Vec::new(),
        gone: Vec::new(),
        since_checkpoint: 0,
        removed: 0,
        content_bytes: 0,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    let now = u64::try_from(now)?;
    let began = Instant::now();
    let mut told = Instant::now();
    let days = life.days as usize;
    for day in 0..days {
        let left = u64::from(life.days) - count(day);
        passing.day(day, now - left * DAY).await?;
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            progress(&format!("  day {} of {days}", day + 1));
        }
        if days >= 4 && (day + 1).is_multiple_of(days / 4) {
            let after = format!("after {} days", day + 1);
            passing.measure(bench, &after, figures).await?;
        }
    }
    if days > 0 {
        figures.add("days written per s", number(days) / began.elapsed().as_secs_f64());
    }
    let last = Time::from_micros(now - HOUR);
    let blocks = (0..life.blocks as usize).map(block_name);
    let added = blocks.map(|block| passing.added(&block)).collect();
    passing.write(last, added).await?;
    let arrivals = waiting.iter().map(|(claim, block)| {
        let blocks = vec![BlockId::from(block.as_str())];
        arrival(claim.clone(), blocks, large.clone())
    });
    passing.write(last, arrivals.collect()).await?;
    passing.checkpoint(last).await?;
    passing.measure(bench, "at the end", figures).await
}

fn count(number: usize) -> u64 {
    number as u64
}

/// One claim, on these blocks with the same budget on each.
fn arrival(claim: ClaimId, blocks: Vec<BlockId>, budget: Budget) -> Event {
    Event::Arrive(Arrival {
        claim,
        min_blocks: u32::try_from(blocks.len()).unwrap_or(u32::MAX),
        demands: vec![Demand { blocks, budget }],
        timeout: None,
        priority: 0,
        weight: Weight::default(),
    })
}

/// Who asked, as a pod of a Job has it.
fn requester(event: &Event) -> Option<Requester> {
    let Event::Arrive(arrival) = event else {
        return None;
    };
    Some(Requester {
        user: Some("system:serviceaccount:kube-system:job-controller".to_owned()),
        service_account: Some("trainer".to_owned()),
        owner: Some("Job/weekly-report-of-fares".to_owned()),
        images: vec![format!("registry.example/teams/train@sha256:{}", "5".repeat(64))],
        mechanism: Some("guarantee(epsilon=0.001,delta=0.000000001)".to_owned()),
        purpose: Some("weekly report of fares".to_owned()),
        ..Requester::unknown(arrival.claim.clone())
    })
}

/// A ledger while its days pass.
struct Passing {
    life: Life,
    dataset: DatasetKey,
    /// What each block has.
    of_block: Budget,
    /// What each claim of a day asks for.
    small: Budget,
    store: KubernetesStore,
    ledger: Ledger<KubernetesStore>,
    /// Claims that have ended since the last checkpoint.
    ended: Vec<ClaimId>,
    /// Claims that had ended by then: the next checkpoint is made without them.
    gone: Vec<ClaimId>,
    since_checkpoint: u64,
    removed: usize,
    /// The size of the last checkpoint, compressed.
    content_bytes: usize,
}

impl Passing {
    /// The event that adds a block.
    fn added(&self, block: &str) -> Event {
        Event::AddBlock {
            block: block.into(),
            capacity: self.of_block.clone(),
        }
    }

    /// One day, which begins at a time in microseconds since the Unix epoch.
    async fn day(&mut self, day: usize, begins: u64) -> Result<()> {
        let added = self.added(&day_name(day));
        self.write(Time::from_micros(begins), vec![added]).await?;
        let blocks: Vec<BlockId> = (day.saturating_sub(WEEK - 1)..=day)
            .map(|day| day_name(day).into())
            .collect();
        let names: Vec<ClaimId> = (0..self.life.claims)
            .map(|number| {
                // As long as those in a cluster.
                let uid = format!("{day:08x}-0000-4000-8000-{number:012x}");
                let namespace = &self.dataset.namespace;
                ClaimId::from(format!("pod/{namespace}/train-{day:04}-{number:06}/{uid}"))
            })
            .collect();
        let groups: Vec<&[ClaimId]> = names.chunks(self.life.together as usize).collect();
        // The last ones are consumed an hour after they have arrived, before the day ends.
        let step = (DAY - 2 * HOUR) / count(groups.len()).max(1);
        for (at, claims) in groups.iter().enumerate() {
            let time = begins + step * count(at);
            let arrivals = claims
                .iter()
                .map(|claim| arrival(claim.clone(), blocks.clone(), self.small.clone()));
            self.write(Time::from_micros(time), arrivals.collect()).await?;
            let consumed = claims.iter().map(|claim| Event::Consume {
                claim: claim.clone(),
                amount: Amount::All,
            });
            let time = Time::from_micros(time + step / 2);
            self.write(time, consumed.collect()).await?;
            self.ended.extend(claims.iter().cloned());
            if self.since_checkpoint >= self.life.checkpoint_every {
                self.checkpoint(time).await?;
            }
        }
        Ok(())
    }

    /// Writes events, in as many entries as they take.
    async fn write(&mut self, time: Time, events: Vec<Event>) -> Result<()> {
        let mut events = events.into_iter().peekable();
        while events.peek().is_some() {
            let time = time.max(self.ledger.head().time);
            let mut draft = self.ledger.draft(time)?;
            while !draft.is_full()
                && let Some(event) = events.peek()
            {
                match draft.apply_requested(event.clone(), requester(event)) {
                    Ok(_) => drop(events.next()),
                    Err(ApplyError::Full) => break,
                    Err(error) => return Err(error).context("an event of the ledger"),
                }
            }
            draft.commit().await?;
            self.since_checkpoint += 1;
        }
        Ok(())
    }

    /// Forgets claims, publishes a checkpoint and removes what it covers, as the extender does.
    async fn checkpoint(&mut self, time: Time) -> Result<()> {
        let gone = std::mem::replace(&mut self.gone, std::mem::take(&mut self.ended));
        let forgotten = gone.chunks(MOST_FORGOTTEN).map(|claims| Event::Forget {
            claims: claims.to_vec(),
            of: Some(self.dataset.namespace.clone()),
        });
        self.write(time, forgotten.collect()).await?;
        let content = self.ledger.checkpoint()?;
        content.publish(&self.store).await?;
        let checkpoint = content.checkpoint;
        self.store.remove_pieces_before(&checkpoint).await?;
        self.ledger.mark(checkpoint.mark());
        self.content_bytes = content.pieces.iter().map(Vec::len).sum();
        self.since_checkpoint = 0;
        if let Some(days) = self.life.keep_days {
            let before = Time::from_micros(time.micros().saturating_sub(days * DAY));
            let removal = Removal::older_than(before, MOST_REMOVED);
            self.removed += remove_entries(&self.store, &checkpoint, removal).await?;
        }
        Ok(())
    }

    /// Adds what is left in the cluster.
    async fn measure(&self, bench: &Bench, when: &str, figures: &mut Figures) -> Result<()> {
        let written = self.ledger.head().sequence;
        let removed = count(self.removed);
        figures.add(
            format!("{when}: entries written"),
            number(usize::try_from(written)?),
        );
        figures.add(
            format!("{when}: entries left"),
            number(usize::try_from(written - removed)?),
        );
        figures.add(
            format!("{when}: checkpoint, MiB"),
            number(self.content_bytes) / f64::from(1 << 20),
        );
        figures.add(format!("{when}: etcd's file, MiB"), bench.stored_mib().await?);
        Ok(())
    }
}
