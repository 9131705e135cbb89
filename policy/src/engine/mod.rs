//! The engine: events in, records out.
//!
//! `arrive` lets claims come, `walk` finds who may fit, `decide` grants, `spend` moves what was granted, `explain` says why a
//! claim waits. Who is granted is a matter of the policy (`policies`). Below them, and knowing nothing of each other: the
//! books of the blocks (`books`), how they unlock (`unlocking`), what the claims ask (`asks`), the order of waiting claims
//! (`order`) and the index of what waits where (`waiting`).

mod arrive;
mod asks;
mod books;
mod claims;
mod decide;
mod explain;
mod order;
mod policies;
mod refusal;
mod spend;
#[cfg(test)]
mod tests;
mod unlocking;
mod view;
mod waiting;
mod walk;

use std::{collections::BTreeSet, sync::Arc};

pub use refusal::Refusal;
pub use view::{BlockState, ClaimState, Explanation, Lack, Outlook, Phase, Standing, Unlocks};

use crate::{
    Arrival, BlockId, Budget, ClaimId, DatasetRules, DatasetRulesError, Demand, Event, Record, Time,
};
use asks::{Asks, Parts};
use books::{Blocks, Rule};
use claims::{Claim, Claims, Tally};
use policies::{Decide, Gathering};
use waiting::{Class, Waiting};

/// One dataset's blocks and claims, and the policy that decides between them.
///
/// # Examples
///
/// ```
/// use privatekube_policy::{
///     Arrival, Composition, Demand, Engine, Event, Phase, Policy, Record, DatasetRules, Time, Unlocking, Weight,
/// };
///
/// let mut engine = Engine::new(DatasetRules {
///     policy: Policy::Dpf,
///     unlocking: Unlocking::Arrivals(4),
///     composition: Composition::Basic,
/// })?;
/// let budget = |epsilon: &str| {
///     Composition::Basic.capacity(epsilon.parse().unwrap(), "0".parse().unwrap()).unwrap()
/// };
/// engine.apply(&Event::AddBlock { block: "taxi".into(), capacity: budget("4") })?;
///
/// // One arrival unlocks 1 of 4, and 1.5 is asked: the claim waits, until another arrival unlocks more.
/// let arrival = |claim: &str, epsilon: &str| {
///     Event::Arrive(Arrival {
///         claim: claim.into(),
///         demands: vec![Demand { blocks: vec!["taxi".into()], budget: budget(epsilon) }],
///         min_blocks: 1,
///         timeout: None,
///         priority: 0,
///         weight: Weight::default(),
///     })
/// };
/// engine.advance(Time::from_micros(1_000_000));
/// engine.apply(&arrival("large", "1.5"))?;
/// let lacks = engine.explain(&"large".into()).unwrap().lacks;
/// assert_eq!(lacks[0].missing, 500_000_000_000);
///
/// engine.advance(Time::from_micros(2_000_000));
/// let records = engine.apply(&arrival("small", "0.5"))?;
/// let at = engine.now();
/// assert_eq!(
///     records[1..],
///     [
///         Record::Granted { claim: "small".into(), at },
///         Record::Granted { claim: "large".into(), at },
///     ]
/// );
/// assert_eq!(engine.claim(&"large".into()).unwrap().phase, Phase::Granted);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Engine {
    rules: DatasetRules,
    rule: Rule,
    now: Time,
    blocks: Blocks,
    claims: Claims,
    asks: Asks,
    waiting: Waiting,
    policy: Arc<dyn Decide>,
    /// Of round robin alone.
    gathering: Gathering,
    /// When each waiting claim's timeout is over.
    timeouts: BTreeSet<(Time, u32)>,
    /// When the clock next unlocks a block so far that a claim that watches it may fit.
    wakes: BTreeSet<(Time, u32)>,
    /// Each block's entry in `wakes`.
    wake_of: Vec<Option<Time>>,
}

impl Engine {
    /// An engine without blocks and claims, at the start of time.
    pub fn new(rules: DatasetRules) -> Result<Self, DatasetRulesError> {
        rules.check()?;
        let rule = Rule::of(&rules.composition);
        let coordinates = rules.composition.coordinates();
        Ok(Self {
            policy: policies::of(rules.policy),
            waiting: Waiting::new(rule, coordinates),
            rules,
            rule,
            gathering: Gathering::default(),
            now: Time::default(),
            blocks: Blocks::default(),
            claims: Claims::default(),
            asks: Asks::new(coordinates),
            timeouts: BTreeSet::new(),
            wakes: BTreeSet::new(),
            wake_of: Vec::new(),
        })
    }

    /// Its rules.
    #[must_use]
    pub const fn rules(&self) -> &DatasetRules {
        &self.rules
    }

    /// The latest time it was told.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.now
    }

    /// Lets time pass until `now`: steps of the clock and timeouts take effect each at its own time, in order
    /// (at the same time: steps, then timeouts). An earlier time than the latest is taken as that.
    /// `advance(a); advance(b)` is `advance(b)`.
    pub fn advance(&mut self, now: Time) -> Vec<Record> {
        let mut records = Vec::new();
        while let Some(at) = self.next_step().filter(|at| *at <= now) {
            self.now = self.now.max(at);
            self.wake(at, &mut records);
            self.expire(at, &mut records);
        }
        self.now = self.now.max(now);
        records
    }

    /// Lets `event` happen now.
    ///
    /// The records come in this order. `AddBlock`: the block, then what is granted. `RetireBlock`: the block, then the
    /// claims denied, by arrival. `Arrive` and `Match`: what it unlocked, then its denial if it is denied, then
    /// what is granted, in that order, then (`Arrive` only) that it waits if it does. `Consume`: the consumption, then
    /// the claims denied, by arrival. `Release`, `Withdraw`, `NeverRan`: what became of the claim, then what is
    /// granted. An event that was done before, or that finds nothing to do, gives no records.
    ///
    /// A claim that asks for a retired block is denied and unlocks nothing; one that asks too much is denied and unlocks
    /// all the same. Claims with equal shares go by their arrival, also those that were matched later.
    pub fn apply(&mut self, event: &Event) -> Result<Vec<Record>, Refusal> {
        let records = match event {
            Event::AddBlock { block, capacity } => self.add_block(block, capacity),
            Event::RetireBlock { block } => self.retire_block(block),
            Event::Arrive(arrival) => self.arrive(arrival),
            Event::Match { claim, demands } => self.match_blocks(claim, demands),
            Event::Consume { claim, amount } => self.consume(claim, amount),
            Event::Release { claim, amount } => self.release(claim, amount),
            Event::Withdraw { claim } => self.withdraw(claim),
            Event::NeverRan { claim } => self.never_ran(claim),
        };
        self.plan_wakes();
        records
    }

    /// The next time at which [`advance`](Self::advance) may decide something: a timeout, or a step of the clock that
    /// unlocks enough for a waiting claim on one of its blocks. Steps that decide nothing are left out; see
    /// [`next_unlock`](Self::next_unlock).
    #[must_use]
    pub fn next_step(&self) -> Option<Time> {
        let wake = self.wakes.first().map(|(at, _)| *at);
        let timeout = self.timeouts.first().map(|(at, _)| *at);
        match (wake, timeout) {
            (Some(wake), Some(timeout)) => Some(wake.min(timeout)),
            (wake, timeout) => wake.or(timeout),
        }
    }

    /// The next time at which the clock unlocks budget of any block, whether a claim waits for it or not.
    #[must_use]
    pub fn next_unlock(&self) -> Option<Time> {
        let live = self.blocks.list().iter().filter(|block| !block.retired);
        live.filter_map(|block| block.meter.next_after(self.now)).min()
    }

    /// A block's budget.
    #[must_use]
    pub fn block(&self, block: &BlockId) -> Option<BlockState> {
        let number = self.blocks.number(block)?;
        Some(self.blocks.get(number).books(self.now))
    }

    /// Every block, in the order in which they were added.
    pub fn blocks(&self) -> impl Iterator<Item = &BlockId> + '_ {
        self.blocks.list().iter().map(|block| &block.name)
    }

    /// A claim.
    #[must_use]
    pub fn claim(&self, claim: &ClaimId) -> Option<ClaimState<'_>> {
        let claim = self.claims.get(self.claims.number(claim)?);
        let name = |block: u32| &self.blocks.get(block).name;
        let of_each = |tally: &Tally| {
            let parts = claim.parts(&self.asks).iter().enumerate();
            let amounts = parts.map(|(at, part)| (name(part.block), tally.budget(at, part.asked)));
            amounts.collect()
        };
        Some(ClaimState {
            arrival: self.arrival(claim),
            phase: claim.phase,
            arrived: claim.arrived,
            decided: claim.decided(),
            denial: claim.denial(),
            consumed: of_each(claim.consumed()),
            released: of_each(claim.released()),
        })
    }

    /// Where a claim is in its life. Costs less than all about it.
    #[must_use]
    pub fn phase(&self, claim: &ClaimId) -> Option<Phase> {
        self.claims
            .number(claim)
            .map(|number| self.claims.get(number).phase)
    }

    /// The blocks that a claim demands, in the order of its demands. None of a claim that never arrived.
    pub fn blocks_of(&self, claim: &ClaimId) -> impl Iterator<Item = &BlockId> + '_ {
        let ask = self
            .claims
            .number(claim)
            .map(|number| self.claims.get(number).ask);
        let blocks = ask.into_iter().flat_map(|ask| self.asks.get(ask).blocks());
        blocks.map(|block| &self.blocks.get(block).name)
    }

    /// As it arrived, or was matched.
    fn arrival(&self, claim: &Claim) -> Arrival {
        let demands = self.asks.get(claim.ask).demands().map(|(blocks, asked)| Demand {
            blocks: blocks.map(|block| self.blocks.get(block).name.clone()).collect(),
            budget: Budget::from_computed(asked.iter().copied()),
        });
        let terms = self.claims.terms(claim);
        Arrival {
            claim: claim.name.clone(),
            demands: demands.collect(),
            min_blocks: terms.min_blocks,
            timeout: terms.timeout,
            priority: terms.priority,
            weight: terms.weight,
        }
    }

    /// Every claim that ever arrived, in the order of arrival.
    pub fn claims(&self) -> impl Iterator<Item = &ClaimId> + '_ {
        self.claims.list().iter().map(|claim| &claim.name)
    }

    /// Why a waiting claim waits; none for any other. Changes nothing.
    #[must_use]
    pub fn explain(&self, claim: &ClaimId) -> Option<Explanation> {
        let number = self.claims.number(claim)?;
        (self.claims.get(number).phase == Phase::Waiting).then(|| self.why(number))
    }

    /// What each block has for a waiting claim, and the claim's place in the order; none for any other. Changes nothing.
    /// Costs a look at every claim that waits.
    #[must_use]
    pub fn standing(&self, claim: &ClaimId) -> Option<Standing> {
        let number = self.claims.number(claim)?;
        (self.claims.get(number).phase == Phase::Waiting).then(|| self.stands(number))
    }

    /// What would come of `event` if it happened now. Changes nothing: it happens to a copy, so it costs as much as
    /// there is.
    pub fn would(&self, event: &Event) -> Result<Outlook, Refusal> {
        let mut copy = self.clone();
        let records = copy.apply(event)?;
        let waits = match event {
            Event::Arrive(Arrival { claim, .. })
            | Event::Match { claim, .. }
            | Event::Consume { claim, .. }
            | Event::Release { claim, .. }
            | Event::Withdraw { claim }
            | Event::NeverRan { claim } => copy.explain(claim),
            Event::AddBlock { .. } | Event::RetireBlock { .. } => None,
        };
        Ok(Outlook { records, waits })
    }

    fn check_coordinates(&self, budget: &Budget) -> Result<(), Refusal> {
        let (given, expected) = (budget.units().len(), self.rules.composition.coordinates());
        if given == expected {
            Ok(())
        } else {
            Err(Refusal::WrongCoordinates { given, expected })
        }
    }

    /// What a claim asks of each of its blocks. Nothing while it matches too few.
    fn parts(&self, number: u32) -> Parts<'_> {
        self.claims.get(number).parts(&self.asks)
    }

    /// What each claim of a waiting class asks of each of its blocks.
    fn parts_of(&self, class: &Class) -> Parts<'_> {
        self.asks.get(class.ask)
    }

    /// Takes a claim out of its class. Whether others are left there.
    fn leave(&mut self, claim: u32, class: u32) -> bool {
        self.waiting.leave(claim, class, &self.asks)
    }

    fn number_of(&self, claim: &ClaimId) -> Result<u32, Refusal> {
        let number = self.claims.number(claim);
        number.ok_or_else(|| Refusal::UnknownClaim(claim.clone()))
    }
}
