//! The tree against a sorted list that is searched from its start.

use std::cmp::Ordering;

use proptest::{collection::vec, prelude::*};

use super::{EntryOrder, MinTree, NO_AMOUNT};

const COORDINATES: usize = 3;

/// An index in the list, padded so that a leaf has room for four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wide {
    place: u32,
    fill: [u32; 3],
}

/// The amounts of each entry.
struct List(Vec<[i64; COORDINATES]>);

const fn wide(place: u32) -> Wide {
    Wide { place, fill: [0; 3] }
}

impl EntryOrder<Wide> for List {
    fn compare(&self, one: &Wide, other: &Wide) -> Ordering {
        // Not the order of any amount.
        let order = |entry: &Wide| (entry.place % 7, entry.place);
        order(one).cmp(&order(other))
    }

    fn lower(&self, entry: &Wide, least: &mut [i64]) {
        for (least, amount) in least.iter_mut().zip(self.0[entry.place as usize]) {
            *least = (*least).min(amount);
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Add,
    /// Removes all entries with one remainder, one after the other, so that leaves become empty.
    RemoveSome(u32),
    Remove(prop::sample::Index),
    /// Searches for amounts of at most this at some coordinate, or at all (if true).
    Search([i64; COORDINATES], bool),
}

fn amount() -> impl Strategy<Value = i64> {
    prop_oneof![3 => -1000_i64..=0, 1 => Just(NO_AMOUNT)]
}

fn op() -> impl Strategy<Value = Op> {
    let limit = prop_oneof![4 => -1000_i64..=-900, 1 => Just(i64::MIN), 1 => -500_i64..=0];
    prop_oneof![
        24 => Just(Op::Add),
        1 => (0_u32..7).prop_map(Op::RemoveSome),
        12 => any::<prop::sample::Index>().prop_map(Op::Remove),
        6 => ([limit.clone(), limit.clone(), limit], any::<bool>()).prop_map(|(limits, all)| Op::Search(limits, all)),
    ]
}

proptest! {
    #[test]
    fn a_tree_finds_what_a_linear_search_finds(
        amounts in vec([amount(), amount(), amount()], 1000),
        ops in vec(op(), 0..1500),
    ) {
        let list = List(amounts);
        let mut tree = MinTree::new(COORDINATES);
        let (mut kept, mut next) = (Vec::new(), 0_u32);
        for op in ops {
            match op {
                Op::Add if (next as usize) < list.0.len() => {
                    tree.insert(wide(next), &list);
                    kept.push(wide(next));
                    kept.sort_by(|one, other| list.compare(one, other));
                    next += 1;
                }
                Op::Remove(index) if !kept.is_empty() => {
                    tree.remove(kept.remove(index.index(kept.len())), &list);
                }
                Op::RemoveSome(rest) => {
                    for entry in kept.iter().filter(|entry| entry.place % 7 == rest) {
                        tree.remove(*entry, &list);
                    }
                    kept.retain(|entry| entry.place % 7 != rest);
                }
                Op::Search(limits, all) => {
                    let condition = |row: &[i64]| {
                        let mut pairs = row.iter().zip(&limits);
                        if all {
                            pairs.all(|(amount, limit)| amount <= limit)
                        } else {
                            pairs.any(|(amount, limit)| amount <= limit)
                        }
                    };
                    let low: Vec<Wide> =
                        kept.iter().copied().filter(|entry| condition(&list.0[entry.place as usize])).collect();
                    prop_assert_eq!(tree.first(condition, &list), low.first().copied());
                    prop_assert_eq!(tree.all(condition, &list), low);
                    let mut least = [NO_AMOUNT; COORDINATES];
                    for entry in &kept {
                        list.lower(entry, &mut least);
                    }
                    prop_assert_eq!(tree.least(&list), least);
                }
                _ => {}
            }
            let only = kept.first().filter(|_| kept.len() == 1);
            prop_assert_eq!((tree.head(), tree.only()), (kept.first().copied(), only.copied()));
            prop_assert_eq!(&tree.iter().collect::<Vec<_>>(), &kept);
        }
    }
}

#[test]
fn entries_that_are_added_in_order_fill_each_leaf() {
    let list = List(vec![[0; COORDINATES]; 7 * 16]);
    let mut tree = MinTree::new(COORDINATES);
    for entry in (0..7 * 16).step_by(7) {
        tree.insert(wide(entry), &list);
    }
    assert_eq!(tree.leaves(), [4, 4, 4, 4]);
}
