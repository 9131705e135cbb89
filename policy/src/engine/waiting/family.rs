//! A family: classes that demand the same blocks and watch one of these together.
//!
//! A family watches a block that has less available than the least amount that its classes demand there, so
//! none of them fits. When that block gets enough for several classes and another block keeps them waiting,
//! only the entry of the family moves. Its classes are a [`MinTree`] in the order in which they go, unless it
//! has only one.

use super::{
    class::{Classes, Member},
    min_tree::MinTree,
};

#[derive(Clone, Debug)]
pub(super) struct Family {
    /// The demands of one of its classes, present or former: the blocks are those of all.
    pub(super) demands_id: u32,
    /// None while it is unwatched: new, or being decided about.
    pub(super) watch: Option<Watch>,
    members: Members,
}

/// A block that a family watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Watch {
    /// The part of the family's demands that is of the block.
    pub(in crate::engine) part: u32,
    /// The coordinate that lacks (basic composition).
    pub(in crate::engine) coordinate: u32,
}

/// The classes of a family, in the order of ranks.
#[derive(Clone, Debug)]
enum Members {
    None,
    One(u32),
    Many(Box<MinTree<Member>>),
}

impl Family {
    pub(super) const fn new(demands_id: u32) -> Self {
        Self {
            demands_id,
            watch: None,
            members: Members::None,
        }
    }

    /// Its first class.
    pub(super) fn head(&self) -> Option<u32> {
        match &self.members {
            Members::None => None,
            Members::One(only) => Some(*only),
            Members::Many(tree) => tree.head().map(|member| member.number),
        }
    }

    pub(super) fn insert(&mut self, member: Member, classes: Classes<'_>) {
        match &mut self.members {
            Members::None => self.members = Members::One(member.number),
            Members::One(only) => {
                let mut tree = MinTree::new(classes.demands(member.number).rows().len());
                let other = classes.slab.get(*only).map(|class| class.member(*only));
                for member in other.into_iter().chain([member]) {
                    tree.insert(member, &classes);
                }
                self.members = Members::Many(Box::new(tree));
            }
            Members::Many(tree) => tree.insert(member, &classes),
        }
    }

    pub(super) fn remove(&mut self, member: Member, classes: Classes<'_>) {
        match &mut self.members {
            Members::None => {}
            Members::One(_) => self.members = Members::None,
            Members::Many(tree) => {
                tree.remove(member, &classes);
                if let Some(only) = tree.only() {
                    self.members = Members::One(only.number);
                }
            }
        }
    }

    /// The least amounts of its classes, row by row.
    pub(super) fn least<'a>(&'a mut self, classes: Classes<'a>) -> &'a [i64] {
        match &mut self.members {
            Members::None => &[],
            Members::One(only) => classes.demands(*only).rows(),
            Members::Many(tree) => tree.least(&classes),
        }
    }

    /// The least amounts as last computed, or lower.
    pub(super) fn known_least<'a>(&'a self, classes: Classes<'a>) -> &'a [i64] {
        match &self.members {
            Members::None => &[],
            Members::One(only) => classes.demands(*only).rows(),
            Members::Many(tree) => tree.known_least(),
        }
    }

    /// The first class whose rows meet `condition`, which must hold for lower amounts whenever it holds.
    pub(super) fn first(&mut self, condition: impl Fn(&[i64]) -> bool, classes: Classes<'_>) -> Option<u32> {
        match &mut self.members {
            Members::None => None,
            Members::One(only) => condition(classes.demands(*only).rows()).then_some(*only),
            Members::Many(tree) => tree.first(condition, &classes).map(|member| member.number),
        }
    }

    /// Every class whose rows meet `condition`, in order.
    pub(super) fn all(&mut self, condition: impl Fn(&[i64]) -> bool, classes: Classes<'_>) -> Vec<u32> {
        match &mut self.members {
            Members::None => Vec::new(),
            Members::One(only) => Vec::from_iter(condition(classes.demands(*only).rows()).then_some(*only)),
            Members::Many(tree) => {
                let all = tree.all(condition, &classes).into_iter();
                all.map(|member| member.number).collect()
            }
        }
    }
}
