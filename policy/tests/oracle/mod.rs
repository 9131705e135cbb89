//! The policies once more, slow and plain: every waiting claim is looked at after every event, in the order of its
//! exact shares, and every step of the clock is taken one by one. What the engine does with an index must come to the
//! same records.
//!
//! It depends on the public vocabulary alone, so that the tests of other crates can include it too.
#![allow(dead_code, reason = "each test that includes it uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod packing;
mod round_robin;

use std::{cmp::Ordering, collections::BTreeMap};

use privatekube_policy::{
    Amount, Arrival, BlockId, ClaimId, Composition, Demand, Denial, Event, Phase, Policy, Record, Setting,
    Time, Unlocking,
};

pub(crate) struct Oracle {
    setting: Setting,
    now: u64,
    pub(crate) blocks: BTreeMap<BlockId, Block>,
    /// By arrival.
    pub(crate) claims: Vec<Claim>,
}

pub(crate) struct Block {
    pub(crate) capacity: Vec<i128>,
    pub(crate) unlocked_in_all: Vec<i128>,
    pub(crate) allocated: Vec<i128>,
    pub(crate) consumed: Vec<i128>,
    pub(crate) arrivals: u64,
    pub(crate) retired: bool,
    /// When the clock unlocks a step.
    steps: Vec<u64>,
    /// Round robin: what was given to claims, and where nothing was found.
    divided: Vec<i128>,
    closed: Vec<bool>,
    all_steps_taken: bool,
}

pub(crate) struct Claim {
    arrival: Arrival,
    arrived: u64,
    pub(crate) phase: Phase,
    matched: bool,
    /// By block, in the order of the demands.
    parts: Vec<Part>,
}

struct Part {
    block: BlockId,
    asked: Vec<i128>,
    consumed: Vec<i128>,
    released: Vec<i128>,
    /// Round robin.
    gathered: Vec<i128>,
}

impl Block {
    pub(crate) fn locked(&self) -> Vec<i128> {
        let pairs = self.capacity.iter().zip(&self.unlocked_in_all);
        pairs.map(|(capacity, unlocked)| capacity - unlocked).collect()
    }

    pub(crate) fn unlocked(&self) -> Vec<i128> {
        (0..self.capacity.len())
            .map(|at| self.unlocked_in_all[at] - self.allocated[at] - self.consumed[at])
            .collect()
    }

    fn unlock(&mut self, done: u64, of: u64) {
        for (capacity, unlocked) in self.capacity.iter().zip(&mut self.unlocked_in_all) {
            *unlocked = capacity * i128::from(done.min(of)) / i128::from(of);
        }
    }

    fn take_clock_steps(&mut self, now: u64) {
        let done = self.steps.iter().filter(|step| **step <= now).count();
        self.all_steps_taken = done == self.steps.len();
        if !self.steps.is_empty() {
            self.unlock(done as u64, self.steps.len() as u64);
        }
    }
}

impl Oracle {
    pub(crate) fn new(setting: Setting) -> Self {
        Self {
            setting,
            now: 0,
            blocks: BTreeMap::new(),
            claims: Vec::new(),
        }
    }

    pub(crate) fn advance(&mut self, now: Time) -> Vec<Record> {
        let mut records = Vec::new();
        loop {
            let steps = self.blocks.values().flat_map(|block| &block.steps);
            let steps = steps.copied().filter(|step| *step > self.now);
            let timeouts = self.claims.iter().filter(|claim| claim.phase == Phase::Waiting);
            let timeouts = timeouts.filter_map(expires);
            let ticks = self.next_division();
            let Some(at) = steps
                .chain(timeouts)
                .chain(ticks)
                .filter(|at| *at <= now.micros())
                .min()
            else {
                break;
            };
            // A timeout of no length is over after the tick of its time.
            let later = at > self.now;
            self.now = self.now.max(at);
            for block in self.blocks.values_mut() {
                block.take_clock_steps(self.now);
            }
            if self.setting.policy == Policy::RoundRobin {
                if later {
                    self.divide_at_a_tick(at, &mut records);
                }
            } else {
                self.grant_what_fits(&mut records);
            }
            for claim in &mut self.claims {
                if claim.phase == Phase::Waiting && expires(claim) == Some(at) {
                    claim.phase = Phase::Expired;
                    records.push(Record::Expired {
                        claim: claim.arrival.claim.clone(),
                        at: Time::from_micros(at),
                    });
                }
            }
        }
        self.now = self.now.max(now.micros());
        records
    }

    /// An event that makes no sense changes nothing.
    pub(crate) fn apply(&mut self, event: &Event) -> Vec<Record> {
        self.try_apply(event).unwrap_or_default()
    }

    /// None for an event that makes no sense.
    pub(crate) fn try_apply(&mut self, event: &Event) -> Option<Vec<Record>> {
        match event {
            Event::AddBlock { block, capacity } => {
                self.coordinates_are_right(capacity.units())?;
                self.add_block(block, widen(capacity.units()))
            }
            Event::RetireBlock { block } => self.retire_block(block),
            Event::Arrive(arrival) => self.arrive(arrival),
            Event::Match { claim, demands } => self.match_blocks(claim, demands),
            Event::Consume { claim, amount } => self.consume(claim, amount),
            Event::Release { claim, amount } => self.release(claim, amount),
            Event::Withdraw { claim } => self.withdraw(claim),
            Event::NeverRan { claim } => self.never_ran(claim),
        }
    }

    fn add_block(&mut self, name: &BlockId, capacity: Vec<i128>) -> Option<Vec<Record>> {
        let records = vec![Record::BlockAdded { block: name.clone() }];
        if let Some(block) = self.blocks.get_mut(name) {
            if !block.retired || block.capacity != capacity {
                return None;
            }
            block.retired = false;
            return Some(records);
        }
        let steps = match self.setting.unlocking {
            Unlocking::Arrivals(_) => Vec::new(),
            Unlocking::Immediate => vec![self.now],
            Unlocking::Lifetime { lifetime, tick } => {
                let mut at = 0;
                while at < self.now {
                    at += tick.micros();
                }
                let mut steps = vec![at];
                while at + tick.micros() <= self.now + lifetime.micros() {
                    at += tick.micros();
                    steps.push(at);
                }
                steps
            }
        };
        let nothing = vec![0; capacity.len()];
        let mut block = Block {
            capacity,
            unlocked_in_all: nothing.clone(),
            allocated: nothing.clone(),
            consumed: nothing.clone(),
            arrivals: 0,
            retired: false,
            steps,
            closed: vec![false; nothing.len()],
            divided: nothing,
            all_steps_taken: false,
        };
        block.take_clock_steps(self.now);
        self.blocks.insert(name.clone(), block);
        Some(records)
    }

    fn retire_block(&mut self, name: &BlockId) -> Option<Vec<Record>> {
        let block = self.blocks.get_mut(name)?;
        if block.retired {
            return Some(Vec::new());
        }
        block.retired = true;
        let mut records = vec![Record::BlockRetired { block: name.clone() }];
        for at in 0..self.claims.len() {
            let claim = &self.claims[at];
            if waits(claim) && claim.parts.iter().any(|part| part.block == *name) {
                let block = name.clone();
                self.deny(at, Denial::BlockRetired { block }, &mut records);
            }
        }
        Some(records)
    }

    fn arrive(&mut self, arrival: &Arrival) -> Option<Vec<Record>> {
        if self.find(&arrival.claim).is_some() || arrival.min_blocks == 0 {
            return None;
        }
        let parts = self.parts(&arrival.demands)?;
        self.claims.push(Claim {
            arrival: arrival.clone(),
            arrived: self.now,
            phase: Phase::Waiting,
            matched: false,
            parts: Vec::new(),
        });
        let mut records = Vec::new();
        let at = self.claims.len() - 1;
        self.compete(at, parts, &mut records);
        if self.claims[at].phase == Phase::Waiting {
            let claim = arrival.claim.clone();
            records.push(Record::Waits { claim });
        }
        Some(records)
    }

    fn match_blocks(&mut self, name: &ClaimId, demands: &[Demand]) -> Option<Vec<Record>> {
        let at = self.find(name)?;
        if self.claims[at].phase != Phase::Waiting || self.claims[at].matched {
            return None;
        }
        let parts = self.parts(demands)?;
        let mut records = Vec::new();
        self.compete(at, parts, &mut records);
        Some(records)
    }

    fn compete(&mut self, at: usize, parts: Vec<Part>, records: &mut Vec<Record>) {
        if parts.len() < self.claims[at].arrival.min_blocks as usize {
            return;
        }
        let retired = parts.iter().find(|part| self.blocks[&part.block].retired);
        if let Some(part) = retired {
            let block = part.block.clone();
            self.claims[at].parts = parts;
            self.deny(at, Denial::BlockRetired { block }, records);
            return;
        }
        let mut unlocked = Vec::new();
        for part in &parts {
            let block = self.blocks.get_mut(&part.block).unwrap();
            block.arrivals += 1;
            if let Unlocking::Arrivals(of) = self.setting.unlocking {
                if block.arrivals <= u64::from(of) {
                    unlocked.push(part.block.clone());
                }
                block.unlock(block.arrivals, u64::from(of));
            }
        }
        if !unlocked.is_empty() {
            let blocks = unlocked.clone();
            records.push(Record::Unlocked { blocks });
        }
        self.claims[at].parts = parts;
        self.claims[at].matched = true;
        if let Some(reason) = self.can_never_be_granted(at).or_else(|| self.turned_away(at)) {
            self.deny(at, reason, records);
        }
        if self.setting.policy == Policy::RoundRobin {
            self.divide_at_an_arrival(at, &unlocked, records);
            return;
        }
        self.grant_what_fits(records);
        if self.setting.policy == (Policy::Fcfs { refusing: true }) && waits(&self.claims[at]) {
            let reason = self.does_not_fit(at);
            self.deny(at, reason, records);
        }
    }

    fn does_not_fit(&self, at: usize) -> Denial {
        let mut parts = self.claims[at].parts.iter();
        let part = parts.find(|part| !self.fits(part)).unwrap();
        let block = &self.blocks[&part.block];
        let unlocked = block.unlocked();
        let mut coordinates = 0..unlocked.len();
        let missing = |at: &usize| part.asked[*at] - unlocked[*at];
        let coordinate = match self.setting.composition {
            Composition::Basic => coordinates.find(|at| missing(at) > 0),
            Composition::Renyi(_) => coordinates
                .filter(|at| block.capacity[*at] > 0)
                .min_by_key(missing),
        };
        let coordinate = coordinate.unwrap();
        Denial::DoesNotFit {
            block: part.block.clone(),
            coordinate: u32::try_from(coordinate).unwrap(),
            asked: i64::try_from(part.asked[coordinate]).unwrap(),
            unlocked: i64::try_from(unlocked[coordinate]).unwrap_or(i64::MIN),
        }
    }

    fn consume(&mut self, name: &ClaimId, amount: &Amount) -> Option<Vec<Record>> {
        let at = self.find(name)?;
        let Some(targets) = self.targets(at, amount, Phase::Consumed)? else {
            return Some(Vec::new());
        };
        for (part, target) in self.claims[at].parts.iter_mut().zip(targets) {
            let block = self.blocks.get_mut(&part.block).unwrap();
            for (coordinate, target) in target.into_iter().enumerate() {
                let more = target - part.consumed[coordinate];
                part.consumed[coordinate] = target;
                block.allocated[coordinate] -= more;
                block.consumed[coordinate] += more;
            }
        }
        let entirely = self.end_if_nothing_is_left(at);
        let claim = name.clone();
        let mut records = vec![Record::Consumed { claim, entirely }];
        for at in 0..self.claims.len() {
            if waits(&self.claims[at])
                && let Some(reason) = self.can_never_be_granted(at)
            {
                self.deny(at, reason, &mut records);
            }
        }
        Some(records)
    }

    fn release(&mut self, name: &ClaimId, amount: &Amount) -> Option<Vec<Record>> {
        let at = self.find(name)?;
        let Some(targets) = self.targets(at, amount, Phase::Released)? else {
            return Some(Vec::new());
        };
        for (part, target) in self.claims[at].parts.iter_mut().zip(targets) {
            let block = self.blocks.get_mut(&part.block).unwrap();
            for (coordinate, target) in target.into_iter().enumerate() {
                let more = target - part.released[coordinate];
                block.allocated[coordinate] -= more;
                block.give_back(coordinate, more);
                part.released[coordinate] = target;
            }
        }
        let entirely = self.end_if_nothing_is_left(at);
        let claim = name.clone();
        let mut records = vec![Record::Released { claim, entirely }];
        self.grant_what_returned(at, &mut records);
        Some(records)
    }

    fn withdraw(&mut self, name: &ClaimId) -> Option<Vec<Record>> {
        let at = self.find(name)?;
        match self.claims[at].phase {
            Phase::Waiting => {
                self.claims[at].phase = Phase::Withdrawn;
                Some(vec![Record::Withdrawn { claim: name.clone() }])
            }
            Phase::Granted => self.release(name, &Amount::All),
            _ => Some(Vec::new()),
        }
    }

    fn never_ran(&mut self, name: &ClaimId) -> Option<Vec<Record>> {
        let at = self.find(name)?;
        let consumed = |part: &Part| part.consumed.iter().any(|units| *units > 0);
        match self.claims[at].phase {
            Phase::Consumed => {}
            Phase::Granted if self.claims[at].parts.iter().any(consumed) => {}
            Phase::Granted | Phase::Released => return Some(Vec::new()),
            _ => return None,
        }
        for part in &mut self.claims[at].parts {
            let block = self.blocks.get_mut(&part.block).unwrap();
            for (coordinate, asked) in part.asked.iter().enumerate() {
                let held = asked - part.consumed[coordinate] - part.released[coordinate];
                block.allocated[coordinate] -= held;
                block.consumed[coordinate] -= part.consumed[coordinate];
                block.give_back(coordinate, held + part.consumed[coordinate]);
                part.consumed[coordinate] = 0;
                part.released[coordinate] = *asked;
            }
        }
        self.claims[at].phase = Phase::Released;
        let claim = name.clone();
        let mut records = vec![Record::Released {
            claim,
            entirely: true,
        }];
        self.grant_what_returned(at, &mut records);
        Some(records)
    }

    fn grant_what_returned(&mut self, at: usize, records: &mut Vec<Record>) {
        if self.setting.policy == Policy::RoundRobin {
            self.divide_what_returned(at, records);
        } else {
            self.grant_what_fits(records);
        }
    }

    /// The walk over all waiting claims.
    fn grant_what_fits(&mut self, records: &mut Vec<Record>) {
        match self.setting.policy {
            Policy::Dpf | Policy::Fcfs { .. } => {
                for at in self.all_waiting() {
                    if self.claims[at].parts.iter().all(|part| self.fits(part)) {
                        self.grant(at, records);
                    }
                }
            }
            Policy::Dpack { recompute_after } => self.pack(recompute_after, records),
            Policy::Blend {
                fairness,
                recompute_after,
            } => {
                self.walk_on_a_part(fairness, records);
                self.pack(recompute_after, records);
            }
            Policy::RoundRobin => unreachable!("amounts are divided"),
        }
    }

    /// In the policy's order.
    fn all_waiting(&self) -> Vec<usize> {
        let mut waiting: Vec<usize> = (0..self.claims.len())
            .filter(|at| waits(&self.claims[*at]))
            .collect();
        waiting.sort_by(|one, other| self.compare(*one, *other));
        waiting
    }

    /// How many waiting claims go before one, if all fit.
    pub(crate) fn ahead(&self, name: &ClaimId) -> usize {
        let order = match self.setting.policy {
            Policy::Dpack { .. } => self.in_order_of_prices(),
            _ => self.all_waiting(),
        };
        let mut names = order.iter().map(|at| &self.claims[*at].arrival.claim);
        names.position(|claim| claim == name).unwrap()
    }

    fn grant(&mut self, at: usize, records: &mut Vec<Record>) {
        for part in &self.claims[at].parts {
            let block = self.blocks.get_mut(&part.block).unwrap();
            for (allocated, asked) in block.allocated.iter_mut().zip(&part.asked) {
                *allocated += asked;
            }
        }
        self.claims[at].phase = Phase::Granted;
        records.push(Record::Granted {
            claim: self.claims[at].arrival.claim.clone(),
            at: Time::from_micros(self.now),
        });
    }

    fn fits(&self, part: &Part) -> bool {
        let block = &self.blocks[&part.block];
        let unlocked = block.unlocked();
        let enough = |at: usize| part.asked[at] <= unlocked[at];
        let mut coordinates = 0..unlocked.len();
        match self.setting.composition {
            Composition::Basic => coordinates.all(enough),
            Composition::Renyi(_) => coordinates.any(|at| block.capacity[at] > 0 && enough(at)),
        }
    }

    fn compare(&self, one: usize, other: usize) -> Ordering {
        let (first, second) = (&self.claims[one].arrival, &self.claims[other].arrival);
        if first.priority != second.priority {
            return second.priority.cmp(&first.priority);
        }
        if matches!(self.setting.policy, Policy::Fcfs { .. }) {
            return one.cmp(&other);
        }
        let (shares, others) = (self.shares(one), self.shares(other));
        for at in 0..shares.len().max(others.len()) {
            match (shares.get(at), others.get(at)) {
                (None, Some(_)) => return Ordering::Less,
                (Some(_), None) => return Ordering::Greater,
                (Some(share), Some(other)) => match compare_fractions(*share, *other) {
                    Ordering::Equal => {}
                    unequal => return unequal,
                },
                (None, None) => {}
            }
        }
        one.cmp(&other)
    }

    /// The share of each block over the weight, largest first.
    fn shares(&self, at: usize) -> Vec<(i128, i128)> {
        let mut shares = Vec::new();
        for part in &self.claims[at].parts {
            let capacity = &self.blocks[&part.block].capacity;
            let usable = (0..capacity.len()).filter(|at| capacity[*at] > 0);
            let weight = i128::from(self.claims[at].arrival.weight.get());
            let fractions = usable.map(|at| (part.asked[at], capacity[at] * weight));
            shares.extend(fractions.max_by(|one, other| compare_fractions(*one, *other)));
        }
        shares.sort_by(|one, other| compare_fractions(*other, *one));
        shares
    }

    fn can_never_be_granted(&self, at: usize) -> Option<Denial> {
        for part in &self.claims[at].parts {
            let block = &self.blocks[&part.block];
            let left = |at: usize| block.capacity[at] - block.consumed[at];
            let excess = |at: &usize| part.asked[*at] - left(*at);
            let mut coordinates = 0..part.asked.len();
            let coordinate = match self.setting.composition {
                Composition::Basic => coordinates.find(|at| excess(at) > 0),
                Composition::Renyi(_) => {
                    let least = coordinates
                        .filter(|at| block.capacity[*at] > 0)
                        .min_by_key(excess);
                    least.map_or(Some(0), |at| (excess(&at) > 0).then_some(at))
                }
            };
            if let Some(coordinate) = coordinate {
                return Some(Denial::TooLarge {
                    block: part.block.clone(),
                    coordinate: u32::try_from(coordinate).unwrap(),
                    asked: i64::try_from(part.asked[coordinate]).unwrap(),
                    left: i64::try_from(left(coordinate)).unwrap_or(i64::MIN),
                });
            }
        }
        None
    }

    fn deny(&mut self, at: usize, reason: Denial, records: &mut Vec<Record>) {
        self.claims[at].phase = Phase::Denied;
        records.push(Record::Denied {
            claim: self.claims[at].arrival.claim.clone(),
            reason,
            at: Time::from_micros(self.now),
        });
    }

    fn end_if_nothing_is_left(&mut self, at: usize) -> bool {
        let claim = &mut self.claims[at];
        let all = |test: fn(i128, i128, i128) -> bool| {
            let mut amounts = claim.parts.iter().flat_map(|part| {
                (0..part.asked.len()).map(|at| (part.asked[at], part.consumed[at], part.released[at]))
            });
            amounts.all(|(asked, consumed, released)| test(asked, consumed, released))
        };
        let ended = all(|asked, consumed, released| asked == consumed + released);
        if ended {
            let nothing_consumed = all(|_, consumed, _| consumed == 0);
            claim.phase = if nothing_consumed {
                Phase::Released
            } else {
                Phase::Consumed
            };
        }
        ended
    }

    /// What is consumed or released in all afterwards. None outside: refused; none inside: nothing to do.
    #[allow(clippy::option_option, reason = "two ways of not doing it")]
    fn targets(&self, at: usize, amount: &Amount, end: Phase) -> Option<Option<Vec<Vec<i128>>>> {
        let claim = &self.claims[at];
        if ![Phase::Granted, Phase::Consumed, Phase::Released].contains(&claim.phase) {
            return None;
        }
        let before = |part: &Part| {
            if end == Phase::Consumed {
                part.consumed.clone()
            } else {
                part.released.clone()
            }
        };
        let held = |part: &Part, at: usize| part.asked[at] - part.consumed[at] - part.released[at];
        let mut targets: Vec<Vec<i128>> = claim.parts.iter().map(before).collect();
        match amount {
            Amount::All if claim.phase == end => return Some(None),
            Amount::All if claim.phase != Phase::Granted => return None,
            Amount::All => {
                for (part, target) in claim.parts.iter().zip(&mut targets) {
                    for (at, target) in target.iter_mut().enumerate() {
                        *target += held(part, at);
                    }
                }
            }
            Amount::InAll(demands) => {
                let mut named = Vec::new();
                for demand in demands {
                    self.coordinates_are_right(demand.budget.units())?;
                    for block in &demand.blocks {
                        let part = claim.parts.iter().position(|part| part.block == *block)?;
                        if named.contains(&block) {
                            return None;
                        }
                        named.push(block);
                        for (at, total) in widen(demand.budget.units()).into_iter().enumerate() {
                            let target = &mut targets[part][at];
                            if total > *target + held(&claim.parts[part], at) {
                                return None;
                            }
                            *target = total.max(*target);
                        }
                    }
                }
            }
        }
        let changes = claim.parts.iter().map(before).ne(targets.iter().cloned());
        Some(changes.then_some(targets))
    }

    fn parts(&self, demands: &[Demand]) -> Option<Vec<Part>> {
        let mut parts: Vec<Part> = Vec::new();
        for demand in demands {
            self.coordinates_are_right(demand.budget.units())?;
            if demand.budget.is_zero() {
                return None;
            }
            for block in &demand.blocks {
                if !self.blocks.contains_key(block) || parts.iter().any(|part| part.block == *block) {
                    return None;
                }
                let asked = widen(demand.budget.units());
                parts.push(Part {
                    block: block.clone(),
                    consumed: vec![0; asked.len()],
                    released: vec![0; asked.len()],
                    gathered: vec![0; asked.len()],
                    asked,
                });
            }
        }
        Some(parts)
    }

    fn coordinates_are_right(&self, units: &[i64]) -> Option<()> {
        (units.len() == self.setting.composition.coordinates()).then_some(())
    }

    fn find(&self, name: &ClaimId) -> Option<usize> {
        self.claims.iter().position(|claim| claim.arrival.claim == *name)
    }
}

fn waits(claim: &Claim) -> bool {
    claim.phase == Phase::Waiting && claim.matched
}

fn expires(claim: &Claim) -> Option<u64> {
    claim
        .arrival
        .timeout
        .map(|timeout| claim.arrived + timeout.micros())
}

/// By their whole parts, then by what is left: without any product, which could be too large. None is negative.
fn compare_fractions(one: (i128, i128), other: (i128, i128)) -> Ordering {
    let wholes = (one.0 / one.1).cmp(&(other.0 / other.1));
    match (wholes, one.0 % one.1, other.0 % other.1) {
        (Ordering::Equal, 0, 0) => Ordering::Equal,
        (Ordering::Equal, 0, _) => Ordering::Less,
        (Ordering::Equal, _, 0) => Ordering::Greater,
        (Ordering::Equal, rest, other_rest) => compare_fractions((other.1, other_rest), (one.1, rest)),
        _ => wholes,
    }
}

fn widen(units: &[i64]) -> Vec<i128> {
    units.iter().copied().map(i128::from).collect()
}
