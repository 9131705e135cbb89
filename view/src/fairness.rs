//! What the measures of fairness say about one dataset: kept up to date from committed entries, and made anew from the
//! engine's state after a replay. `docs/fairness.md` defines the measures; namespaces are their groups.
//!
//! An entry costs as much as the claims that it is about: their blocks, times coordinates. The memory follows the claims that
//! wait, the blocks that aren't retired, and at most [`MOST_GROUPS`] namespaces. After a replay, claims are looked at in
//! pieces, so that entries need not wait for the measures.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use privatekube_api::{Subject, are_enough};
use privatekube_policy::{
    BlockId, Budget, ClaimId, ClaimOutline, ClaimState, Demand, Engine, Phase, Record, Revision, Time,
    Unlocking, Weight,
    fairness::{
        Envy, GroupShare, GroupShares, SharingIncentive, UnusedBudget, WaitingClaim, disagreement, jain,
    },
};

use crate::shared::Shared;

/// How many namespaces are told apart. The claims of all others count as those of one.
const MOST_GROUPS: usize = 10_000;
/// The name of that one. No namespace can have it.
const OTHERS: &str = "_other";
/// How many blocks are looked at in one call of [`Fairness::look`].
const MOST_LOOKED_AT: usize = 1000;

/// What one engine event of an entry decided, or the entry's time alone.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The claim that the event lets arrive, or matches with its blocks.
    pub claim: Option<&'a ClaimId>,
    /// The records that followed.
    pub records: &'a [Record],
}

/// A namespace's claims on the dataset.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claimant {
    /// Its dominant share, of blocks that aren't retired: 1 is a whole block.
    pub dominant_share: f64,
    /// How many of its claims wait.
    pub waiting: usize,
    /// When the first of them arrived.
    pub oldest: Option<Time>,
}

/// Numbers for a whole dataset.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Jain's index of the namespaces' dominant shares; `None` if nothing is granted.
    pub jain: Option<f64>,
    /// The same, of their dominant shares divided by their weights.
    pub weighted_jain: Option<f64>,
    /// How far dominant shares are from being proportional to weights; `None` if nothing is granted.
    pub weight_disagreement: Option<f64>,
    /// The part of the blocks that is available and that no waiting claim can use, from 0 to 1; `None` if there is no block.
    pub unused: Option<f64>,
}

/// The measures of one dataset.
#[derive(Debug)]
pub struct Fairness {
    /// N, where arrivals unlock blocks.
    arrivals: Option<u32>,
    denied_arrivals_unlock: bool,
    /// Namespaces, in the order in which their first claims arrived.
    groups: Vec<Arc<str>>,
    known: HashMap<Arc<str>, usize>,
    shares: GroupShares<usize, BlockId>,
    incentive: SharingIncentive,
    envy: Envy<BlockId>,
    unused: UnusedBudget<BlockId>,
    /// The claims that wait.
    waiting: HashMap<ClaimId, Waiting>,
    /// When those of each group arrived, by the order of arrival.
    queues: HashMap<usize, BTreeMap<usize, Time>>,
    /// The lists of blocks for which claims wait.
    lists: Shared<[BlockId]>,
    /// What granted claims have released in part, on each of their blocks.
    released: HashMap<ClaimId, Vec<(BlockId, Budget)>>,
    /// The unused part of each block that isn't retired, as it was looked at last.
    unused_parts: HashMap<BlockId, f64>,
    /// The blocks that may have changed since.
    to_look_at: BTreeSet<BlockId>,
    /// The first claim that was not looked at since the replay; `None` once all were. What happens to a later one counts
    /// when it is looked at.
    unseen_from: Option<usize>,
}

/// A claim that waits.
#[derive(Clone, Debug)]
struct Waiting {
    group: usize,
    number: usize,
    weight: Weight,
    priority: i32,
    /// What it waits for; empty until it is matched.
    demands: Box<[(Arc<[BlockId]>, Budget)]>,
}

impl Waiting {
    fn comparable(&self, engine: &Engine) -> Option<WaitingClaim<BlockId>> {
        let demands = self.demands.iter().map(|(blocks, budget)| (&**blocks, budget));
        comparable(engine, demands, self.weight, self.priority)
    }
}

impl Fairness {
    /// The measures after a replay, which costs a look at every block: [`catch_up`](Self::catch_up) has to look at every claim
    /// that has arrived. What is counted begins at 0.
    #[must_use]
    pub fn after_replay(engine: &Engine) -> Self {
        let rules = engine.rules();
        Self {
            arrivals: match rules.unlocking {
                Unlocking::Arrivals(arrivals) => Some(arrivals),
                Unlocking::Lifetime { .. } | Unlocking::Immediate => None,
            },
            denied_arrivals_unlock: rules.revision == Revision::First,
            groups: Vec::new(),
            known: HashMap::new(),
            shares: GroupShares::new(rules.share_rule()),
            incentive: SharingIncentive::default(),
            envy: Envy::default(),
            unused: UnusedBudget::new(rules.composition.clone()),
            waiting: HashMap::new(),
            queues: HashMap::new(),
            lists: Shared::default(),
            released: HashMap::new(),
            unused_parts: engine.live_blocks().map(|block| (block.clone(), 0.0)).collect(),
            to_look_at: engine.live_blocks().cloned().collect(),
            unseen_from: (engine.arrived() > 0).then_some(0),
        }
    }

    /// Whether claims are left that [`catch_up`](Self::catch_up) has to look at: until then, the measures say less than is
    /// true, and grants to claims that were not looked at count as envied by nobody.
    #[must_use]
    pub const fn is_catching_up(&self) -> bool {
        self.unseen_from.is_some()
    }

    /// Looks at some of the claims that were not looked at since the replay, in the order of arrival: at so many that they and
    /// their blocks are `most` in number, or at one that has more blocks.
    pub fn catch_up(&mut self, engine: &Engine, most: usize) {
        let Some(first) = self.unseen_from else { return };
        let mut looked_at = 0_usize;
        for outline in engine.claims_from(first) {
            looked_at = looked_at.saturating_add(1 + outline.demands().len());
            if looked_at > most && outline.number > first {
                self.unseen_from = Some(outline.number);
                return;
            }
            self.look_at_claim(engine, &outline);
        }
        self.unseen_from = None;
    }

    fn look_at_claim(&mut self, engine: &Engine, outline: &ClaimOutline<'_>) {
        let id = outline.claim;
        let group = self.arrived(id, outline.weight);
        match outline.phase {
            Phase::Waiting => {
                if let Some(claim) = engine.claim(id) {
                    self.waits(engine, id, &claim, group);
                }
            }
            Phase::Granted | Phase::Consumed => {
                for (block, amounts) in outline.demands() {
                    self.add_to_share(engine, group, block, amounts);
                }
                if outline.has_released
                    && let Some(claim) = engine.claim(id)
                {
                    self.add_releases(id, &claim, false);
                }
            }
            Phase::Released | Phase::Denied | Phase::Expired | Phase::Withdrawn => {}
        }
    }

    /// Follows an entry: what its time decided, and then each of its events. `engine` has applied the whole entry.
    pub fn follow<'a>(&mut self, engine: &Engine, steps: impl Iterator<Item = Step<'a>> + Clone) {
        let mut places = Places::of(self, engine, steps.clone());
        for step in steps {
            let arrived = step.claim.and_then(|id| Some((id, engine.claim(id)?)));
            if let Some((id, claim)) = &arrived {
                let group = self.is_seen(claim).then(|| match self.waiting.get(*id) {
                    // One that waits already is matched.
                    Some(waiting) => waiting.group,
                    None => self.arrived(id, claim.arrival.weight),
                });
                // Of one that is matched later in this entry, the engine knows the blocks already.
                if places.joins_now(id) && self.joined(step, claim) {
                    self.fair_claim(engine, &mut places, claim, is_granted(step, id));
                }
                // It may have ended in a later event of this entry, and waits until then.
                if let Some(group) = group
                    && !step.records.iter().any(|record| ends(record, id))
                {
                    self.waits(engine, id, claim, group);
                }
            }
            self.decided(engine, step.records);
        }
    }

    /// Looks again at some of the blocks of which the unused part may have changed, and at all that unlock with time.
    pub fn look(&mut self, engine: &Engine) {
        if matches!(engine.rules().unlocking, Unlocking::Lifetime { .. }) && self.to_look_at.is_empty() {
            self.to_look_at.extend(self.unused_parts.keys().cloned());
        }
        for _ in 0..MOST_LOOKED_AT {
            let Some(block) = self.to_look_at.pop_first() else {
                return;
            };
            if let (Some(part), Some(state)) = (self.unused_parts.get_mut(&block), engine.block(&block)) {
                *part = self
                    .unused
                    .of_block(&block, &state.available, state.capacity.units());
            }
        }
    }

    /// Whether blocks are left that [`look`](Self::look) has to look at.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        !self.to_look_at.is_empty()
    }

    /// Numbers for the whole dataset. Costs a look at every namespace and block.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a measure has few digits")]
    pub fn measured(&self) -> Measured {
        let shares = self.shares.all().map(|(_, group)| pair(group));
        let blocks = self.unused_parts.len();
        // Addends in no order would make the last digits differ from look to look.
        let mut parts: Vec<f64> = self.unused_parts.values().copied().collect();
        parts.sort_by(f64::total_cmp);
        Measured {
            jain: jain(shares.clone().map(|(share, _)| share)),
            weighted_jain: jain(shares.clone().map(|(share, weight)| share / weight)),
            weight_disagreement: disagreement(shares),
            unused: (blocks > 0).then(|| parts.iter().sum::<f64>() / blocks as f64),
        }
    }

    /// The namespaces with claims, in the order in which their first claims arrived.
    pub fn claimants(&self) -> impl Iterator<Item = (&str, Claimant)> {
        self.shares.all().filter_map(|(group, share)| {
            let queue = self.queues.get(group);
            let claimant = Claimant {
                dominant_share: share.dominant.value(),
                waiting: queue.map_or(0, BTreeMap::len),
                oldest: queue.and_then(|queue| queue.first_key_value().map(|(_, at)| *at)),
            };
            Some((&**self.groups.get(*group)?, claimant))
        })
    }

    /// How many fair claims were granted at once, and how many were not; `None` unless arrivals unlock budget.
    #[must_use]
    pub fn fair_claims(&self) -> Option<SharingIncentive> {
        self.arrivals.map(|_| self.incentive)
    }

    /// How many grants were envied.
    #[must_use]
    pub const fn envied(&self) -> u64 {
        self.envy.envied()
    }

    /// The group of a claim.
    fn group(&mut self, id: &ClaimId) -> usize {
        let subject = Subject::of(id);
        let mut name = subject.as_ref().map_or(OTHERS, |subject| &subject.namespace);
        if !self.known.contains_key(name) && self.groups.len() >= MOST_GROUPS {
            name = OTHERS;
        }
        if let Some(number) = self.known.get(name) {
            return *number;
        }
        let (name, number) = (Arc::<str>::from(name), self.groups.len());
        self.groups.push(Arc::clone(&name));
        self.known.insert(name, number);
        number
    }

    fn arrived(&mut self, id: &ClaimId, weight: Weight) -> usize {
        let group = self.group(id);
        self.shares.arrived(&group, weight);
        group
    }

    /// Whether a claim was looked at, or has arrived since all were. What happens to another one is seen by
    /// [`catch_up`](Self::catch_up).
    fn is_seen(&self, claim: &ClaimState<'_>) -> bool {
        self.unseen_from.is_none_or(|first| claim.number < first)
    }

    /// Whether the claim of a step has joined the queues of its blocks in it, so that it counts as an arrival there.
    fn joined(&self, step: Step<'_>, claim: &ClaimState<'_>) -> bool {
        let id = &claim.arrival.claim;
        let denied = step
            .records
            .iter()
            .any(|record| matches!(record, Record::Denied { claim, .. } if claim == id));
        is_matched(claim) && (!denied || self.denied_arrivals_unlock)
    }

    fn fair_claim(&mut self, engine: &Engine, places: &mut Places, claim: &ClaimState<'_>, granted: bool) {
        let Some(arrivals) = self.arrivals else { return };
        let blocks: Vec<(u64, &[i64], &[i64])> = with_capacities(engine, parts(&claim.arrival.demands))
            .map(|(block, amounts, capacity)| (places.next(engine, block), amounts, capacity))
            .collect();
        self.incentive.arrived(arrivals, blocks, granted);
    }

    /// A claim waits, or waits for other blocks than before.
    fn waits(&mut self, engine: &Engine, id: &ClaimId, claim: &ClaimState<'_>, group: usize) {
        self.ends(engine, id, true);
        let demands = if is_matched(claim) {
            claim.arrival.demands.as_slice()
        } else {
            &[]
        };
        let waiting = Waiting {
            group,
            number: claim.number,
            weight: claim.arrival.weight,
            priority: claim.arrival.priority,
            demands: demands
                .iter()
                .map(|demand| {
                    let blocks = self.lists.share(Arc::from(demand.blocks.as_slice()));
                    (blocks, demand.budget.clone())
                })
                .collect(),
        };
        for (blocks, budget) in &waiting.demands {
            let amounts: Arc<[i64]> = budget.units().into();
            for block in &**blocks {
                self.unused.waits(block, &amounts);
                self.look_at(block);
            }
        }
        if let Some(comparable) = waiting.comparable(engine) {
            self.envy.waits(&comparable);
        }
        let queue = self.queues.entry(group).or_default();
        queue.insert(claim.number, claim.arrived);
        self.waiting.insert(id.clone(), waiting);
    }

    /// A claim waits no longer. Returns what it waited for, if it did. Envy learns of a grant by itself.
    fn ends(&mut self, engine: &Engine, id: &ClaimId, envy_too: bool) -> Option<Waiting> {
        let waiting = self.waiting.remove(id)?;
        for (blocks, budget) in &waiting.demands {
            let amounts: Arc<[i64]> = budget.units().into();
            for block in &**blocks {
                self.unused.ends(block, &amounts);
                self.look_at(block);
            }
        }
        if envy_too && let Some(comparable) = waiting.comparable(engine) {
            self.envy.ends(&comparable);
        }
        if let Some(queue) = self.queues.get_mut(&waiting.group) {
            queue.remove(&waiting.number);
            if queue.is_empty() {
                self.queues.remove(&waiting.group);
            }
        }
        Some(waiting)
    }

    /// What one event decided. `engine` is later than that, but what a granted claim demands doesn't change any more.
    fn decided(&mut self, engine: &Engine, records: &[Record]) {
        let mut granted = Vec::new();
        for record in records {
            match record {
                Record::BlockAdded { block } => {
                    self.unused_parts.insert(block.clone(), 0.0);
                    self.to_look_at.insert(block.clone());
                }
                Record::BlockRetired { block } | Record::WrittenOff { block } => {
                    self.unused_parts.remove(block);
                    self.to_look_at.remove(block);
                    self.shares.retired(block);
                }
                Record::Unlocked { blocks } => blocks.iter().for_each(|block| self.look_at(block)),
                Record::Granted { claim: id, .. } => {
                    let claim = engine.claim(id).filter(|claim| self.is_seen(claim));
                    let Some(claim) = claim else { continue };
                    let group = self.group(id);
                    for (blocks, budget) in parts(&claim.arrival.demands) {
                        for block in blocks {
                            self.add_to_share(engine, group, block, budget.units());
                        }
                    }
                    let waited = self.ends(engine, id, false).is_some();
                    let arrival = &claim.arrival;
                    let comparable =
                        comparable(engine, parts(&arrival.demands), arrival.weight, arrival.priority);
                    granted.extend(comparable.map(|comparable| (comparable, waited)));
                }
                Record::Denied { claim, .. }
                | Record::Expired { claim, .. }
                | Record::Withdrawn { claim } => {
                    self.ends(engine, claim, true);
                }
                Record::Released { claim: id, entirely } => {
                    if let Some(claim) = engine.claim(id).filter(|claim| self.is_seen(claim)) {
                        self.add_releases(id, &claim, *entirely);
                    }
                }
                // That a claim waits was noted when it arrived.
                Record::Waits { .. } | Record::Consumed { .. } => {}
            }
        }
        let granted: Vec<(&WaitingClaim<BlockId>, bool)> =
            granted.iter().map(|(claim, waited)| (claim, *waited)).collect();
        self.envy.granted(&granted);
    }

    /// A claim of a group was granted `amounts` of a block.
    fn add_to_share(&mut self, engine: &Engine, group: usize, block: &BlockId, amounts: &[i64]) {
        if !self.unused_parts.contains_key(block) {
            return;
        }
        if let Some(capacity) = engine.capacity(block) {
            self.shares.granted(&group, block, amounts, capacity.units());
        }
        self.look_at(block);
    }

    /// Subtracts what a claim has released since it was looked at last.
    fn add_releases(&mut self, id: &ClaimId, claim: &ClaimState<'_>, entirely: bool) {
        if claim.released.iter().all(|(_, budget)| budget.is_zero()) {
            return;
        }
        let group = self.group(id);
        let before = self.released.remove(id);
        for (at, (block, released)) in claim.released.iter().enumerate() {
            let earlier = before.as_ref().and_then(|before| before.get(at));
            let more: Vec<i64> = released
                .units()
                .iter()
                .enumerate()
                .map(|(at, units)| {
                    let earlier = earlier.and_then(|(_, budget)| budget.units().get(at));
                    units.saturating_sub(earlier.copied().unwrap_or(0))
                })
                .collect();
            self.shares.released(&group, block, &more);
            self.look_at(block);
        }
        if !entirely {
            let released = claim.released.iter();
            let released = released.map(|(block, budget)| ((*block).clone(), budget.clone()));
            self.released.insert(id.clone(), released.collect());
        }
    }

    /// A block has to be looked at again, unless it is retired.
    fn look_at(&mut self, block: &BlockId) {
        if self.unused_parts.contains_key(block) && !self.to_look_at.contains(block) {
            self.to_look_at.insert(block.clone());
        }
    }
}

/// How many claims had arrived for each block when a claim of an entry did.
#[derive(Debug, Default)]
struct Places {
    /// How many claims arrive for each block in the rest of the entry.
    later: HashMap<BlockId, u64>,
    /// How often each claim is still named by a step.
    steps: HashMap<ClaimId, u32>,
}

impl Places {
    fn of<'a>(of: &Fairness, engine: &Engine, steps: impl Iterator<Item = Step<'a>>) -> Self {
        let mut places = Self::default();
        if of.arrivals.is_none() {
            return places;
        }
        let mut last: HashMap<&ClaimId, Step<'_>> = HashMap::new();
        for step in steps {
            if let Some(id) = step.claim {
                *places.steps.entry(id.clone()).or_default() += 1;
                last.insert(id, step);
            }
        }
        for (id, step) in last {
            let claim = engine.claim(id).filter(|claim| of.joined(step, claim));
            for demand in claim.iter().flat_map(|claim| &claim.arrival.demands) {
                for block in &demand.blocks {
                    *places.later.entry(block.clone()).or_default() += 1;
                }
            }
        }
        places
    }

    /// Whether a claim joins the queues in this step: it isn't named by a later one.
    fn joins_now(&mut self, id: &ClaimId) -> bool {
        let Some(left) = self.steps.get_mut(id) else {
            return false;
        };
        *left -= 1;
        *left == 0
    }

    /// The place of the next claim of the entry at a block: with it, so many had arrived.
    fn next(&mut self, engine: &Engine, block: &BlockId) -> u64 {
        let later = self.later.entry(block.clone()).or_default();
        *later = later.saturating_sub(1);
        let arrivals = engine.block(block).map_or(u64::MAX, |state| state.arrivals);
        arrivals.saturating_sub(*later)
    }
}

/// Whether a record grants or ends a claim.
fn ends(record: &Record, id: &ClaimId) -> bool {
    match record {
        Record::Granted { claim, .. }
        | Record::Denied { claim, .. }
        | Record::Expired { claim, .. }
        | Record::Withdrawn { claim } => claim == id,
        _ => false,
    }
}

fn is_granted(step: Step<'_>, id: &ClaimId) -> bool {
    let mut records = step.records.iter();
    records.any(|record| matches!(record, Record::Granted { claim, .. } if claim == id))
}

fn is_matched(claim: &ClaimState<'_>) -> bool {
    are_enough(&claim.arrival.demands, claim.arrival.min_blocks)
}

fn parts(demands: &[Demand]) -> impl Iterator<Item = (&[BlockId], &Budget)> {
    demands.iter().map(|demand| (&*demand.blocks, &demand.budget))
}

/// Each block of some demands, with what is demanded of it and its capacity.
fn with_capacities<'a>(
    engine: &'a Engine,
    demands: impl Iterator<Item = (&'a [BlockId], &'a Budget)>,
) -> impl Iterator<Item = (&'a BlockId, &'a [i64], &'a [i64])> {
    demands.flat_map(move |(blocks, budget)| {
        blocks.iter().filter_map(move |block| {
            let capacity = engine.capacity(block)?;
            Some((block, budget.units(), capacity.units()))
        })
    })
}

fn comparable<'a>(
    engine: &'a Engine,
    demands: impl Iterator<Item = (&'a [BlockId], &'a Budget)>,
    weight: Weight,
    priority: i32,
) -> Option<WaitingClaim<BlockId>> {
    let demands: Vec<(BlockId, &[i64], &[i64])> = with_capacities(engine, demands)
        .map(|(block, amounts, capacity)| (block.clone(), amounts, capacity))
        .collect();
    if demands.is_empty() {
        return None;
    }
    WaitingClaim::new(engine.rules().share_rule(), &demands, weight, priority)
}

/// A group's dominant share and its weight.
fn pair(group: GroupShare) -> (f64, f64) {
    (group.dominant.value(), f64::from(group.weight.get()))
}
