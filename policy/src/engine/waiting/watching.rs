//! Families, and the block that each one watches.

use std::{cmp::Ordering, sync::Arc};

use super::{
    Class, Slots, Waiting,
    family::{Family, Layout, Member, Members, compare},
    ladder::{Ladder, NO_AMOUNT, Rungs},
};
use crate::engine::books::{Block, Rule};

/// The order of the families that watch a block, by their first classes, and the least that each asks there: at the
/// coordinate that lacks (basic composition), or at each order (Renyi), since any may be the one that fits first.
struct Watchers<'a> {
    classes: &'a Slots<Class>,
    families: &'a Slots<Family>,
    rule: Rule,
}

impl Waiting {
    /// The family that classes of a layout join, new if there is none.
    pub(super) fn family_of(&mut self, layout: Layout) -> u32 {
        if let Some(family) = self.joined.get(&layout) {
            return *family;
        }
        let family = Family::new(Arc::clone(&layout), self.coordinates);
        let number = self.families.add(family);
        self.joined.insert(layout, number);
        number
    }

    pub(in crate::engine) fn layout(&self, family: u32) -> Option<Layout> {
        self.families.get(family).map(|family| Arc::clone(&family.layout))
    }

    /// Adds a class to its family, or takes it away. A family that has no other ends with it.
    pub(super) fn change_family(&mut self, class: u32, add: bool) {
        let Some(number) = self.class(class).map(|class| class.family) else {
            return;
        };
        let watch = self.unwatch_for(class);
        self.change_members_of_family(class, add);
        let Some(family) = self.families.get(number) else {
            return;
        };
        if family.members.is_empty() {
            if self.joined.get(&family.layout) == Some(&number) {
                self.joined.remove(&family.layout);
            }
            self.families.take(number);
        } else if let Some((part, coordinate)) = watch {
            self.watch(number, part, coordinate);
        }
    }

    pub(super) fn change_members_of_family(&mut self, number: u32, add: bool) {
        let Some(class) = self.classes.get(number) else {
            return;
        };
        let Some(family) = self.families.get_mut(class.family) else {
            return;
        };
        let member = Member {
            key: class.rank.key(),
            class: number,
        };
        let classes = Members {
            classes: &self.classes.values,
            layout: &family.layout,
        };
        if add {
            family.members.insert(member, &classes);
        } else {
            family.members.remove(member, &classes);
        }
    }

    /// Takes a class's family in hand if where it stands may change with the class. What it watched, then.
    pub(super) fn unwatch_for(&mut self, number: u32) -> Option<(usize, usize)> {
        let class = self.classes.get(number)?;
        let family = self.families.get_mut(class.family)?;
        let (part, coordinate) = family.watch?;
        let member = Member {
            key: class.rank.key(),
            class: number,
        };
        let classes = Members {
            classes: &self.classes.values,
            layout: &family.layout,
        };
        let goes_first = family
            .members
            .head()
            .is_none_or(|head| classes.compare(&member, &head).is_le());
        let least = family.members.least(&classes);
        let least = &least[family.layout[part].1 as usize * self.coordinates..][..self.coordinates];
        let mut pairs = class.parts()[part].budget.units().iter().zip(least).enumerate();
        let asks_least =
            pairs.any(|(at, (asked, least))| (self.rule == Rule::Any || at == coordinate) && asked <= least);
        if goes_first || asks_least {
            let number = class.family;
            self.unwatch(number);
            Some((part, coordinate))
        } else {
            None
        }
    }

    /// Lets a family in hand watch the block of a part, at which no class of it fits (basic composition: at this
    /// coordinate).
    pub(in crate::engine) fn watch(&mut self, number: u32, part: usize, coordinate: usize) {
        let Some(family) = self.families.get_mut(number) else {
            return;
        };
        let classes = Members {
            classes: &self.classes.values,
            layout: &family.layout,
        };
        // Lets it be exact, and stay so: what changes it takes the family in hand.
        family.members.least(&classes);
        family.watch = Some((part, coordinate));
        self.change_watch(number, true);
    }

    /// Takes a family in hand.
    pub(in crate::engine) fn unwatch(&mut self, number: u32) {
        self.change_watch(number, false);
        if let Some(family) = self.families.get_mut(number) {
            family.watch = None;
        }
    }

    fn change_watch(&mut self, number: u32, add: bool) {
        let Some(family) = self.families.get(number) else {
            return;
        };
        let Some(((part, _), head)) = family.watch.zip(family.members.head()) else {
            return;
        };
        let block = family.layout[part].0;
        let watcher = Member {
            key: head.key,
            class: number,
        };
        let watchers = Watchers {
            classes: &self.classes,
            families: &self.families,
            rule: self.rule,
        };
        let watching = &mut self.stations[block as usize].watching;
        if add {
            watching.insert(watcher, &watchers);
        } else {
            watching.remove(watcher, &watchers);
        }
        self.touched.push(block);
    }

    /// What a family watches; none if it is in hand.
    pub(in crate::engine) fn watched(&self, number: u32) -> Option<(usize, usize)> {
        self.families.get(number)?.watch
    }

    /// The first of the families that watch this block and that what is unlocked there no longer keeps waiting.
    pub(in crate::engine) fn first_awakened(&mut self, number: u32, block: &Block) -> Option<u32> {
        let limits = limits(block, self.rule);
        let (watching, watchers) = self.at(number);
        let first = watching.first(|row| is_low(row, &limits), &watchers);
        first.map(|family| family.class)
    }

    /// All of them.
    pub(in crate::engine) fn all_awakened(&mut self, number: u32, block: &Block) -> Vec<u32> {
        let limits = limits(block, self.rule);
        let (watching, watchers) = self.at(number);
        let all = watching.all(|row| is_low(row, &limits), &watchers);
        all.into_iter().map(|family| family.class).collect()
    }

    /// The least that a watching class asks at each coordinate that may let it fit.
    pub(in crate::engine) fn least_watched(
        &mut self,
        number: u32,
    ) -> impl Iterator<Item = (usize, i64)> + '_ {
        let (watching, watchers) = self.at(number);
        let least = watching.least(&watchers).iter().enumerate();
        let least = least.filter(|(_, amount)| **amount != NO_AMOUNT);
        least.map(|(at, amount)| (at, amount + i64::MAX))
    }

    fn at(&mut self, block: u32) -> (&mut Ladder<Member>, Watchers<'_>) {
        let watchers = Watchers {
            classes: &self.classes,
            families: &self.families,
            rule: self.rule,
        };
        (&mut self.stations[block as usize].watching, watchers)
    }

    /// The first class of a family.
    pub(in crate::engine) fn head(&self, number: u32) -> Option<u32> {
        let head = self.families.get(number)?.members.head();
        head.map(|member| member.class)
    }

    /// The least that a family's classes ask, row by row.
    pub(in crate::engine) fn least(&mut self, number: u32) -> &[i64] {
        let Some(family) = self.families.get_mut(number) else {
            return &[];
        };
        let classes = Members {
            classes: &self.classes.values,
            layout: &family.layout,
        };
        family.members.least(&classes)
    }

    /// The first class of a family whose rows meet a condition, which any lower ones would meet too.
    pub(in crate::engine) fn first_of(
        &mut self,
        number: u32,
        condition: impl Fn(&[i64]) -> bool,
    ) -> Option<u32> {
        let family = self.families.get_mut(number)?;
        let classes = Members {
            classes: &self.classes.values,
            layout: &family.layout,
        };
        let first = family.members.first(condition, &classes);
        first.map(|member| member.class)
    }

    /// All of them.
    pub(in crate::engine) fn all_of(&mut self, number: u32, condition: impl Fn(&[i64]) -> bool) -> Vec<u32> {
        let Some(family) = self.families.get_mut(number) else {
            return Vec::new();
        };
        let classes = Members {
            classes: &self.classes.values,
            layout: &family.layout,
        };
        let all = family.members.all(condition, &classes);
        all.into_iter().map(|member| member.class).collect()
    }

    /// Makes a family of its own, which is in hand as this one is, of the classes that don't `stay`.
    pub(in crate::engine) fn split(&mut self, number: u32, stays: impl Fn(&Class) -> bool) -> Option<u32> {
        let layout = self.layout(number)?;
        let members = self.all_of(number, |_| true).into_iter();
        let leaving = members.filter(|class| self.class(*class).is_some_and(|class| !stays(class)));
        let leaving: Vec<u32> = leaving.collect();
        let new = self.families.add(Family::new(layout, self.coordinates));
        for class in leaving {
            self.change_members_of_family(class, false);
            if let Some(class) = self.classes.get_mut(class) {
                class.family = new;
            }
            self.change_members_of_family(class, true);
        }
        Some(new)
    }
}

impl Rungs<Member> for Watchers<'_> {
    fn compare(&self, one: &Member, other: &Member) -> Ordering {
        one.key.cmp(&other.key).then_with(|| {
            let head = |family: &Member| self.families.get(family.class)?.members.head();
            match (head(one), head(other)) {
                (Some(one), Some(other)) => compare(&self.classes.values, &one, &other),
                (one, other) => one.is_some().cmp(&other.is_some()),
            }
        })
    }

    fn lower(&self, watcher: &Member, least: &mut [i64]) {
        let Some(family) = self.families.get(watcher.class) else {
            return;
        };
        let Some((part, coordinate)) = family.watch else {
            return;
        };
        let asked = family.members.known_least();
        let asked = &asked[family.layout[part].1 as usize * least.len()..][..least.len()];
        let counted = match self.rule {
            Rule::All => coordinate..coordinate + 1,
            Rule::Any => 0..least.len(),
        };
        for (least, asked) in least[counted.clone()].iter_mut().zip(&asked[counted]) {
            *least = (*least).min(below_all(*asked));
        }
    }
}

/// Budget, never negative, as an amount that is never above 0, and so below [`NO_AMOUNT`].
const fn below_all(units: i64) -> i64 {
    units - i64::MAX
}

/// Up to what a watcher that asks it is no longer kept waiting, at each coordinate.
fn limits(block: &Block, rule: Rule) -> Vec<i64> {
    let limits = block.accounts.iter().map(|account| {
        if account.unlocked < 0 || rule == Rule::Any && account.capacity == 0 {
            return i64::MIN;
        }
        below_all(i64::try_from(account.unlocked).unwrap_or(i64::MAX))
    });
    limits.collect()
}

fn is_low(row: &[i64], limits: &[i64]) -> bool {
    row.iter().zip(limits).any(|(amount, limit)| amount <= limit)
}
