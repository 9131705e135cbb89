//! An index of the blocks that exist and the requests that wait for blocks: which requests have enough blocks,
//! at the cost of what changes.
//!
//! Requests with the same selector share its result. A block is evaluated once for each distinct selector, when the
//! later of the two arrives. A result is kept while a request with its selector waits; those of the selectors that were
//! used last are kept for longer, within [`MOST_UNUSED`] and [`MOST_UNUSED_PLACES`]. [`match_blocks`] is the
//! definition: [`MatchIndex::demands`] returns the same. When to match a request is up to the caller.
//!
//! [`match_blocks`]: crate::match_blocks

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
};

use privatekube_policy::{BlockId, Composition, Demand};

use crate::{
    BudgetRequest, Candidate, ClaimRequest, DemandRequest, Dimensions, Selector, matching::total,
    per_block_demands, recency::Recency,
};

/// How many results are kept at most of selectors that no request in the index has.
const MOST_UNUSED: usize = 32;
/// How many blocks these results name together at most, but for the one that was used last.
const MOST_UNUSED_PLACES: usize = 100_000;

/// The blocks that exist, and the requests that wait for more of them, each under a key of the caller's.
#[derive(Clone, Debug)]
pub struct MatchIndex<K> {
    blocks: BTreeMap<BlockId, IndexedBlock>,
    /// The requests that select blocks, by what they select.
    selections: HashMap<Selects, Selection<K>>,
    /// The requests that name a block, by its name.
    named: HashMap<BlockId, BTreeSet<K>>,
    requests: HashMap<K, Waiting>,
    /// The selectors of `selections` that no request has, the one that was used last at the end.
    unused: VecDeque<Selects>,
    evaluations: u64,
}

#[derive(Clone, Debug)]
struct IndexedBlock {
    dimensions: Dimensions,
    recency: Arc<Recency>,
    records: Option<u64>,
}

/// What requests select.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Selects {
    /// The text of their selector; none if they have none.
    selector: Option<String>,
    /// Whether they match only blocks that state their records.
    needs_records: bool,
}

/// The blocks that a selector selects, and the requests with this selector.
#[derive(Clone, Debug)]
struct Selection<K> {
    selector: Option<Selector>,
    needs_records: bool,
    /// Oldest first.
    blocks: BTreeSet<Arc<Recency>>,
    /// The blocks that it has no answer for, and those that it selects and that lack records.
    left_out: BTreeSet<BlockId>,
    /// By how many blocks they need at least.
    requests: BTreeMap<u32, BTreeSet<K>>,
}

/// The blocks that a request leaves out although it may be meant for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// How many they are, at least 1.
    pub count: usize,
    /// The first of their names, at most [`MOST_NAMED`].
    pub names: Vec<BlockId>,
    /// Why the first one is left out.
    pub problem: String,
}

/// How many of the blocks that a request leaves out are named.
pub const MOST_NAMED: usize = 8;

/// What a selector says of a block.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Selected,
    NotSelected,
    None,
}

/// How a request waits.
#[derive(Clone, Debug)]
enum Waiting {
    Selects {
        selects: Selects,
        min: u32,
    },
    Names {
        blocks: Vec<BlockId>,
        /// How many of them do not exist, or lack records that it needs.
        missing: usize,
        needs_records: bool,
    },
}

impl<K> Default for MatchIndex<K> {
    fn default() -> Self {
        Self {
            blocks: BTreeMap::new(),
            selections: HashMap::new(),
            named: HashMap::new(),
            requests: HashMap::new(),
            unused: VecDeque::new(),
            evaluations: 0,
        }
    }
}

impl<K: Clone + Ord + Hash> MatchIndex<K> {
    /// Adds a block, in place of one of the same name. Returns the requests that gained it and now have enough
    /// blocks, in the order of their keys.
    ///
    /// Evaluates each distinct selector once, and nothing if a block with the same dimensions and time of
    /// creation was there.
    pub fn add_block(&mut self, block: Candidate<'_>) -> Vec<K> {
        let name = BlockId::from(block.name);
        let recency = Arc::new(Recency::of(&block));
        if let Some(known) = self.blocks.get(&name) {
            if known.recency == recency
                && known.dimensions == *block.dimensions
                && known.records == block.records
            {
                return Vec::new();
            }
            self.remove_block(block.name);
        }
        let mut enough = BTreeSet::new();
        let dimensions = block.dimensions.clone();
        let block = IndexedBlock {
            dimensions,
            recency,
            records: block.records,
        };
        for selection in self.selections.values_mut() {
            if selection.add(&name, &block, &mut self.evaluations) {
                enough.extend(selection.with_enough().cloned());
            }
        }
        for key in self.named.get(&name).into_iter().flatten() {
            if let Some(Waiting::Names {
                missing,
                needs_records,
                ..
            }) = self.requests.get_mut(key)
                && block.is_usable(*needs_records)
            {
                *missing -= 1;
                if *missing == 0 {
                    enough.insert(key.clone());
                }
            }
        }
        self.blocks.insert(name, block);
        enough.into_iter().collect()
    }

    /// Removes a block. Evaluates nothing.
    pub fn remove_block(&mut self, name: &str) {
        let name = BlockId::from(name);
        let Some(block) = self.blocks.remove(&name) else {
            return;
        };
        for key in self.named.get(&name).into_iter().flatten() {
            if let Some(Waiting::Names {
                missing,
                needs_records,
                ..
            }) = self.requests.get_mut(key)
                && block.is_usable(*needs_records)
            {
                *missing += 1;
            }
        }
        for selection in self.selections.values_mut() {
            selection.blocks.remove(&block.recency);
            selection.left_out.remove(&name);
        }
    }

    /// Adds a request, in place of one of the same key. Returns whether it has enough blocks now.
    ///
    /// Evaluates every block if the result of its selector isn't kept, and nothing otherwise.
    pub fn add_request(&mut self, key: K, request: &ClaimRequest) -> bool {
        self.remove_request(&key);
        match &request.demand {
            DemandRequest::Selected {
                selector,
                min,
                budget,
                ..
            } => {
                let selects = Selects::of(selector.as_ref(), budget);
                self.unused.retain(|unused| *unused != selects);
                let selection = self.selection(selects.clone(), selector.as_ref());
                selection.requests.entry(*min).or_default().insert(key.clone());
                let is_enough = selection.count() >= *min;
                let waiting = Waiting::Selects { selects, min: *min };
                self.requests.insert(key, waiting);
                is_enough
            }
            DemandRequest::PerBlock(budgets) => {
                let blocks: Vec<BlockId> = budgets.keys().map(|name| name.as_str().into()).collect();
                for block in &blocks {
                    self.named.entry(block.clone()).or_default().insert(key.clone());
                }
                let needs_records = request.needs_records();
                let is_missing = |block: &&BlockId| {
                    let known = self.blocks.get(*block);
                    known.is_none_or(|block| !block.is_usable(needs_records))
                };
                let missing = blocks.iter().filter(is_missing).count();
                let waiting = Waiting::Names {
                    blocks,
                    missing,
                    needs_records,
                };
                self.requests.insert(key, waiting);
                missing == 0
            }
        }
    }

    /// Whether a request has enough blocks. Evaluates nothing.
    #[must_use]
    pub fn is_enough(&self, key: &K) -> bool {
        match self.requests.get(key) {
            Some(Waiting::Selects { selects, min }) => self
                .selections
                .get(selects)
                .is_some_and(|selection| selection.count() >= *min),
            Some(Waiting::Names { missing, .. }) => *missing == 0,
            None => false,
        }
    }

    /// Removes a request: it is matched, or has ended. Evaluates nothing.
    pub fn remove_request(&mut self, key: &K) {
        match self.requests.remove(key) {
            Some(Waiting::Selects { selects, min }) => {
                let Some(selection) = self.selections.get_mut(&selects) else {
                    return;
                };
                remove(&mut selection.requests, &min, key);
                if selection.requests.is_empty() {
                    self.keep_unused(selects);
                }
            }
            Some(Waiting::Names { blocks, .. }) => {
                for block in blocks {
                    if let Some(keys) = self.named.get_mut(&block) {
                        keys.remove(key);
                        if keys.is_empty() {
                            self.named.remove(&block);
                        }
                    }
                }
            }
            None => {}
        }
    }

    /// The demands of a request on the blocks that exist, as [`match_blocks`](crate::match_blocks) returns
    /// them. Evaluates every block if the result of the request's selector isn't kept, and nothing otherwise.
    pub fn demands(
        &mut self,
        request: &ClaimRequest,
        composition: &Composition,
    ) -> Result<Vec<Demand>, String> {
        match &request.demand {
            DemandRequest::PerBlock(budgets) => per_block_demands(budgets, composition, |name| {
                self.blocks.get(&name.into()).map(|block| block.records)
            }),
            DemandRequest::Selected {
                selector,
                max,
                budget,
                ..
            } => {
                let selects = Selects::of(selector.as_ref(), budget);
                let blocks = self.selected(selects, selector.as_ref(), *max);
                let records = blocks.iter().filter_map(|block| self.blocks.get(block)?.records);
                let budget = budget.demand_on(total(records), composition);
                let budget = budget.map_err(|error| error.to_string())?;
                Ok(if blocks.is_empty() {
                    Vec::new()
                } else {
                    vec![Demand { blocks, budget }]
                })
            }
        }
    }

    /// The blocks that a request leaves out, as [`left_out_blocks`](crate::left_out_blocks) returns them; `None` if there
    /// are none, or if the result of the request's selector isn't kept. Evaluates one block at most.
    #[must_use]
    pub fn left_out(&self, request: &ClaimRequest) -> Option<LeftOut> {
        const NO_RECORDS: &str = "it doesn't state how many records it has (spec.records), which a mechanism with a batch-size needs";
        const NO_BLOCK: &str = "the dataset has no such block that can be used";
        let of = |names: &mut dyn Iterator<Item = BlockId>| {
            let named: Vec<BlockId> = names.take(MOST_NAMED).collect();
            (named.len() + names.count(), named)
        };
        let (count, names) = match &request.demand {
            DemandRequest::Selected { selector, budget, .. } => {
                let selects = Selects::of(selector.as_ref(), budget);
                of(&mut self.selections.get(&selects)?.left_out.iter().cloned())
            }
            DemandRequest::PerBlock(budgets) => {
                let needs_records = request.needs_records();
                let names = budgets.keys().map(|name| BlockId::from(name.as_str()));
                of(&mut names.filter(|name| {
                    let block = self.blocks.get(name);
                    block.is_none_or(|block| needs_records && block.records.is_none())
                }))
            }
        };
        let problem = match (&request.demand, self.blocks.get(names.first()?)) {
            (_, None) => NO_BLOCK.to_owned(),
            (
                DemandRequest::Selected {
                    selector: Some(selector),
                    ..
                },
                Some(block),
            ) => match selector.matches(&block.dimensions) {
                Err(problem) => problem.to_string(),
                Ok(_) => NO_RECORDS.to_owned(),
            },
            _ => NO_RECORDS.to_owned(),
        };
        Some(LeftOut {
            count,
            names,
            problem,
        })
    }

    /// The requests whose [`left_out`](Self::left_out) may be another one when the block of this name is added or removed:
    /// those that leave it out, and those that name it.
    #[must_use]
    pub fn leaving_out(&self, name: &str) -> Vec<K> {
        let name = BlockId::from(name);
        let selections = self.selections.values();
        let selecting = selections
            .filter(|selection| selection.left_out.contains(&name))
            .flat_map(|selection| selection.requests.values().flatten());
        let naming = self.named.get(&name).into_iter().flatten();
        selecting.chain(naming).cloned().collect()
    }

    /// The names of the blocks that a selector selects, sorted: all of them, or the `max` newest.
    fn selected(&mut self, selects: Selects, selector: Option<&Selector>, max: Option<u32>) -> Vec<BlockId> {
        let most = max
            .and_then(|max| usize::try_from(max).ok())
            .unwrap_or(usize::MAX);
        let selection = self.selection(selects.clone(), selector);
        let newest = selection.blocks.iter().rev().take(most);
        let mut names: Vec<BlockId> = newest.map(|block| block.name().clone()).collect();
        let is_unused = selection.requests.is_empty();
        if is_unused {
            self.unused.retain(|unused| *unused != selects);
            self.keep_unused(selects);
        }
        names.sort_unstable();
        names
    }

    /// The result of what is selected; `selector` is that of `selects`.
    fn selection(&mut self, selects: Selects, selector: Option<&Selector>) -> &mut Selection<K> {
        let Self {
            selections,
            blocks,
            evaluations,
            ..
        } = self;
        let needs_records = selects.needs_records;
        selections.entry(selects).or_insert_with(|| {
            let mut selection = Selection {
                selector: selector.cloned(),
                needs_records,
                blocks: BTreeSet::new(),
                left_out: BTreeSet::new(),
                requests: BTreeMap::new(),
            };
            for (name, block) in blocks {
                selection.add(name, block, evaluations);
            }
            selection
        })
    }

    /// Keeps the result of a selector that no request has, and drops those that were used least recently, as far as the
    /// limits demand.
    fn keep_unused(&mut self, selects: Selects) {
        self.unused.push_back(selects);
        let places = |unused: &Selects| self.selections.get(unused).map_or(0, Selection::places);
        let mut kept_places: usize = self.unused.iter().map(places).sum();
        while self.unused.len() > MOST_UNUSED || (kept_places > MOST_UNUSED_PLACES && self.unused.len() > 1) {
            let Some(oldest) = self.unused.pop_front() else {
                return;
            };
            let dropped = self.selections.remove(&oldest);
            kept_places -= dropped.as_ref().map_or(0, Selection::places);
        }
    }

    /// How often a selector was evaluated for a block, since the index was made.
    #[must_use]
    pub const fn evaluations(&self) -> u64 {
        self.evaluations
    }
}

impl IndexedBlock {
    /// Whether a request can be matched with it that needs records, or doesn't.
    const fn is_usable(&self, needs_records: bool) -> bool {
        !needs_records || self.records.is_some()
    }
}

impl Selects {
    fn of(selector: Option<&Selector>, budget: &BudgetRequest) -> Self {
        Self {
            selector: selector.map(|selector| selector.source().to_owned()),
            needs_records: budget.needs_records(),
        }
    }
}

impl<K: Ord> Selection<K> {
    /// Adds a block; says whether it is selected.
    fn add(&mut self, name: &BlockId, block: &IndexedBlock, evaluations: &mut u64) -> bool {
        let is_usable = block.is_usable(self.needs_records);
        match answer(self.selector.as_ref(), &block.dimensions, evaluations) {
            Answer::Selected if is_usable => self.blocks.insert(Arc::clone(&block.recency)),
            Answer::NotSelected => false,
            Answer::Selected | Answer::None => {
                self.left_out.insert(name.clone());
                false
            }
        }
    }

    /// How many blocks it names.
    fn places(&self) -> usize {
        self.blocks.len() + self.left_out.len()
    }

    fn count(&self) -> u32 {
        u32::try_from(self.blocks.len()).unwrap_or(u32::MAX)
    }

    /// The requests that have enough blocks.
    fn with_enough(&self) -> impl Iterator<Item = &K> {
        self.requests.range(..=self.count()).flat_map(|(_, keys)| keys)
    }
}

/// What a selector says of a block with these dimensions. Without one, every block is selected, and nothing is
/// evaluated.
fn answer(selector: Option<&Selector>, dimensions: &Dimensions, evaluations: &mut u64) -> Answer {
    let Some(selector) = selector else {
        return Answer::Selected;
    };
    *evaluations += 1;
    match selector.matches(dimensions) {
        Ok(true) => Answer::Selected,
        Ok(false) => Answer::NotSelected,
        Err(_) => Answer::None,
    }
}

/// Removes a key from the set under `place`, and the set if it is empty then.
fn remove<P: Ord, K: Ord>(sets: &mut BTreeMap<P, BTreeSet<K>>, place: &P, key: &K) {
    if let Some(keys) = sets.get_mut(place) {
        keys.remove(key);
        if keys.is_empty() {
            sets.remove(place);
        }
    }
}
