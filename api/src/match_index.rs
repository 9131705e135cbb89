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
    Candidate, ClaimRequest, DemandRequest, Dimensions, Selector, per_block_demands, recency::Recency,
};

/// How many results are kept at most of selectors that no request in the index has.
const MOST_UNUSED: usize = 32;
/// How many blocks these results name together at most, but for the one that was used last.
const MOST_UNUSED_PLACES: usize = 100_000;

/// The blocks that exist, and the requests that wait for more of them, each under a key of the caller's.
#[derive(Clone, Debug)]
pub struct MatchIndex<K> {
    blocks: BTreeMap<BlockId, IndexedBlock>,
    /// The requests that select blocks, by the text of their selector; those without a selector under none.
    selections: HashMap<Option<String>, Selection<K>>,
    /// The requests that name a block, by its name.
    named: HashMap<BlockId, BTreeSet<K>>,
    requests: HashMap<K, Waiting>,
    /// The selectors of `selections` that no request has, the one that was used last at the end.
    unused: VecDeque<Option<String>>,
    evaluations: u64,
}

#[derive(Clone, Debug)]
struct IndexedBlock {
    dimensions: Dimensions,
    recency: Arc<Recency>,
}

/// The blocks that a selector selects, and the requests with this selector.
#[derive(Clone, Debug)]
struct Selection<K> {
    selector: Option<Selector>,
    /// Oldest first.
    blocks: BTreeSet<Arc<Recency>>,
    /// The blocks that it has no answer for.
    left_out: BTreeSet<BlockId>,
    /// By how many blocks they need at least.
    requests: BTreeMap<u32, BTreeSet<K>>,
}

/// The blocks that a request leaves out because its selector has no answer for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// How many they are, at least 1.
    pub count: usize,
    /// The first of their names.
    pub first: BlockId,
    /// Why the selector has no answer for that one.
    pub problem: String,
}

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
        selector: Option<String>,
        min: u32,
    },
    Names {
        blocks: Vec<BlockId>,
        /// How many of them do not exist.
        missing: usize,
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
            if known.recency == recency && known.dimensions == *block.dimensions {
                return Vec::new();
            }
            self.remove_block(block.name);
        }
        let mut enough = BTreeSet::new();
        for selection in self.selections.values_mut() {
            let selector = selection.selector.as_ref();
            match answer(selector, block.dimensions, &mut self.evaluations) {
                Answer::Selected => {
                    selection.blocks.insert(Arc::clone(&recency));
                    enough.extend(selection.with_enough().cloned());
                }
                Answer::NotSelected => {}
                Answer::None => {
                    selection.left_out.insert(name.clone());
                }
            }
        }
        for key in self.named.get(&name).into_iter().flatten() {
            if let Some(Waiting::Names { missing, .. }) = self.requests.get_mut(key) {
                *missing -= 1;
                if *missing == 0 {
                    enough.insert(key.clone());
                }
            }
        }
        let dimensions = block.dimensions.clone();
        self.blocks.insert(name, IndexedBlock { dimensions, recency });
        enough.into_iter().collect()
    }

    /// Removes a block. Evaluates nothing.
    pub fn remove_block(&mut self, name: &str) {
        let name = BlockId::from(name);
        let Some(block) = self.blocks.remove(&name) else {
            return;
        };
        for key in self.named.get(&name).into_iter().flatten() {
            if let Some(Waiting::Names { missing, .. }) = self.requests.get_mut(key) {
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
            DemandRequest::Selected { selector, min, .. } => {
                let text = selector.as_ref().map(|selector| selector.source().to_owned());
                self.unused.retain(|unused| *unused != text);
                let selection = self.selection(text.clone(), selector.as_ref());
                selection.requests.entry(*min).or_default().insert(key.clone());
                let is_enough = selection.count() >= *min;
                let waiting = Waiting::Selects {
                    selector: text,
                    min: *min,
                };
                self.requests.insert(key, waiting);
                is_enough
            }
            DemandRequest::PerBlock(budgets) => {
                let blocks: Vec<BlockId> = budgets.keys().map(|name| name.as_str().into()).collect();
                for block in &blocks {
                    self.named.entry(block.clone()).or_default().insert(key.clone());
                }
                let missing = blocks.iter().filter(|block| !self.blocks.contains_key(*block));
                let missing = missing.count();
                self.requests.insert(key, Waiting::Names { blocks, missing });
                missing == 0
            }
        }
    }

    /// Whether a request has enough blocks. Evaluates nothing.
    #[must_use]
    pub fn is_enough(&self, key: &K) -> bool {
        match self.requests.get(key) {
            Some(Waiting::Selects { selector, min }) => self
                .selections
                .get(selector)
                .is_some_and(|selection| selection.count() >= *min),
            Some(Waiting::Names { missing, .. }) => *missing == 0,
            None => false,
        }
    }

    /// Removes a request: it is matched, or has ended. Evaluates nothing.
    pub fn remove_request(&mut self, key: &K) {
        match self.requests.remove(key) {
            Some(Waiting::Selects { selector, min }) => {
                let Some(selection) = self.selections.get_mut(&selector) else {
                    return;
                };
                remove(&mut selection.requests, &min, key);
                if selection.requests.is_empty() {
                    self.keep_unused(selector);
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
                self.blocks.contains_key(&name.into())
            }),
            DemandRequest::Selected {
                selector,
                max,
                budget,
                ..
            } => {
                let budget = budget.demand(composition).map_err(|error| error.to_string())?;
                let blocks = self.selected(selector.as_ref(), *max);
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
        let DemandRequest::Selected {
            selector: Some(selector),
            ..
        } = &request.demand
        else {
            return None;
        };
        let left_out = &self.selections.get(&Some(selector.source().to_owned()))?.left_out;
        let first = left_out.first()?;
        let problem = selector.matches(&self.blocks.get(first)?.dimensions).err()?;
        Some(LeftOut {
            count: left_out.len(),
            first: first.clone(),
            problem: problem.to_string(),
        })
    }

    /// The requests that leave out the block of this name.
    pub fn leaving_out(&self, name: &str) -> impl Iterator<Item = &K> {
        let name = BlockId::from(name);
        let selections = self.selections.values();
        let leaving_out = selections.filter(move |selection| selection.left_out.contains(&name));
        leaving_out.flat_map(|selection| selection.requests.values().flatten())
    }

    /// The names of the blocks that a selector selects, sorted: all of them, or the `max` newest.
    fn selected(&mut self, selector: Option<&Selector>, max: Option<u32>) -> Vec<BlockId> {
        let most = max
            .and_then(|max| usize::try_from(max).ok())
            .unwrap_or(usize::MAX);
        let text = selector.map(|selector| selector.source().to_owned());
        let selection = self.selection(text.clone(), selector);
        let newest = selection.blocks.iter().rev().take(most);
        let mut names: Vec<BlockId> = newest.map(|block| block.name().clone()).collect();
        let is_unused = selection.requests.is_empty();
        if is_unused {
            self.unused.retain(|unused| *unused != text);
            self.keep_unused(text);
        }
        names.sort_unstable();
        names
    }

    /// The result of a selector, whose source is `text`.
    fn selection(&mut self, text: Option<String>, selector: Option<&Selector>) -> &mut Selection<K> {
        let Self {
            selections,
            blocks,
            evaluations,
            ..
        } = self;
        selections.entry(text).or_insert_with(|| {
            let mut selection = Selection {
                selector: selector.cloned(),
                blocks: BTreeSet::new(),
                left_out: BTreeSet::new(),
                requests: BTreeMap::new(),
            };
            for (name, block) in blocks {
                match answer(selector, &block.dimensions, evaluations) {
                    Answer::Selected => {
                        selection.blocks.insert(Arc::clone(&block.recency));
                    }
                    Answer::NotSelected => {}
                    Answer::None => {
                        selection.left_out.insert(name.clone());
                    }
                }
            }
            selection
        })
    }

    /// Keeps the result of a selector that no request has, and drops those that were used least recently, as far as the
    /// limits demand.
    fn keep_unused(&mut self, selector: Option<String>) {
        self.unused.push_back(selector);
        let places = |unused: &Option<String>| self.selections.get(unused).map_or(0, Selection::places);
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

impl<K: Ord> Selection<K> {
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
