//! Classes that ask for the same blocks, and watch one of these together.
//!
//! A family watches a block that does not have the least that its classes ask there, so none of them fits. When
//! several are awakened at once and the next block is what keeps them waiting, one place changes and not theirs.

use std::{cmp::Ordering, sync::Arc};

use super::{
    Class,
    ladder::{Ladder, Rungs},
};

/// The block of each part, and in which of the rows that a class has it is asked. Parts that ask the same one after the
/// other share a row.
pub(in crate::engine) type Layout = Arc<[(u32, u32)]>;

#[derive(Clone, Debug)]
pub(super) struct Family {
    pub(super) layout: Layout,
    /// In the order of ranks. A class's rows, one after the other, are a row of this. Never empty.
    pub(super) members: Ladder<Member>,
    /// The part whose block it watches, and the coordinate (basic composition: the one that lacks).
    pub(super) watch: Option<(usize, usize)>,
}

/// A class, or a family by its first class, as it is ordered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    /// Of its rank, which spares most looks at that.
    pub(super) key: u64,
    pub(super) class: u32,
}

/// The order of classes, and what each asks.
pub(super) struct Members<'a> {
    pub(super) classes: &'a [Option<Class>],
    pub(super) layout: &'a [(u32, u32)],
}

/// The layout of a class's parts.
pub(super) fn layout_of(parts: &[super::Part]) -> Layout {
    let mut row = 0;
    let before = std::iter::once(None).chain(parts.iter().map(Some));
    let rows = parts.iter().zip(before).map(|(part, before)| {
        row += u32::from(before.is_some_and(|before| before.budget != part.budget));
        (part.block, row)
    });
    rows.collect()
}

impl Family {
    pub(super) fn new(layout: Layout, coordinates: usize) -> Self {
        let rows = layout.last().map_or(0, |(_, row)| *row as usize + 1);
        Self {
            layout,
            members: Ladder::new(rows * coordinates),
            watch: None,
        }
    }
}

impl Rungs<Member> for Members<'_> {
    fn compare(&self, one: &Member, other: &Member) -> Ordering {
        compare(self.classes, one, other)
    }

    fn lower(&self, member: &Member, least: &mut [i64]) {
        let Some(class) = &self.classes[member.class as usize] else {
            return;
        };
        let mut next = 0;
        let parts = class.parts().iter().zip(self.layout);
        let first = parts.filter(|(_, (_, row))| std::mem::replace(&mut next, row + 1) == *row);
        let asked = first.flat_map(|(part, _)| part.budget.units());
        for (least, asked) in least.iter_mut().zip(asked) {
            *least = (*least).min(*asked);
        }
    }
}

/// The order of classes: by rank, then by their first claim.
pub(super) fn compare(classes: &[Option<Class>], one: &Member, other: &Member) -> Ordering {
    one.key.cmp(&other.key).then_with(|| {
        let class = |member: &Member| classes[member.class as usize].as_ref();
        let (one, other) = (class(one), class(other));
        let ranks = one.map(|class| &class.rank).cmp(&other.map(|class| &class.rank));
        ranks.then_with(|| one.and_then(Class::head).cmp(&other.and_then(Class::head)))
    })
}
