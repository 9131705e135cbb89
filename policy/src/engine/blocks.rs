//! The blocks of a dataset and their accounts, and whether a demand fits a block.
//!
//! A block has one account for each coordinate. Amounts move between the four states of an account (locked,
//! available, allocated, consumed), so their sum is always the capacity. Every operation on a block costs one
//! pass over its coordinates.
//!
//! The amounts cannot overflow: each claim moves at most 2^63 at a coordinate of a block, there are at most
//! 2^32 claims, and an amount has 127 bits.

use std::collections::{HashMap, HashSet};

use super::{BlockState, Refusal, unlocking::UnlockSchedule};
use crate::{BlockId, Budget, Composition, Time, Unlocking, budget::saturate};

/// At which coordinates a demand has to fit a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FitRule {
    /// At each of them (basic composition).
    EveryCoordinate,
    /// At one of those at which the block has any capacity (Renyi composition, where any order gives the
    /// guarantee).
    SomeOrder,
}

/// A block's budget at one coordinate, in that coordinate's unit.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) capacity: i64,
    pub(super) locked: i128,
    /// Below 0 at a Renyi order at which more is granted than is unlocked.
    pub(super) available: i128,
    pub(super) allocated: i128,
    pub(super) consumed: i128,
}

#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) number: u32,
    pub(super) name: BlockId,
    pub(super) capacity: Budget,
    pub(super) accounts: Box<[Account]>,
    /// When it was added first.
    pub(super) added: Time,
    pub(super) arrivals: u64,
    pub(super) retired: bool,
    /// Nothing of it becomes available any more: what isn't allocated counts as consumed.
    pub(super) written_off: bool,
    /// Steps of the clock may be due that were not taken: [`settle`](Self::settle) takes them before a block
    /// is read.
    pub(super) schedule: UnlockSchedule,
}

/// All blocks, by name (a hash map) and by number (a vector), in the order in which they were added.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks {
    numbers: HashMap<BlockId, u32>,
    list: Vec<Block>,
    /// Blocks that were never added and can't be any more.
    lost: HashSet<BlockId>,
}

/// A move of an amount between two states of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// From available to allocated.
    Grant,
    /// From allocated to consumed.
    Consume,
    /// From allocated to available.
    Release,
    /// From consumed to available.
    Return,
}

/// A coordinate at which a block is short of what a demand needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shortfall<'a> {
    pub(super) coordinate: u32,
    pub(super) account: &'a Account,
    /// What the demand needs there.
    pub(super) amount: i64,
}

impl FitRule {
    pub(super) const fn of(composition: &Composition) -> Self {
        match composition {
            Composition::Basic => Self::EveryCoordinate,
            Composition::Renyi(_) => Self::SomeOrder,
        }
    }
}

impl Account {
    /// All that is not consumed.
    pub(super) fn left(&self) -> i128 {
        i128::from(self.capacity) - self.consumed
    }

    /// [`left`](Self::left) for a message. It is at most the capacity, and is reported as `i64::MIN` where an
    /// order is overdrawn beyond 64 bits.
    pub(super) fn reported_left(&self) -> i64 {
        saturate(self.left())
    }

    /// What is available, for a message: saturated as [`reported_left`](Self::reported_left) is.
    pub(super) fn reported_available(&self) -> i64 {
        saturate(self.available)
    }

    fn shift(&mut self, amount: i64, direction: Move) {
        let amount = i128::from(amount);
        let (from, to) = match direction {
            Move::Grant => (&mut self.available, &mut self.allocated),
            Move::Consume => (&mut self.allocated, &mut self.consumed),
            Move::Release => (&mut self.allocated, &mut self.available),
            Move::Return => (&mut self.consumed, &mut self.available),
        };
        *from -= amount;
        *to += amount;
        debug_assert!(self.allocated >= 0 && self.consumed >= 0 && self.locked >= 0);
        debug_assert_eq!(
            self.locked + self.available + self.allocated + self.consumed,
            i128::from(self.capacity)
        );
    }
}

impl Block {
    fn new(number: u32, name: BlockId, capacity: Budget, unlocking: Unlocking, now: Time) -> Self {
        let accounts = capacity.units().iter().map(|capacity| Account {
            capacity: *capacity,
            locked: i128::from(*capacity),
            available: 0,
            allocated: 0,
            consumed: 0,
        });
        let mut block = Self {
            accounts: accounts.collect(),
            number,
            name,
            capacity,
            added: now,
            arrivals: 0,
            retired: false,
            written_off: false,
            schedule: UnlockSchedule::new(unlocking, now),
        };
        block.settle(now);
        block
    }

    /// Unlocks what the clock has unlocked until `now`.
    pub(super) fn settle(&mut self, now: Time) {
        if self.schedule.settle(now) {
            self.unlock();
        }
    }

    /// Counts an arrival of a claim. Returns whether it unlocked a step.
    pub(super) fn arrive(&mut self) -> bool {
        // A count of claims, of which there are at most 2^32, never gets there.
        self.arrivals = self.arrivals.saturating_add(1);
        let steps = self.schedule.arrive();
        if steps {
            self.unlock();
        }
        steps
    }

    /// Unlocks what `arrivals` and the clock have unlocked until `now`, in a block that was just made.
    pub(super) fn restore_steps(&mut self, arrivals: u64, now: Time) {
        self.arrivals = arrivals;
        self.schedule.restore(arrivals, now);
        self.unlock();
    }

    fn unlock(&mut self) {
        if self.written_off {
            return;
        }
        for account in &mut self.accounts {
            let locked = i128::from(account.capacity) - self.schedule.unlocked(account.capacity);
            account.available += account.locked - locked;
            account.locked = locked;
        }
    }

    /// A coordinate that keeps `amounts` from fitting what is available: the first that lacks (basic
    /// composition), or 0 (Renyi, where every order lacks). None if they fit.
    pub(super) fn lacking(&self, amounts: &[i64], fit_rule: FitRule) -> Option<u32> {
        let mut pairs = amounts.iter().zip(&self.accounts);
        match fit_rule {
            FitRule::EveryCoordinate => {
                let mut numbered = (0..).zip(pairs);
                let lacks = numbered.find(|(_, (amount, account))| i128::from(**amount) > account.available);
                lacks.map(|(coordinate, _)| coordinate)
            }
            FitRule::SomeOrder => {
                let fits = pairs.any(|(amount, account)| {
                    account.capacity > 0 && i128::from(*amount) <= account.available
                });
                if fits { None } else { Some(0) }
            }
        }
    }

    fn shortfalls<'a>(&'a self, amounts: &'a [i64]) -> impl Iterator<Item = Shortfall<'a>> + 'a {
        let pairs = (0..).zip(amounts.iter().zip(&self.accounts));
        pairs.map(|(coordinate, (amount, account))| Shortfall {
            coordinate,
            account,
            amount: *amount,
        })
    }

    /// How far `amounts` are from fitting, as a fraction of the capacity. An estimate: no decision depends on
    /// it.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub(super) fn lack(&self, amounts: &[i64], fit_rule: FitRule) -> f64 {
        let pairs = amounts.iter().zip(&self.accounts);
        let lacks = pairs
            .map(|(amount, account)| (*amount as f64 - account.available as f64) / account.capacity as f64);
        match fit_rule {
            FitRule::EveryCoordinate => lacks.fold(0.0, f64::max),
            FitRule::SomeOrder => lacks.fold(f64::INFINITY, f64::min),
        }
    }

    /// Whether `amounts` fit what is available and leave `reserve` of it.
    pub(super) fn fits_beside(&self, amounts: &[i64], fit_rule: FitRule, reserve: &[i128]) -> bool {
        let mut pairs = amounts.iter().zip(&self.accounts).zip(reserve);
        let enough =
            |amount: i64, account: &Account, reserve: i128| i128::from(amount) <= account.available - reserve;
        match fit_rule {
            FitRule::EveryCoordinate => {
                pairs.all(|((amount, account), reserve)| enough(*amount, account, *reserve))
            }
            FitRule::SomeOrder => pairs.any(|((amount, account), reserve)| {
                account.capacity > 0 && enough(*amount, account, *reserve)
            }),
        }
    }

    /// Why `amounts` do not fit what is available: the first coordinate that lacks (basic composition), or
    /// the order that lacks least of those at which the block has any capacity (Renyi). None if they fit.
    pub(super) fn lacks_least<'a>(&'a self, amounts: &'a [i64], fit_rule: FitRule) -> Option<Shortfall<'a>> {
        let first = self.lacking(amounts, fit_rule)?;
        let mut lacks = self.shortfalls(amounts);
        match fit_rule {
            FitRule::EveryCoordinate => lacks.find(|lack| lack.coordinate == first),
            FitRule::SomeOrder => lacks
                .filter(|lack| lack.account.capacity > 0)
                .min_by_key(|lack| i128::from(lack.amount) - lack.account.available),
        }
    }

    /// Why `amounts` can never fit again: too little of the block is not consumed. Of several orders, the one
    /// that is short by least. None if they still can.
    pub(super) fn never<'a>(&'a self, amounts: &'a [i64], fit_rule: FitRule) -> Option<Shortfall<'a>> {
        let excess = |lack: &Shortfall<'_>| i128::from(lack.amount) - lack.account.left();
        match fit_rule {
            FitRule::EveryCoordinate => self.shortfalls(amounts).find(|lack| excess(lack) > 0),
            FitRule::SomeOrder => {
                let usable = self.shortfalls(amounts).filter(|lack| lack.account.capacity > 0);
                match usable.min_by_key(excess) {
                    Some(least) if excess(&least) <= 0 => None,
                    Some(least) => Some(least),
                    None => self.shortfalls(amounts).next(),
                }
            }
        }
    }

    /// The step that makes enough for `amount` available at a coordinate, if nothing else is granted; none if
    /// there is no such step.
    pub(super) fn step_for(&self, coordinate: usize, amount: i64, fit_rule: FitRule) -> Option<u64> {
        let account = self.accounts.get(coordinate)?;
        if fit_rule == FitRule::SomeOrder && account.capacity == 0 {
            return None;
        }
        let so_far = i128::from(account.capacity) - account.locked;
        let missing = i128::from(amount) - account.available;
        self.schedule.step_for(account.capacity, so_far + missing)
    }

    /// Retires the block and counts all that isn't allocated as consumed.
    pub(super) fn write_off(&mut self) {
        self.retired = true;
        self.written_off = true;
        for account in &mut self.accounts {
            let rest = account.locked + account.available;
            account.locked = 0;
            // At an overdrawn Renyi order nothing is left to consume, and what was consumed stays.
            account.consumed += rest.max(0);
            account.available = rest.min(0);
        }
    }

    /// Moves `amounts`, one for each coordinate. What would be available again in a block that was written off
    /// is consumed instead.
    pub(super) fn shift(&mut self, amounts: &[i64], direction: Move) {
        let direction = match direction {
            Move::Release if self.written_off => Move::Consume,
            Move::Return if self.written_off => return,
            direction => direction,
        };
        for (account, amount) in self.accounts.iter_mut().zip(amounts) {
            account.shift(*amount, direction);
        }
    }

    /// The block as users see it, as of `now`.
    pub(super) fn state(&self, now: Time) -> BlockState {
        let mut settled = self.clone();
        settled.settle(now);
        let column = |of: fn(&Account) -> i128| -> Vec<i128> { settled.accounts.iter().map(of).collect() };
        BlockState {
            capacity: settled.capacity.clone(),
            locked: column(|account| account.locked),
            available: column(|account| account.available),
            allocated: column(|account| account.allocated),
            consumed: column(|account| account.consumed),
            arrivals: settled.arrivals,
            retired: settled.retired,
            written_off: settled.written_off,
        }
    }
}

impl Blocks {
    pub(super) fn number(&self, name: &BlockId) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    pub(super) fn list(&self) -> &[Block] {
        &self.list
    }

    /// Whether a block was written off before it was ever added.
    pub(super) fn is_lost(&self, name: &BlockId) -> bool {
        self.lost.contains(name)
    }

    /// The blocks that were never added and can't be any more, in no order.
    pub(super) fn lost(&self) -> impl Iterator<Item = &BlockId> + '_ {
        self.lost.iter()
    }

    pub(super) fn add_lost(&mut self, name: BlockId) {
        self.lost.insert(name);
    }

    /// Writes off every block, and those of `unknown` that are not here. Returns the numbers of the former that
    /// were not written off before.
    pub(super) fn write_off(&mut self, unknown: &[BlockId], now: Time) -> Vec<u32> {
        let unknown = unknown.iter().filter(|name| !self.numbers.contains_key(name));
        self.lost.extend(unknown.cloned());
        let mut written_off = Vec::new();
        for block in self.list.iter_mut().filter(|block| !block.written_off) {
            block.settle(now);
            block.write_off();
            written_off.push(block.number);
        }
        written_off
    }

    pub(super) fn get(&self, number: u32) -> &Block {
        &self.list[number as usize]
    }

    pub(super) fn get_mut(&mut self, number: u32) -> &mut Block {
        &mut self.list[number as usize]
    }

    pub(super) fn add(
        &mut self,
        name: &BlockId,
        capacity: &Budget,
        unlocking: Unlocking,
        now: Time,
    ) -> Result<u32, Refusal> {
        let number = u32::try_from(self.list.len()).map_err(|_| Refusal::Overflow)?;
        self.numbers.insert(name.clone(), number);
        self.list
            .push(Block::new(number, name.clone(), capacity.clone(), unlocking, now));
        Ok(number)
    }
}
