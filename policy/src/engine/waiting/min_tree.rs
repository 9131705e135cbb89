//! A sorted sequence of entries with amounts, in which the first entry with small enough amounts is found
//! without a look at those before it: a B-tree of minima (a segment tree that grows).
//!
//! Each entry has a row of amounts. Each node of the B-tree knows the least amount at each coordinate of the
//! entries below it. A search is for a condition on rows that also holds for lower amounts: if the least
//! amounts of a node do not meet it, no entry below does. Where any one coordinate decides (Renyi
//! composition), the converse holds as well, and a search for the first entry takes logarithmic time; where
//! several coordinates have to hold at once, a node may be searched in vain. Inserting and removing take
//! logarithmic time.
//!
//! Removing an entry leaves the least amounts as they are, which is too low at worst. They are computed again
//! when they matter, at the cost of one leaf for each removed entry.
//!
//! [`EntryOrder`] says how entries are sorted and what their amounts are. Both must stay the same while an
//! entry is in a tree.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;

/// The amount at a coordinate at which an entry does not count: larger than any other.
pub(super) const NO_AMOUNT: i64 = i64::MAX;

/// The most bytes that the entries of a leaf take. Few in tests, so that trees are deep.
const LEAF: usize = if cfg!(test) { 64 } else { 512 };

/// The most nodes below a node.
const NODES: usize = if cfg!(test) { 4 } else { 32 };

/// How the entries of a tree are sorted, and their amounts.
pub(super) trait EntryOrder<E> {
    /// Compares two entries. Only an entry and itself are equal.
    fn compare(&self, one: &E, other: &E) -> Ordering;

    /// Lowers `least` to the amounts of an entry, where these are lower.
    fn lower(&self, entry: &E, least: &mut [i64]);
}

#[derive(Clone, Debug)]
pub(super) struct MinTree<E> {
    root: Node<E>,
    /// The least amount at each coordinate, or less.
    least: Box<[i64]>,
    /// Whether it may be less.
    stale: bool,
}

#[derive(Clone, Debug)]
enum Node<E> {
    Leaf(Vec<E>),
    Inner(Box<Inner<E>>),
}

#[derive(Clone, Debug)]
struct Inner<E> {
    /// None of them is empty.
    nodes: Vec<Node<E>>,
    /// Of each node, as in [`MinTree`]: all coordinates of the first node, then of the second, and so on.
    least: Vec<i64>,
    stale: Vec<bool>,
}

impl<E: Copy> MinTree<E> {
    pub(super) fn new(coordinates: usize) -> Self {
        Self {
            root: Node::Leaf(Vec::new()),
            least: vec![NO_AMOUNT; coordinates].into(),
            stale: false,
        }
    }

    /// Adds an entry that is not in the tree.
    pub(super) fn insert(&mut self, entry: E, order: &impl EntryOrder<E>) {
        order.lower(&entry, &mut self.least);
        if let Some(right) = self.root.insert(entry, self.least.len(), true, order) {
            let left = std::mem::replace(&mut self.root, Node::Leaf(Vec::new()));
            self.root = Node::Inner(Box::new(Inner {
                nodes: vec![left, right],
                least: [&*self.least, &*self.least].concat(),
                stale: vec![true; 2],
            }));
        }
    }

    /// Removes an entry that is in the tree.
    pub(super) fn remove(&mut self, entry: E, order: &impl EntryOrder<E>) {
        self.root.remove(&entry, self.least.len(), order);
        self.stale = true;
        if let Node::Inner(inner) = &mut self.root
            && inner.nodes.len() == 1
            && let Some(only) = inner.nodes.pop()
        {
            self.root = only;
        }
    }

    /// The least amount at each coordinate, or less if an entry was removed since it was computed.
    pub(super) fn known_least(&self) -> &[i64] {
        &self.least
    }

    /// Its only entry; none if it has several or none.
    pub(super) fn only(&self) -> Option<E> {
        match &self.root {
            Node::Leaf(entries) => entries.first().filter(|_| entries.len() == 1).copied(),
            Node::Inner(_) => None,
        }
    }

    /// Every entry, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = E> + '_ {
        self.root.leaves().into_iter().flatten().copied()
    }

    /// The first entry.
    pub(super) fn head(&self) -> Option<E> {
        self.root.head().copied()
    }

    /// The first entry whose row meets `condition`, which must hold for lower amounts whenever it holds.
    pub(super) fn first(
        &mut self,
        condition: impl Fn(&[i64]) -> bool,
        order: &impl EntryOrder<E>,
    ) -> Option<E> {
        let mut first = None;
        self.visit(&condition, order, &mut |entry| {
            first = Some(entry);
            false
        });
        first
    }

    /// Every entry whose row meets `condition`, in order.
    pub(super) fn all(&mut self, condition: impl Fn(&[i64]) -> bool, order: &impl EntryOrder<E>) -> Vec<E> {
        let mut all = Vec::new();
        self.visit(&condition, order, &mut |entry| {
            all.push(entry);
            true
        });
        all
    }

    /// Passes the entries that meet `condition` to `found`, in order, until that returns false.
    fn visit(
        &mut self,
        condition: &impl Fn(&[i64]) -> bool,
        order: &impl EntryOrder<E>,
        found: &mut impl FnMut(E) -> bool,
    ) {
        if condition(&self.least) && condition(self.least(order)) {
            let mut row = vec![NO_AMOUNT; self.least.len()];
            self.root.visit(condition, order, &mut row, found);
        }
    }

    /// The least amount at each coordinate.
    pub(super) fn least(&mut self, order: &impl EntryOrder<E>) -> &[i64] {
        if std::mem::replace(&mut self.stale, false) {
            self.root.refresh(&mut self.least, order);
        }
        &self.least
    }
}

/// For the tests.
#[cfg(test)]
impl<E: Copy> MinTree<E> {
    fn leaves(&self) -> Vec<usize> {
        self.root.leaves().into_iter().map(Vec::len).collect()
    }
}

impl<E: Copy> Node<E> {
    /// The most entries in a leaf.
    const ENTRIES: usize = LEAF / size_of::<E>();

    fn len(&self) -> usize {
        match self {
            Self::Leaf(entries) => entries.len(),
            Self::Inner(inner) => inner.nodes.len(),
        }
    }

    /// Whether it and its neighbour are so small that they should be joined.
    fn joins(&self, other: &Self) -> bool {
        let most = match self {
            Self::Leaf(_) => Self::ENTRIES,
            Self::Inner(_) => NODES,
        };
        self.len() + other.len() <= most / 2
    }

    /// The first entry below it; only a root has none.
    fn head(&self) -> Option<&E> {
        let mut node = self;
        loop {
            match node {
                Self::Leaf(entries) => return entries.first(),
                Self::Inner(inner) => node = inner.nodes.first()?,
            }
        }
    }

    fn leaves(&self) -> Vec<&Vec<E>> {
        match self {
            Self::Leaf(entries) => vec![entries],
            Self::Inner(inner) => inner.nodes.iter().flat_map(Self::leaves).collect(),
        }
    }

    /// Adds an entry. If the node is full, returns a new node to its right, whose least amounts are not
    /// known. `is_last` says that no node is to its right.
    fn insert(
        &mut self,
        entry: E,
        coordinates: usize,
        is_last: bool,
        order: &impl EntryOrder<E>,
    ) -> Option<Self> {
        match self {
            Self::Leaf(entries) => {
                let at = entries.partition_point(|other| order.compare(other, &entry).is_lt());
                if entries.len() < Self::ENTRIES {
                    entries.insert(at, entry);
                    return None;
                }
                if is_last && at == Self::ENTRIES {
                    // Entries that are added in order fill each leaf completely.
                    return Some(Self::Leaf(vec![entry]));
                }
                let half = Self::ENTRIES / 2;
                let mut right = entries.split_off(half);
                if at <= half {
                    entries.insert(at, entry);
                } else {
                    right.insert(at - half, entry);
                }
                Some(Self::Leaf(right))
            }
            Self::Inner(inner) => {
                let at = inner.place_of(&entry, order);
                let row = at * coordinates..(at + 1) * coordinates;
                order.lower(&entry, &mut inner.least[row.clone()]);
                let is_last = is_last && at + 1 == inner.nodes.len();
                let right = inner.nodes[at].insert(entry, coordinates, is_last, order)?;
                inner.stale[at] = true;
                inner.nodes.insert(at + 1, right);
                inner.stale.insert(at + 1, true);
                let same = inner.least[row.clone()].to_vec();
                inner.least.splice(row.end..row.end, same);
                inner.split(coordinates).map(|right| Self::Inner(Box::new(right)))
            }
        }
    }

    fn remove(&mut self, entry: &E, coordinates: usize, order: &impl EntryOrder<E>) {
        match self {
            Self::Leaf(entries) => {
                if let Ok(at) = entries.binary_search_by(|other| order.compare(other, entry)) {
                    entries.remove(at);
                }
            }
            Self::Inner(inner) => {
                let at = inner.place_of(entry, order);
                inner.nodes[at].remove(entry, coordinates, order);
                inner.stale[at] = true;
                if inner.nodes[at].len() == 0 {
                    inner.take(at, coordinates);
                } else if at + 1 < inner.nodes.len() {
                    inner.join(at, coordinates);
                } else if at > 0 {
                    inner.join(at - 1, coordinates);
                }
            }
        }
    }

    /// [`MinTree::visit`] below a node. Returns whether to go on. `row` is a buffer for one row.
    fn visit(
        &self,
        condition: &impl Fn(&[i64]) -> bool,
        order: &impl EntryOrder<E>,
        row: &mut [i64],
        found: &mut impl FnMut(E) -> bool,
    ) -> bool {
        match self {
            Self::Leaf(entries) => entries.iter().all(|entry| {
                row.fill(NO_AMOUNT);
                order.lower(entry, row);
                !condition(row) || found(*entry)
            }),
            Self::Inner(inner) => {
                let rows = inner.least.chunks(row.len().max(1));
                let mut nodes = inner.nodes.iter().zip(rows);
                nodes.all(|(node, least)| !condition(least) || node.visit(condition, order, row, found))
            }
        }
    }

    /// Computes the least amounts again, where they are stale.
    fn refresh(&mut self, least: &mut [i64], order: &impl EntryOrder<E>) {
        least.fill(NO_AMOUNT);
        match self {
            Self::Leaf(entries) => entries.iter().for_each(|entry| order.lower(entry, least)),
            Self::Inner(inner) => {
                let rows = inner.least.chunks_mut(least.len().max(1));
                for ((node, row), stale) in inner.nodes.iter_mut().zip(rows).zip(&mut inner.stale) {
                    if std::mem::replace(stale, false) {
                        node.refresh(row, order);
                    }
                    for (least, amount) in least.iter_mut().zip(row) {
                        *least = (*least).min(*amount);
                    }
                }
            }
        }
    }
}

impl<E: Copy> Inner<E> {
    /// The index of the node below which an entry is, or would be.
    fn place_of(&self, entry: &E, order: &impl EntryOrder<E>) -> usize {
        let later = |node: &Node<E>| node.head().is_some_and(|head| order.compare(head, entry).is_gt());
        self.nodes.partition_point(|node| !later(node)).saturating_sub(1)
    }

    /// Splits off the right half, if there are too many nodes.
    fn split(&mut self, coordinates: usize) -> Option<Self> {
        if self.nodes.len() <= NODES {
            return None;
        }
        let at = self.nodes.len() / 2;
        Some(Self {
            nodes: self.nodes.split_off(at),
            least: self.least.split_off(at * coordinates),
            stale: self.stale.split_off(at),
        })
    }

    fn take(&mut self, at: usize, coordinates: usize) -> (Node<E>, bool) {
        self.least.drain(at * coordinates..(at + 1) * coordinates);
        (self.nodes.remove(at), self.stale.remove(at))
    }

    /// Joins two neighbours, if they are small.
    fn join(&mut self, left: usize, coordinates: usize) {
        if !self.nodes[left].joins(&self.nodes[left + 1]) {
            return;
        }
        for at in left * coordinates..(left + 1) * coordinates {
            self.least[at] = self.least[at].min(self.least[at + coordinates]);
        }
        let (right, stale) = self.take(left + 1, coordinates);
        self.stale[left] |= stale;
        match (&mut self.nodes[left], right) {
            (Node::Leaf(entries), Node::Leaf(more)) => entries.extend(more),
            (Node::Inner(inner), Node::Inner(more)) => {
                inner.nodes.extend(more.nodes);
                inner.least.extend(more.least);
                inner.stale.extend(more.stale);
            }
            // All leaves are equally deep, so neighbours are of the same kind.
            (_, _) => {}
        }
    }
}
