//! The watch lists: which family watches which block. Changing a watch costs a logarithmic number of
//! comparisons.

use std::{cmp::Ordering, hash::BuildHasher};

use super::{
    Class, Slab, Waiting,
    class::{Classes, Member},
    family::{Family, Watch},
    min_tree::{EntryOrder, MinTree, NO_AMOUNT},
};
use crate::engine::{
    blocks::{Block, FitRule},
    demands::{BlockDemands, DemandStore},
};

/// Sorts the families that watch a block by their first classes. A family's amounts are the least that its
/// classes demand of the block: at the coordinate that lacks (basic composition), or at each order (Renyi),
/// since any may be the first to fit.
struct Watchers<'a> {
    classes: Classes<'a>,
    families: &'a Slab<Family>,
    fit_rule: FitRule,
}

impl Waiting {
    /// The family of a new class with these demands: a new one if there is none for their blocks.
    pub(super) fn family_for(&mut self, demands_id: u32, demand_store: &DemandStore) -> u32 {
        let layout = demand_store.get(demands_id).layout();
        let families = &self.families;
        let layout_of = |number: u32| {
            families
                .get(number)
                .map(|family| demand_store.get(family.demands_id).layout())
        };
        let hash = self.hasher.hash_one(&layout);
        let same = |number: &u32| layout_of(*number).is_some_and(|other| other == layout);
        if let Some(number) = self.families_by_blocks.find(hash, same) {
            return *number;
        }
        let number = self.families.add(Family::new(demands_id));
        let families = &self.families;
        let hash_of = |number: &u32| {
            let family = families.get(*number);
            family.map_or(0, |family| {
                self.hasher.hash_one(demand_store.get(family.demands_id).layout())
            })
        };
        self.families_by_blocks.insert_unique(hash, number, hash_of);
        number
    }

    fn end_family(&mut self, number: u32, demand_store: &DemandStore) {
        if let Some(family) = self.families.take(number) {
            let hash = self.hasher.hash_one(demand_store.get(family.demands_id).layout());
            if let Ok(entry) = self.families_by_blocks.find_entry(hash, |other| *other == number) {
                entry.remove();
            }
        }
    }

    /// The blocks that the classes of a family demand, as the demands of one of them: the amounts do not
    /// count.
    pub(in crate::engine) fn layout<'a>(
        &self,
        family: u32,
        demand_store: &'a DemandStore,
    ) -> Option<BlockDemands<'a>> {
        self.families
            .get(family)
            .map(|family| demand_store.get(family.demands_id))
    }

    /// Adds a class to its family, or removes it. Removes a family without classes.
    pub(super) fn change_family(&mut self, class: u32, add: bool, demand_store: &DemandStore) {
        let Some(number) = self.class(class).map(|class| class.family) else {
            return;
        };
        let watch = self.unwatch_for(class, demand_store);
        self.change_members(class, add, demand_store);
        if self.head(number).is_none() {
            self.end_family(number, demand_store);
        } else if let Some(watch) = watch {
            self.watch(number, watch, demand_store);
        }
    }

    pub(super) fn change_members(&mut self, number: u32, add: bool, demand_store: &DemandStore) {
        let Some(class) = self.classes.get(number) else {
            return;
        };
        let Some(family) = self.families.get_mut(class.family) else {
            return;
        };
        let classes = Classes {
            slab: &self.classes,
            demand_store,
        };
        if add {
            family.insert(class.member(number), classes);
        } else {
            family.remove(class.member(number), classes);
        }
    }

    /// Unwatches the family of a class if the class decides its place in the watch list: it goes first, or
    /// its demand is the least. Returns what the family watched, if so.
    pub(super) fn unwatch_for(&mut self, number: u32, demand_store: &DemandStore) -> Option<Watch> {
        let class = self.classes.get(number)?;
        let family = self.families.get_mut(class.family)?;
        let watch = family.watch?;
        let classes = Classes {
            slab: &self.classes,
            demand_store,
        };
        let head = family
            .head()
            .and_then(|head| Some((head, self.classes.get(head)?.member(head))));
        let goes_first = head.is_none_or(|(head, member)| {
            head == number || classes.compare(&class.member(number), &member).is_lt()
        });
        if !goes_first {
            let demands = demand_store.get(class.demands_id);
            let row = demands.row_of(watch.part as usize) * self.coordinates;
            let least = &family.least(classes)[row..][..self.coordinates];
            let mut pairs = demands.rows()[row..].iter().zip(least).enumerate();
            let demands_least = pairs.any(|(at, (demanded, least))| {
                (self.fit_rule == FitRule::SomeOrder || at == watch.coordinate as usize) && demanded <= least
            });
            if !demands_least {
                return None;
            }
        }
        let family = class.family;
        self.unwatch(family, demand_store);
        Some(watch)
    }

    /// Lets an unwatched family watch a block that no class of it fits (basic composition: at this
    /// coordinate).
    pub(in crate::engine) fn watch(&mut self, number: u32, watch: Watch, demand_store: &DemandStore) {
        let Some(family) = self.families.get_mut(number) else {
            return;
        };
        // Computes the least amounts, which stay exact: whatever changes them unwatches the family.
        family.least(Classes {
            slab: &self.classes,
            demand_store,
        });
        family.watch = Some(watch);
        self.change_watch(number, true, demand_store);
    }

    /// Removes a family from the watch list it is in.
    pub(in crate::engine) fn unwatch(&mut self, number: u32, demand_store: &DemandStore) {
        self.change_watch(number, false, demand_store);
        if let Some(family) = self.families.get_mut(number) {
            family.watch = None;
        }
    }

    fn change_watch(&mut self, number: u32, add: bool, demand_store: &DemandStore) {
        let Some(family) = self.families.get(number) else {
            return;
        };
        let head = family.head().and_then(|head| self.classes.get(head));
        let Some((watch, head)) = family.watch.zip(head) else {
            return;
        };
        let block = demand_store.get(family.demands_id).block(watch.part as usize);
        let watcher = head.member(number);
        let (watching, watchers) = self.at(block, demand_store);
        if add {
            watching.insert(watcher, &watchers);
        } else {
            watching.remove(watcher, &watchers);
        }
        self.changed.push(block);
    }

    /// What a family watches; none if it is unwatched.
    pub(in crate::engine) fn watched(&self, number: u32) -> Option<Watch> {
        self.families.get(number)?.watch
    }

    /// The first of the families that watch a block and for which enough is available there.
    pub(in crate::engine) fn first_unblocked(
        &mut self,
        number: u32,
        block: &Block,
        demand_store: &DemandStore,
    ) -> Option<u32> {
        let fit_rule = self.fit_rule;
        let (watching, watchers) = self.at(number, demand_store);
        let first = watching.first(|row| is_unblocked(row, block, fit_rule), &watchers);
        first.map(|family| family.number)
    }

    /// Every family that watches a block and for which enough is available there, in order.
    pub(in crate::engine) fn all_unblocked(
        &mut self,
        number: u32,
        block: &Block,
        demand_store: &DemandStore,
    ) -> Vec<u32> {
        let fit_rule = self.fit_rule;
        let (watching, watchers) = self.at(number, demand_store);
        let all = watching.all(|row| is_unblocked(row, block, fit_rule), &watchers);
        all.into_iter().map(|family| family.number).collect()
    }

    /// The least amount that a class of a watching family demands of a block, for each coordinate at which
    /// one waits.
    pub(in crate::engine) fn least_watched<'a>(
        &'a mut self,
        number: u32,
        demand_store: &'a DemandStore,
    ) -> impl Iterator<Item = (usize, i64)> + 'a {
        let (watching, watchers) = self.at(number, demand_store);
        let least = watching.least(&watchers).iter().enumerate();
        let least = least.filter(|(_, amount)| **amount != NO_AMOUNT);
        least.map(|(at, amount)| (at, amount + i64::MAX))
    }

    fn at<'a>(
        &'a mut self,
        block: u32,
        demand_store: &'a DemandStore,
    ) -> (&'a mut MinTree<Member>, Watchers<'a>) {
        let classes = Classes {
            slab: &self.classes,
            demand_store,
        };
        let watchers = Watchers {
            classes,
            families: &self.families,
            fit_rule: self.fit_rule,
        };
        (&mut self.at_blocks[block as usize].watching, watchers)
    }

    /// The first class of a family.
    pub(in crate::engine) fn head(&self, number: u32) -> Option<u32> {
        self.families.get(number)?.head()
    }

    /// The least amounts of a family's classes, row by row.
    pub(in crate::engine) fn least<'a>(
        &'a mut self,
        number: u32,
        demand_store: &'a DemandStore,
    ) -> &'a [i64] {
        let classes = Classes {
            slab: &self.classes,
            demand_store,
        };
        let family = self.families.get_mut(number);
        family.map_or(&[], |family| family.least(classes))
    }

    /// The first class of a family whose rows meet `condition`, which must hold for lower amounts whenever it
    /// holds.
    pub(in crate::engine) fn first_of(
        &mut self,
        number: u32,
        condition: impl Fn(&[i64]) -> bool,
        demand_store: &DemandStore,
    ) -> Option<u32> {
        let classes = Classes {
            slab: &self.classes,
            demand_store,
        };
        self.families.get_mut(number)?.first(condition, classes)
    }

    /// Every class of a family whose rows meet `condition`, in order.
    pub(in crate::engine) fn all_of(
        &mut self,
        number: u32,
        condition: impl Fn(&[i64]) -> bool,
        demand_store: &DemandStore,
    ) -> Vec<u32> {
        let classes = Classes {
            slab: &self.classes,
            demand_store,
        };
        let family = self.families.get_mut(number);
        family.map_or_else(Vec::new, |family| family.all(condition, classes))
    }

    /// Moves the classes of an unwatched family for which `stays` is false to a new one, which is unwatched,
    /// too. Returns the new family.
    pub(in crate::engine) fn split(
        &mut self,
        number: u32,
        stays: impl Fn(BlockDemands<'_>) -> bool,
        demand_store: &DemandStore,
    ) -> Option<u32> {
        let demands_id = self.families.get(number)?.demands_id;
        let members = self.all_of(number, |_| true, demand_store).into_iter();
        let leaving = members.filter(|class| {
            let class = self.classes.get(*class);
            class.is_some_and(|class| !stays(demand_store.get(class.demands_id)))
        });
        let leaving: Vec<u32> = leaving.collect();
        let new = self.families.add(Family::new(demands_id));
        for class in leaving {
            self.change_members(class, false, demand_store);
            if let Some(class) = self.classes.get_mut(class) {
                class.family = new;
            }
            self.change_members(class, true, demand_store);
        }
        Some(new)
    }
}

impl Watchers<'_> {
    fn head(&self, family: &Member) -> Option<Member> {
        let head = self.families.get(family.number)?.head()?;
        self.classes
            .slab
            .get(head)
            .map(|class: &Class| class.member(head))
    }
}

impl EntryOrder<Member> for Watchers<'_> {
    fn compare(&self, one: &Member, other: &Member) -> Ordering {
        one.key
            .cmp(&other.key)
            .then_with(|| match (self.head(one), self.head(other)) {
                (Some(one), Some(other)) => self.classes.compare(&one, &other),
                (one, other) => one.is_some().cmp(&other.is_some()),
            })
    }

    fn lower(&self, watcher: &Member, least: &mut [i64]) {
        let Some(family) = self.families.get(watcher.number) else {
            return;
        };
        let Some(watch) = family.watch else { return };
        let row = self
            .classes
            .demand_store
            .get(family.demands_id)
            .row_of(watch.part as usize);
        let demanded = &family.known_least(self.classes)[row * least.len()..][..least.len()];
        let counted = match self.fit_rule {
            FitRule::EveryCoordinate => watch.coordinate as usize..watch.coordinate as usize + 1,
            FitRule::SomeOrder => 0..least.len(),
        };
        for (least, demanded) in least[counted.clone()].iter_mut().zip(&demanded[counted]) {
            *least = (*least).min(below_all(*demanded));
        }
    }
}

/// An amount of budget, which is never negative, moved to below 0, so that it is never [`NO_AMOUNT`].
const fn below_all(units: i64) -> i64 {
    units - i64::MAX
}

/// Whether enough is available at a block for one of the amounts in `row`.
fn is_unblocked(row: &[i64], block: &Block, fit_rule: FitRule) -> bool {
    let mut pairs = row.iter().zip(&block.accounts);
    pairs.any(|(amount, account)| {
        let enough = i128::from(*amount) <= account.available - i128::from(i64::MAX);
        enough && *amount != NO_AMOUNT && (fit_rule == FitRule::EveryCoordinate || account.capacity > 0)
    })
}
