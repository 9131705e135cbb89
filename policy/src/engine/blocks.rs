//! The books of the blocks. Amounts only ever move between the four columns of an account, so each account always
//! sums up to its capacity.
//!
//! Balances can't overflow: each claim moves at most 2^63 at a coordinate of a block, there are at most 2^32 claims,
//! and a balance has 127 bits.

use std::collections::HashMap;

use super::{BlockState, Refusal, unlocking::UnlockSchedule};
use crate::{BlockId, Budget, Composition, Time, Unlocking};

/// At how many coordinates a demand has to fit a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FitRule {
    /// At all of them (basic composition).
    EveryCoordinate,
    /// At one at which the block has any budget at all (Renyi: any order gives the guarantee).
    SomeOrder,
}

/// One coordinate of a block.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) capacity: i64,
    pub(super) locked: i128,
    /// Below 0 where a Renyi order is overdrawn.
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
    pub(super) arrivals: u64,
    pub(super) retired: bool,
    /// The clock's steps may lag behind the time: a block is [settled](Self::settle) before it is looked at.
    pub(super) schedule: UnlockSchedule,
}

/// All blocks, by name and by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Blocks {
    numbers: HashMap<BlockId, u32>,
    list: Vec<Block>,
}

/// From where to where an amount moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// From unlocked to allocated.
    Grant,
    /// From allocated to consumed.
    Consume,
    /// From allocated to unlocked.
    Release,
    /// From consumed to unlocked.
    Return,
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
    /// What can still ever be unlocked, or is already and not consumed.
    pub(super) fn left(&self) -> i128 {
        i128::from(self.capacity) - self.consumed
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
            arrivals: 0,
            retired: false,
            schedule: UnlockSchedule::new(unlocking, now),
        };
        block.settle(now);
        block
    }

    /// Takes the clock's steps until `now`.
    pub(super) fn settle(&mut self, now: Time) {
        if self.schedule.settle(now) {
            self.unlock();
        }
    }

    /// Counts an arrival. Whether it unlocked a step.
    pub(super) fn arrive(&mut self) -> bool {
        self.arrivals = self.arrivals.saturating_add(1);
        let steps = self.schedule.arrive();
        if steps {
            self.unlock();
        }
        steps
    }

    fn unlock(&mut self) {
        for account in &mut self.accounts {
            let locked = i128::from(account.capacity) - self.schedule.unlocked(account.capacity);
            account.available += account.locked - locked;
            account.locked = locked;
        }
    }

    /// A coordinate at which `asked` is more than what is unlocked and that keeps it from fitting; none if it fits.
    pub(super) fn lacking(&self, asked: &[i64], fit_rule: FitRule) -> Option<usize> {
        let mut pairs = asked.iter().zip(&self.accounts);
        match fit_rule {
            FitRule::EveryCoordinate => {
                pairs.position(|(asked, account)| i128::from(*asked) > account.available)
            }
            FitRule::SomeOrder => {
                let fits = pairs
                    .any(|(asked, account)| account.capacity > 0 && i128::from(*asked) <= account.available);
                if fits { None } else { Some(0) }
            }
        }
    }

    /// How far `asked` is from fitting, as a part of the capacity. A guess: no decision depends on it.
    #[expect(clippy::cast_precision_loss, reason = "a guess")]
    pub(super) fn lack(&self, asked: &[i64], fit_rule: FitRule) -> f64 {
        let pairs = asked.iter().zip(&self.accounts);
        let lacks = pairs
            .map(|(asked, account)| (*asked as f64 - account.available as f64) / account.capacity as f64);
        match fit_rule {
            FitRule::EveryCoordinate => lacks.fold(0.0, f64::max),
            FitRule::SomeOrder => lacks.fold(f64::INFINITY, f64::min),
        }
    }

    /// Whether `asked` fits and leaves `reserve`.
    pub(super) fn fits_beside(&self, asked: &[i64], fit_rule: FitRule, reserve: &[i128]) -> bool {
        let mut pairs = asked.iter().zip(&self.accounts).zip(reserve);
        let enough =
            |asked: i64, account: &Account, reserve: i128| i128::from(asked) <= account.available - reserve;
        match fit_rule {
            FitRule::EveryCoordinate => {
                pairs.all(|((asked, account), reserve)| enough(*asked, account, *reserve))
            }
            FitRule::SomeOrder => pairs
                .any(|((asked, account), reserve)| account.capacity > 0 && enough(*asked, account, *reserve)),
        }
    }

    /// The coordinate that lacks least of those at which the block has any budget (Renyi), or the first that lacks; none
    /// if `asked` fits.
    pub(super) fn lacks_least(&self, asked: &[i64], fit_rule: FitRule) -> Option<usize> {
        let first = self.lacking(asked, fit_rule)?;
        let pairs = asked.iter().zip(&self.accounts).enumerate();
        match fit_rule {
            FitRule::EveryCoordinate => Some(first),
            FitRule::SomeOrder => pairs
                .filter(|(_, (_, account))| account.capacity > 0)
                .min_by_key(|(_, (asked, account))| i128::from(**asked) - account.available)
                .map(|(at, _)| at),
        }
    }

    /// The coordinate that shows that `asked` can never fit any more; none if it still can.
    pub(super) fn never(&self, asked: &[i64], fit_rule: FitRule) -> Option<usize> {
        let excess = || {
            let pairs = asked.iter().zip(&self.accounts).enumerate();
            pairs.map(|(at, (asked, account))| (at, account, i128::from(*asked) - account.left()))
        };
        match fit_rule {
            FitRule::EveryCoordinate => excess().find_map(|(at, _, excess)| (excess > 0).then_some(at)),
            FitRule::SomeOrder => {
                let least = excess()
                    .filter(|(_, account, _)| account.capacity > 0)
                    .min_by_key(|(_, _, excess)| *excess);
                match least {
                    Some((_, _, excess)) if excess <= 0 => None,
                    Some((at, _, _)) => Some(at),
                    None => Some(0),
                }
            }
        }
    }

    /// The step that unlocks enough for `asked` at a coordinate, if nobody takes any; none if there is no such step.
    pub(super) fn step_for(&self, coordinate: usize, asked: i64, fit_rule: FitRule) -> Option<u64> {
        let account = self.accounts.get(coordinate)?;
        if fit_rule == FitRule::SomeOrder && account.capacity == 0 {
            return None;
        }
        let so_far = i128::from(account.capacity) - account.locked;
        let missing = i128::from(asked) - account.available;
        self.schedule.step_for(account.capacity, so_far + missing)
    }

    pub(super) fn shift(&mut self, amounts: &[i64], direction: Move) {
        for (account, amount) in self.accounts.iter_mut().zip(amounts) {
            account.shift(*amount, direction);
        }
    }

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
