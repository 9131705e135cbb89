//! From what was asked, and the blocks that exist, to events for the ledger.

use std::{collections::BTreeSet, sync::Arc};

use privatekube_api::{AmountRequest, ClaimRequest, PrivateDataBlock, PrivateDataset, Weights, Wish};
use privatekube_policy::{
    Amount, Arrival, BlockId, Budget, ClaimId, ClaimState, Composition, Demand, Engine, Event, Phase, Span,
};
use tracing::{debug, warn};

use super::{Asked, Bookkeeper, BookkeeperError, KnownBlock, Pending, UseKind};

impl Bookkeeper {
    pub(super) fn engine(&self) -> Result<Option<&Engine>, BookkeeperError> {
        match &self.ledger {
            None => Ok(None),
            Some(ledger) => ledger.engine().map(Some).map_err(|error| self.poisoned(error)),
        }
    }

    /// Remembers a block's object.
    pub(super) fn know(&mut self, object: Arc<PrivateDataBlock>) {
        let name = object.metadata.name.clone().unwrap_or_default();
        let same = self
            .blocks
            .get(&name)
            .is_some_and(|known| known.object.metadata.uid == object.metadata.uid);
        if !same && object.metadata.deletion_timestamp.is_none() {
            let dimensions = object.spec.dimensions();
            let measured = self.blocks.len() < self.desk.most_blocks_measured;
            self.blocks.insert(
                name,
                KnownBlock {
                    object,
                    dimensions,
                    problem: None,
                    measured,
                },
            );
            self.blocks_changed = true;
        }
    }

    /// Remembers the dataset's object: blocks without a budget of their own may have one now.
    pub(super) fn know_dataset(&mut self, object: Arc<PrivateDataset>) -> Result<(), BookkeeperError> {
        let known = self.object.as_ref().map(|known| &known.metadata);
        let known = known.filter(|known| known.uid == object.metadata.uid);
        // The watch may be behind what was read.
        if known.is_some_and(|known| known.generation >= object.metadata.generation) {
            return Ok(());
        }
        self.object = Some(object);
        for known in self.blocks.values_mut() {
            self.blocks_changed |= known.problem.take().is_some();
        }
        self.tell_dataset()
    }

    /// A block's object is gone: so is the block, for everybody who isn't granted yet.
    pub(super) fn forget(&mut self, name: &str) -> Result<Option<Pending>, BookkeeperError> {
        let block = BlockId::from(name);
        self.desk.view.forget_block(&self.block_key(&block));
        if self.blocks.remove(name).is_none() {
            return Ok(None);
        }
        let live = self
            .engine()?
            .is_some_and(|engine| engine.block(&block).is_some_and(|books| !books.retired));
        Ok(live.then(|| Event::RetireBlock { block }.into()))
    }

    /// Ends what the ledger knows and no object stands for any more.
    pub(super) fn end_what_is_gone(&mut self) -> Result<Vec<Pending>, BookkeeperError> {
        let Some(engine) = self.engine()? else {
            return Ok(Vec::new());
        };
        let retired = engine
            .blocks()
            .filter(|block| !self.blocks.contains_key(block.as_str()))
            .filter(|block| engine.block(block).is_some_and(|books| !books.retired))
            .map(|block| Event::RetireBlock { block: block.clone() });
        let withdrawn = engine
            .claims()
            .filter(|id| matches!(engine.phase(id), Some(Phase::Waiting | Phase::Granted)))
            .filter(|id| !self.desk.exists(id))
            .map(|claim| Event::Withdraw { claim: claim.clone() });
        Ok(retired.chain(withdrawn).map(Pending::from).collect())
    }

    /// Remembers what somebody asks, unless it is in the ledger already.
    pub(super) fn ask(&mut self, asked: Asked) -> Result<(), BookkeeperError> {
        let engine = self.engine()?;
        let known = engine.and_then(|engine| engine.claim(&asked.subject.id()));
        // Known, but waiting for blocks: after a restart it has to be matched again.
        let to_match = known.map(|claim| claim.phase == Phase::Waiting && !is_matched(&claim.arrival));
        let asked_already = self
            .fresh
            .iter()
            .chain(&self.unmatched)
            .any(|other| other.subject == asked.subject);
        match to_match {
            _ if asked_already => {}
            None if engine.is_none() => {
                self.tell_held(&asked);
                self.fresh.push(asked);
            }
            None => self.fresh.push(asked),
            Some(true) => {
                self.unmatched.push(asked);
                self.blocks_changed = true;
            }
            Some(false) => {}
        }
        Ok(())
    }

    /// Who asked is gone.
    pub(super) fn withdraw(&mut self, claim: ClaimId) -> Result<Option<Pending>, BookkeeperError> {
        let of_others = |asked: &Asked| asked.subject.id() != claim;
        self.unmatched.retain(of_others);
        self.fresh.retain(of_others);
        match self.engine()?.and_then(|engine| engine.phase(&claim)) {
            Some(Phase::Waiting | Phase::Granted) => return Ok(Some(Event::Withdraw { claim }.into())),
            Some(_) => return Ok(None),
            None => {}
        }
        debug!(dataset = %self.dataset, %claim, "a claim is gone before it came to the ledger");
        self.desk.view.forget_claim(&claim);
        Ok(None)
    }

    /// What a claim was spent for provably never ran.
    pub(super) fn never_ran(&self, claim: ClaimId) -> Result<Option<Pending>, BookkeeperError> {
        let known = self.engine()?.and_then(|engine| engine.phase(&claim));
        Ok((known == Some(Phase::Consumed)).then(|| Event::NeverRan { claim }.into()))
    }

    /// Makes events of the blocks that are new and of what was asked, to follow on what is pending.
    pub(super) fn match_all(&mut self, pending: &[Pending]) -> Result<Vec<Pending>, BookkeeperError> {
        let Some(engine) = self.engine()? else {
            return Ok(Vec::new());
        };
        let composition = engine.setting().composition.clone();
        let blocks_changed = std::mem::take(&mut self.blocks_changed);
        let mut events = if blocks_changed {
            self.add_blocks(&composition, pending)?
        } else {
            Vec::new()
        };
        if blocks_changed {
            for asked in std::mem::take(&mut self.unmatched) {
                match self.matched(&asked.request, &composition) {
                    Ok(demands) if blocks_in(&demands) >= min_blocks(&asked.request) => {
                        events.push(
                            Event::Match {
                                claim: asked.subject.id(),
                                demands,
                            }
                            .into(),
                        );
                    }
                    // Its budget was understood when it came, and the composition never changes.
                    Ok(_) | Err(_) => self.unmatched.push(asked),
                }
            }
        }
        let weights = self.weights();
        for asked in std::mem::take(&mut self.fresh) {
            match self.matched(&asked.request, &composition) {
                Err(problem) => self.tell_invalid(&asked, &problem),
                Ok(demands) => {
                    let request = &asked.request;
                    let arrival = Arrival {
                        claim: asked.subject.id(),
                        demands,
                        min_blocks: min_blocks(request),
                        timeout: request.timeout.or_else(|| self.default_timeout()),
                        priority: request.priority,
                        weight: weights.of(&asked.subject.namespace),
                    };
                    if !is_matched(&arrival) {
                        self.unmatched.push(asked);
                    }
                    events.push(Event::Arrive(arrival).into());
                }
            }
        }
        Ok(events)
    }

    /// Events for the blocks that exist and aren't in the ledger. What can't be added says why on its object.
    fn add_blocks(
        &mut self,
        composition: &Composition,
        pending: &[Pending],
    ) -> Result<Vec<Pending>, BookkeeperError> {
        let Some(engine) = self.engine()? else {
            return Ok(Vec::new());
        };
        // Deleted and made again before either came to the ledger.
        let retiring: BTreeSet<&BlockId> = pending
            .iter()
            .filter_map(|pending| match &pending.event {
                Event::RetireBlock { block } => Some(block),
                _ => None,
            })
            .collect();
        let mut events = Vec::new();
        let mut problems = Vec::new();
        // Admission lets no guarantee in that makes no sense.
        let guarantee = self
            .object
            .as_ref()
            .and_then(|object| object.spec.guarantee().ok().flatten());
        for (name, known) in self.blocks.iter().filter(|(_, known)| known.problem.is_none()) {
            let block = BlockId::from(name.as_str());
            let capacity = known.object.spec.capacity(composition, guarantee);
            match (engine.block(&block), capacity) {
                (_, Err(problem)) => problems.push((block, problem.to_string())),
                // A block is its name. Made again under it, it has what it had left.
                (Some(books), Ok(capacity)) if books.capacity != capacity => problems.push((
                    block,
                    "the ledger knows a block of this name with another budget; what was spent can't be renewed, \
                     so give the block another name"
                        .to_owned(),
                )),
                (Some(books), Ok(_)) if !books.retired && !retiring.contains(&block) => {}
                (_, Ok(capacity)) => events.push(Event::AddBlock { block, capacity }.into()),
            }
        }
        for (block, problem) in problems {
            warn!(dataset = %self.dataset, %block, problem, "a block can't be used");
            if let Some(known) = self.blocks.get_mut(block.as_str()) {
                known.problem = Some(problem);
            }
            self.tell_block(&block)?;
        }
        Ok(events)
    }

    fn default_timeout(&self) -> Option<Span> {
        self.object
            .as_ref()
            .and_then(|object| object.spec.timeout().ok().flatten())
    }

    /// How much claims count that come now.
    fn weights(&self) -> Weights {
        // Admission lets none in that make no sense.
        let weights = self.object.as_ref().map(|object| object.spec.weights());
        weights.and_then(Result::ok).unwrap_or_default()
    }

    /// The demands of a request on the blocks that exist: all it matches, or the newest of them.
    fn matched(&self, request: &ClaimRequest, composition: &Composition) -> Result<Vec<Demand>, String> {
        match &request.wish {
            Wish::PerBlock(budgets) => {
                let mut demands: Vec<Demand> = Vec::new();
                for (name, budget) in budgets {
                    let budget = budget
                        .demand(composition)
                        .map_err(|error| format!("block {name}: {error}"))?;
                    if self.usable(name).is_some() {
                        group(&mut demands, BlockId::from(name.as_str()), budget);
                    }
                }
                Ok(demands)
            }
            Wish::Selected {
                selector,
                max,
                budget,
                ..
            } => {
                let budget = budget.demand(composition).map_err(|error| error.to_string())?;
                let mut matching: Vec<(&String, &KnownBlock)> = Vec::new();
                for (name, known) in self.blocks.iter().filter(|(_, known)| known.problem.is_none()) {
                    // A type error on one block is that block's affair: it does not match.
                    let matches = selector
                        .as_ref()
                        .is_none_or(|selector| selector.matches(&known.dimensions).unwrap_or(false));
                    if matches {
                        matching.push((name, known));
                    }
                }
                if let Some(max) = max {
                    let newest = |known: &KnownBlock| {
                        known
                            .object
                            .metadata
                            .creation_timestamp
                            .as_ref()
                            .map(|time| time.0)
                    };
                    matching.sort_by(|(a_name, a), (b_name, b)| {
                        newest(b).cmp(&newest(a)).then_with(|| b_name.cmp(a_name))
                    });
                    matching.truncate(usize::try_from(*max).unwrap_or(usize::MAX));
                    matching.sort_by_key(|(name, _)| *name);
                }
                let blocks: Vec<BlockId> = matching
                    .into_iter()
                    .map(|(name, _)| BlockId::from(name.as_str()))
                    .collect();
                Ok(if blocks.is_empty() {
                    Vec::new()
                } else {
                    vec![Demand { blocks, budget }]
                })
            }
        }
    }

    /// The event for what a claim's object says of its use; none, and an Event, if that makes no sense.
    pub(super) fn use_of(
        &mut self,
        claim: &ClaimId,
        kind: UseKind,
        amount: &AmountRequest,
    ) -> Result<Option<Pending>, BookkeeperError> {
        let Some(engine) = self.engine()? else {
            return Ok(None);
        };
        let Some(known) = engine.claim(claim) else {
            return Ok(None);
        };
        // While it waits, it has nothing to use; it is told again when it is granted.
        let waits = known.phase == Phase::Waiting;
        let composition = &engine.setting().composition;
        let amount = match amount {
            AmountRequest::All if known.phase != Phase::Granted => return Ok(None),
            AmountRequest::All => Ok(Amount::All),
            AmountRequest::PerBlock(budgets) => budgets
                .iter()
                .try_fold(Vec::new(), |mut demands, (name, budget)| {
                    let budget = budget
                        .demand(composition)
                        .map_err(|error| format!("block {name}: {error}"))?;
                    group(&mut demands, BlockId::from(name.as_str()), budget);
                    Ok(demands)
                })
                .map(Amount::InAll),
        };
        let event = |amount| match kind {
            UseKind::Consume => Event::Consume {
                claim: claim.clone(),
                amount,
            },
            UseKind::Release => Event::Release {
                claim: claim.clone(),
                amount,
            },
        };
        match amount {
            // Said again with each change of the object: only what is new is written.
            Ok(Amount::InAll(demands)) if waits || is_used(&known, kind, &demands) => Ok(None),
            Ok(amount) => Ok(Some(event(amount).into())),
            Err(problem) => {
                let problem: String = problem;
                self.tell_refused(&event(Amount::All), &problem)?;
                Ok(None)
            }
        }
    }

    fn usable(&self, name: &str) -> Option<&KnownBlock> {
        self.blocks.get(name).filter(|known| known.problem.is_none())
    }
}

/// Whether all of it was used before.
fn is_used(claim: &ClaimState<'_>, kind: UseKind, demands: &[Demand]) -> bool {
    let used = match kind {
        UseKind::Consume => &claim.consumed,
        UseKind::Release => &claim.released,
    };
    let on = |block: &BlockId| {
        used.iter()
            .find(|(used, _)| *used == block)
            .map(|(_, budget)| budget)
    };
    demands.iter().all(|demand| {
        demand.blocks.iter().all(|block| {
            on(block).is_some_and(|used| {
                used.units()
                    .iter()
                    .zip(demand.budget.units())
                    .all(|(used, asked)| used >= asked)
            })
        })
    })
}

fn group(demands: &mut Vec<Demand>, block: BlockId, budget: Budget) {
    match demands.iter_mut().find(|demand| demand.budget == budget) {
        Some(demand) => demand.blocks.push(block),
        None => demands.push(Demand {
            blocks: vec![block],
            budget,
        }),
    }
}

fn blocks_in(demands: &[Demand]) -> u32 {
    u32::try_from(demands.iter().map(|demand| demand.blocks.len()).sum::<usize>()).unwrap_or(u32::MAX)
}

fn min_blocks(request: &ClaimRequest) -> u32 {
    match &request.wish {
        Wish::Selected { min, .. } => *min,
        Wish::PerBlock(budgets) => u32::try_from(budgets.len()).unwrap_or(u32::MAX),
    }
}

pub(super) fn is_matched(arrival: &Arrival) -> bool {
    blocks_in(&arrival.demands) >= arrival.min_blocks
}
