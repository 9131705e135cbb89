//! The engine: events in, records out.
//!
//! `arrive` adds blocks and claims, `walk` finds the claims that fit, `decide` grants, denies and expires,
//! `consume` moves granted budget, `forget` drops claims that ended, and `explain` says why a claim waits. In which
//! order claims are granted is up to the policy (`policies`), which sees the engine through `decisions` alone. All
//! of them work on the `state`. Below it, independent of each other: the accounts of the blocks (`blocks`), how blocks unlock
//! (`unlocking`), the claims (`claims`) and their demands (`demands`), the order of waiting claims (`order`)
//! and their index (`waiting`). `snapshot` makes data of all that, and an engine of the data.
//!
//! Begin reading at [`Engine`], then [`Engine::apply`].

mod arrive;
mod blocks;
mod claims;
mod consume;
mod decide;
mod decisions;
mod demands;
mod explain;
mod forget;
mod order;
mod policies;
mod refusal;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;
mod unlocking;
mod view;
mod waiting;
mod walk;

pub use refusal::Refusal;
pub use snapshot::{Restoring, StateError, StatePart};
pub use view::{
    BlockState, ClaimOutline, ClaimState, Explanation, Folded, Lack, Outlook, Phase, Standing, Unlocks,
};

use crate::{Arrival, BlockId, Budget, ClaimId, DatasetRules, DatasetRulesError, Event, Record, Time};
use claims::Totals;
use decisions::PolicyContext;
use policies::PolicyHooks;
use state::State;

/// The blocks and claims of one dataset, and the policy that decides between the claims.
///
/// # Examples
///
/// ```
/// use privatekube_policy::{
///     Arrival, Composition, DatasetRules, Demand, Engine, Event, Phase, Policy, Record, Revision, Time,
///     Unlocking, Weight,
/// };
///
/// let mut engine = Engine::new(DatasetRules {
///     policy: Policy::Dpf,
///     unlocking: Unlocking::Arrivals(4),
///     composition: Composition::Basic,
///     revision: Revision::CURRENT,
/// })?;
/// let budget = |epsilon: &str| {
///     Composition::Basic.capacity(epsilon.parse().unwrap(), "0".parse().unwrap()).unwrap()
/// };
/// engine.apply(&Event::AddBlock { block: "taxi".into(), capacity: budget("4") })?;
///
/// // One arrival unlocks 1 of 4, and the claim demands 1.5: it waits until another arrival unlocks more.
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
    state: State,
    policy: Box<dyn PolicyHooks>,
}

impl Engine {
    /// An engine without blocks and claims, at the start of time.
    pub fn new(rules: DatasetRules) -> Result<Self, DatasetRulesError> {
        rules.check()?;
        Ok(Self {
            policy: policies::of(&rules),
            state: State::new(rules),
        })
    }

    /// The rules of the dataset.
    #[must_use]
    pub const fn rules(&self) -> &DatasetRules {
        &self.state.rules
    }

    /// The latest time that [`advance`](Self::advance) was called with.
    #[must_use]
    pub const fn now(&self) -> Time {
        self.state.now
    }

    /// Lets time pass until `now`. Steps of the clock and timeouts take effect at their own times, in order
    /// (at the same time: steps, then timeouts). A time before [`now`](Self::now) counts as that.
    /// `advance(a); advance(b)` does the same as `advance(b)`.
    pub fn advance(&mut self, now: Time) -> Vec<Record> {
        let mut records = Vec::new();
        while let Some(at) = self.next_step().filter(|at| *at <= now) {
            self.state.now = self.state.now.max(at);
            self.wake(at, &mut records);
            self.expire(at, &mut records);
        }
        self.state.now = self.state.now.max(now);
        records
    }

    /// Applies `event`, now. Returns what was decided. A refused event changes nothing.
    ///
    /// The records come in this order. `AddBlock`: the block, then the grants. `RetireBlock`: the block, then
    /// the denials, by arrival. `WriteOff`: the blocks, in the order in which they were added, then the denials,
    /// by arrival. `Arrive` and `Match`: its own denial, and nothing else; or what it unlocked,
    /// then the denials of others, by arrival (round robin), then the grants in their order, then (`Arrive`
    /// only) that the claim waits, if it does. `Consume`: the consumption, then the denials, by arrival.
    /// `Release`, `Withdraw` and `NeverRan`: what became of the claim, then the grants. Under round robin,
    /// denials and withdrawals of claims that had gathered something are followed by grants. An event that
    /// was applied before, or that changes nothing, gives no records.
    ///
    /// In the first [revision](crate::Revision), an arrival that is denied unlocks budget all the same, unless
    /// a block of it is retired: then the unlocking is recorded, then the denial, then the grants. Under
    /// round robin, denials there follow the grants.
    ///
    /// Claims with equal shares go by their arrival, also those that were matched later.
    pub fn apply(&mut self, event: &Event) -> Result<Vec<Record>, Refusal> {
        if matches!(event, Event::Arrive(_) | Event::Match { .. }) {
            self.state.forget_demands();
        }
        let records = match event {
            Event::AddBlock { block, capacity } => self.add_block(block, capacity),
            Event::RetireBlock { block } => self.retire_block(block),
            Event::Arrive(arrival) => self.arrive(arrival),
            Event::Match { claim, demands } => self.match_blocks(claim, demands),
            Event::Consume { claim, amount } => self.consume(claim, amount),
            Event::Release { claim, amount } => self.release(claim, amount),
            Event::Withdraw { claim } => self.withdraw(claim),
            Event::NeverRan { claim } => self.never_ran(claim),
            Event::WriteOff {
                after,
                unknown_blocks,
                reason: _,
            } => Ok(self.write_off(*after, unknown_blocks)),
            Event::Forget { claims, of } => self.forget(claims, of.as_deref()),
        };
        self.plan_wakes();
        records
    }

    /// The next time at which [`advance`](Self::advance) may decide something: a timeout, or a step of the
    /// clock that unlocks enough for a waiting claim on one of its blocks. Other steps are left out; see
    /// [`next_unlock`](Self::next_unlock).
    #[must_use]
    pub fn next_step(&self) -> Option<Time> {
        let wake = self.state.wakes.first().map(|(at, _)| *at);
        let timeout = self.state.timeouts.first().map(|(at, _)| *at);
        match (wake, timeout) {
            (Some(wake), Some(timeout)) => Some(wake.min(timeout)),
            (wake, timeout) => wake.or(timeout),
        }
    }

    /// The next time at which the clock unlocks budget of any block, whether a claim waits for it or not.
    #[must_use]
    pub fn next_unlock(&self) -> Option<Time> {
        let live = self.state.blocks.list().iter().filter(|block| !block.retired);
        live.filter_map(|block| block.schedule.next_after(self.state.now))
            .min()
    }

    /// The number of the entry after which all budget was [written off](Event::WriteOff) last; none if it never was.
    #[must_use]
    pub const fn last_write_off(&self) -> Option<u64> {
        self.state.last_write_off
    }

    /// Whether a block was written off before it was ever added, so that it can't be added.
    #[must_use]
    pub fn is_lost(&self, block: &BlockId) -> bool {
        self.state.blocks.is_lost(block)
    }

    /// A block's budget; none for a block that was never added.
    #[must_use]
    pub fn block(&self, block: &BlockId) -> Option<BlockState> {
        let number = self.state.blocks.number(block)?;
        Some(self.state.blocks.get(number).state(self.state.now))
    }

    /// A block's capacity; none for a block that was never added. Costs less than [`block`](Self::block).
    #[must_use]
    pub fn capacity(&self, block: &BlockId) -> Option<&Budget> {
        let number = self.state.blocks.number(block)?;
        Some(&self.state.blocks.get(number).capacity)
    }

    /// Every block, in the order in which they were added.
    pub fn blocks(&self) -> impl Iterator<Item = &BlockId> + '_ {
        self.state.blocks.list().iter().map(|block| &block.name)
    }

    /// Every block that isn't retired, in the order in which they were added.
    pub fn live_blocks(&self) -> impl Iterator<Item = &BlockId> + '_ {
        let live = self.state.blocks.list().iter().filter(|block| !block.retired);
        live.map(|block| &block.name)
    }

    /// A claim; none for one that never arrived, or was forgotten. Of one that ended without a grant, before now, the demands
    /// may be forgotten: its arrival has none then.
    #[must_use]
    pub fn claim(&self, claim: &ClaimId) -> Option<ClaimState<'_>> {
        let number = self.state.claims.number(claim)?;
        let claim = self.state.claims.get(number);
        let name = |block: u32| &self.state.blocks.get(block).name;
        let of_each = |totals: &Totals| {
            let demands = claim.demands(&self.state.demand_store).iter().enumerate();
            let amounts = demands.map(|(at, part)| (name(part.block), totals.budget(at, part.amounts)));
            amounts.collect()
        };
        Some(ClaimState {
            number: number as usize,
            arrival: self.state.arrival(claim),
            phase: claim.phase,
            arrived: claim.arrived,
            decided: claim.decided(),
            denial: claim.denial(),
            consumed: of_each(claim.consumed()),
            released: of_each(claim.released()),
        })
    }

    /// A claim's phase. Costs less than [`claim`](Self::claim).
    #[must_use]
    pub fn phase(&self, claim: &ClaimId) -> Option<Phase> {
        self.state
            .claims
            .number(claim)
            .map(|number| self.state.claims.get(number).phase)
    }

    /// Whether a claim waits for more blocks: it matches fewer than it needs.
    #[must_use]
    pub fn lacks_blocks(&self, claim: &ClaimId) -> bool {
        let number = self.state.claims.number(claim);
        number.is_some_and(|number| {
            let claim = self.state.claims.get(number);
            claim.phase == Phase::Waiting && !claim.matched
        })
    }

    /// The blocks that a claim demands, in the order of its demands. None for a claim that never arrived, or was
    /// forgotten.
    pub fn blocks_of(&self, claim: &ClaimId) -> impl Iterator<Item = &BlockId> + '_ {
        let demands_id = self
            .state
            .claims
            .number(claim)
            .map(|number| self.state.claims.get(number).demands_id);
        let blocks = demands_id
            .into_iter()
            .flat_map(|demands_id| self.state.demand_store.get(demands_id).blocks());
        blocks.map(|block| &self.state.blocks.get(block).name)
    }

    /// Every claim that arrived and was not [forgotten](Event::Forget), in the order of arrival.
    #[must_use]
    pub fn claims(&self) -> impl ExactSizeIterator<Item = &ClaimId> + '_ {
        self.state.claims.known().map(|(_, claim)| &claim.name)
    }

    /// How many claims arrived, without those that were forgotten before the engine was restored. It is the number
    /// that the next claim gets, and never falls.
    #[must_use]
    pub const fn arrived(&self) -> usize {
        self.state.claims.numbered()
    }

    /// The claims with this number or a later one that were not forgotten, in the order of arrival. Costs less than
    /// [`claim`](Self::claim), and nothing for the claims before them.
    pub fn claims_from(&self, number: usize) -> impl Iterator<Item = ClaimOutline<'_>> + '_ {
        let claims = self.state.claims.known_from(number);
        claims.map(|(number, claim)| ClaimOutline {
            number,
            claim: &claim.name,
            weight: self.state.claims.terms(claim).weight,
            phase: claim.phase,
            has_released: !claim.released().is_nothing(),
            state: &self.state,
        })
    }

    /// Why a waiting claim waits; none for any other claim.
    #[must_use]
    pub fn explain(&self, claim: &ClaimId) -> Option<Explanation> {
        let number = self.state.claims.number(claim)?;
        (self.state.claims.get(number).phase == Phase::Waiting).then(|| self.explanation(number))
    }

    /// What each block has for a waiting claim, and the claim's place in the order; none for any other claim.
    /// Costs a look at every class of equal waiting claims.
    #[must_use]
    pub fn standing(&self, claim: &ClaimId) -> Option<Standing> {
        let number = self.state.claims.number(claim)?;
        (self.state.claims.get(number).phase == Phase::Waiting).then(|| self.standing_of(number))
    }

    /// The waiting claims that have their blocks, in the order in which the policy tries them; none if it has no
    /// order. Costs a sort of all classes of equal waiting claims.
    #[must_use]
    pub fn queue(&self) -> Option<Vec<&ClaimId>> {
        let numbers = self.policy.queue(PolicyContext::new(&self.state))?.into_iter();
        let names = numbers.map(|number| &self.state.claims.get(number).name);
        Some(names.collect())
    }

    /// What the engine would decide if `event` were applied now. Applies it to a copy of the engine, which
    /// costs time and memory for every claim that ever arrived, forgotten ones included.
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
            Event::AddBlock { .. }
            | Event::RetireBlock { .. }
            | Event::WriteOff { .. }
            | Event::Forget { .. } => None,
        };
        Ok(Outlook { records, waits })
    }
}
