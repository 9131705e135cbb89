//! The state of an engine without that of its policy: the rules, the time, the blocks, the claims and the
//! index of the waiting ones. Each part is a module of its own; this one only puts them together.

use std::collections::{BTreeSet, HashMap};

use super::{
    Refusal,
    blocks::{Blocks, FitRule},
    claims::{Claim, Claims},
    demands::{BlockDemands, DemandStore},
    forget::FoldedSums,
    waiting::{Class, Waiting},
};
use crate::{Arrival, Budget, ClaimId, DatasetRules, Demand, Time};

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) rules: DatasetRules,
    pub(super) fit_rule: FitRule,
    pub(super) now: Time,
    pub(super) blocks: Blocks,
    pub(super) claims: Claims,
    pub(super) demand_store: DemandStore,
    pub(super) waiting: Waiting,
    /// When the timeout of each waiting claim is over, sorted by time.
    pub(super) timeouts: BTreeSet<(Time, u32)>,
    /// When the clock next matters at a block, sorted by time.
    pub(super) wakes: BTreeSet<(Time, u32)>,
    /// Each block's entry in `wakes`.
    pub(super) wake_of: Vec<Option<Time>>,
    /// The number of the entry after which budget was written off last.
    pub(super) last_write_off: Option<u64>,
    /// The sums of the claims that were forgotten.
    pub(super) folded: FoldedSums,
}

impl State {
    pub(super) fn new(rules: DatasetRules) -> Self {
        let fit_rule = FitRule::of(&rules.composition);
        let coordinates = rules.composition.coordinates();
        Self {
            waiting: Waiting::new(fit_rule, coordinates),
            rules,
            fit_rule,
            now: Time::default(),
            blocks: Blocks::default(),
            claims: Claims::default(),
            demand_store: DemandStore::new(coordinates),
            timeouts: BTreeSet::new(),
            wakes: BTreeSet::new(),
            wake_of: Vec::new(),
            last_write_off: None,
            folded: FoldedSums::new(),
        }
    }

    /// Forgets the demands that nothing needs any more, when that is due: those of claims that ended without
    /// a grant. The demands of what was decided at this very time stay, because it may yet be explained.
    pub(super) fn forget_demands(&mut self) {
        if !self.demand_store.is_copy_due() {
            return;
        }
        let mut copy = DemandStore::new(self.rules.composition.coordinates());
        let (old, mut numbers) = (&self.demand_store, HashMap::new());
        let mut number_of = |demands_id: u32| {
            *numbers.entry(demands_id).or_insert_with(|| {
                // The copy has no more demands than the store, all of which have numbers.
                copy.copy(old.get(demands_id)).unwrap_or(u32::MAX)
            })
        };
        self.claims.renumber_demands(self.now, &mut number_of);
        self.waiting.renumber_demands(&mut number_of);
        copy.was_copied();
        self.demand_store = copy;
    }

    pub(super) fn check_coordinates(&self, budget: &Budget) -> Result<(), Refusal> {
        let (given, expected) = (budget.units().len(), self.rules.composition.coordinates());
        if given == expected {
            Ok(())
        } else {
            Err(Refusal::WrongCoordinates { given, expected })
        }
    }

    pub(super) fn number_of(&self, claim: &ClaimId) -> Result<u32, Refusal> {
        let number = self.claims.number(claim);
        number.ok_or_else(|| Refusal::UnknownClaim(claim.clone()))
    }

    /// The arrival of a claim, with the demands of its match if it was matched later.
    pub(super) fn arrival(&self, claim: &Claim) -> Arrival {
        let demands = self
            .demand_store
            .get(claim.demands_id)
            .grouped()
            .map(|(blocks, demanded)| Demand {
                blocks: blocks.map(|block| self.blocks.get(block).name.clone()).collect(),
                budget: Budget::from_computed(demanded.iter().copied()),
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

    /// What a claim demands of each of its blocks. Empty while it matches too few.
    pub(super) fn demands(&self, number: u32) -> BlockDemands<'_> {
        self.claims.get(number).demands(&self.demand_store)
    }

    /// What each claim of a class demands of each of its blocks.
    pub(super) fn demands_of(&self, class: &Class) -> BlockDemands<'_> {
        self.demand_store.get(class.demands_id)
    }
}
