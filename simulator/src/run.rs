//! Runs a workload through an engine over virtual time.

use std::time::Instant;

use privatekube_policy::{
    Amount, Arrival, BlockId, ClaimId, DatasetRules, DatasetRulesError, Demand, Engine, Event, Policy,
    Record, Refusal, Time,
};
use thiserror::Error;

use crate::{
    Decision, Outcome, Workload,
    fairness::{Decided, Measures},
};

/// The reason why a workload can't be run.
#[derive(Debug, Error)]
pub enum RunError {
    /// The rules contradict each other.
    #[error(transparent)]
    DatasetRules(#[from] DatasetRulesError),
    /// The engine refuses a block.
    #[error("block {number}: {refusal}")]
    Block {
        /// The block's number.
        number: usize,
        /// The engine's reason.
        refusal: Refusal,
    },
    /// The engine refuses a task.
    #[error("task {number}: {refusal}")]
    Task {
        /// The task's number.
        number: usize,
        /// The engine's reason.
        refusal: Refusal,
    },
    /// A task arrives before a block that it requests.
    #[error("task {number} requests block {block}, which arrives after the task")]
    NoBlock {
        /// The task's number.
        number: usize,
        /// The block's number.
        block: u32,
    },
}

/// Runs `workload` under `dataset_rules`, with the composition of the workload in place of that of the rules.
/// As in the papers, a granted budget is consumed at once, so the engine denies tasks that can never be
/// granted after that.
///
/// Errors if the rules contradict each other, or if the engine refuses a block or a task.
///
/// Under round robin alone, granted budget stays allocated. The released simulator divides unlocked budget
/// among all waiting tasks, also among those that can never get their whole demand, and its published results
/// include what is wasted that way. If the budget were consumed, the engine would deny those tasks.
pub fn run(workload: &Workload, dataset_rules: &DatasetRules) -> Result<Outcome, RunError> {
    let started = Instant::now();
    let consumes_grants = dataset_rules.policy != Policy::RoundRobin;
    let rules = DatasetRules {
        composition: workload.composition.clone(),
        ..dataset_rules.clone()
    };
    let mut run = Run {
        consumes_grants,
        measures: Measures::new(workload, rules.clone()),
        engine: Engine::new(rules)?,
        names: Vec::with_capacity(workload.blocks.len()),
        decisions: vec![Decision::Waiting; workload.tasks.len()],
    };
    let mut blocks = workload.blocks.iter().peekable();
    for (number, task) in workload.tasks.iter().enumerate() {
        if task.at >= workload.end {
            break;
        }
        while let Some(block) = blocks.next_if(|block| block.at <= task.at) {
            run.add_block(block.at, block.capacity.clone())?;
        }
        run.arrive(number, task, workload)?;
    }
    for block in blocks.take_while(|block| block.at < workload.end) {
        run.add_block(block.at, block.capacity.clone())?;
    }
    if let Some(last) = workload.end.micros().checked_sub(1) {
        run.advance(Time::from_micros(last))?;
    }
    Ok(Outcome {
        decisions: run.decisions,
        bound: None,
        fairness: Some(run.measures.finish()),
        wall: started.elapsed(),
    })
}

struct Run<'a> {
    engine: Engine,
    measures: Measures<'a>,
    /// Whether a granted budget is consumed at once.
    consumes_grants: bool,
    names: Vec<BlockId>,
    decisions: Vec<Decision>,
}

impl Run<'_> {
    fn add_block(&mut self, at: Time, capacity: privatekube_policy::Budget) -> Result<(), RunError> {
        self.advance(at)?;
        let number = self.names.len();
        let block = BlockId::from(number.to_string());
        let event = Event::AddBlock {
            block: block.clone(),
            capacity,
        };
        self.names.push(block);
        let records = self.engine.apply(&event);
        self.note(records.map_err(|refusal| RunError::Block { number, refusal })?)?;
        Ok(())
    }

    fn arrive(&mut self, number: usize, task: &crate::Task, workload: &Workload) -> Result<(), RunError> {
        self.advance(task.at)?;
        self.measures.arrives(number);
        let names = task.blocks.iter().map(|block| {
            let name = self.names.get(*block as usize).cloned();
            name.ok_or(RunError::NoBlock {
                number,
                block: *block,
            })
        });
        let event = Event::Arrive(Arrival {
            claim: ClaimId::from(number.to_string()),
            demands: vec![Demand {
                blocks: names.collect::<Result<_, _>>()?,
                budget: task.demand.clone(),
            }],
            min_blocks: 1,
            timeout: workload.timeout,
            priority: 0,
            weight: task.weight,
        });
        let records = self.engine.apply(&event);
        let decided = self.note(records.map_err(|refusal| RunError::Task { number, refusal })?)?;
        self.measures.arrived(number, &decided, &self.engine, &self.names);
        Ok(())
    }

    /// Advances the engine's time to `until`. On the way, the measures look at the unused budget.
    fn advance(&mut self, until: Time) -> Result<(), RunError> {
        while self.measures.next_look() < until {
            self.advance_to(self.measures.next_look())?;
            self.measures.look(&self.engine, &self.names);
        }
        self.advance_to(until)
    }

    /// Advances the engine's time to `until`. Budget granted by one step is consumed before the next step.
    fn advance_to(&mut self, until: Time) -> Result<(), RunError> {
        while let Some(step) = self.engine.next_step().filter(|step| *step < until) {
            let records = self.engine.advance(step);
            self.note(records)?;
        }
        let records = self.engine.advance(until);
        self.note(records)?;
        Ok(())
    }

    /// Notes the decisions in `records`, and consumes the granted budgets. Returns the decisions, without those that
    /// followed from the consumption.
    fn note(&mut self, records: Vec<Record>) -> Result<Decided, RunError> {
        let mut granted = Vec::new();
        let decided = self.note_decisions(records, &mut granted);
        while let Some((number, claim)) = granted.pop() {
            let event = Event::Consume {
                claim,
                amount: Amount::All,
            };
            let records = self.engine.apply(&event);
            let records = records.map_err(|refusal| RunError::Task { number, refusal })?;
            self.note_decisions(records, &mut granted);
        }
        Ok(decided)
    }

    fn note_decisions(&mut self, records: Vec<Record>, granted: &mut Vec<(usize, ClaimId)>) -> Decided {
        let mut decided = Decided::default();
        for record in records {
            let (claim, decision) = match record {
                Record::Waits { claim } => (claim, Decision::Waiting),
                Record::Granted { claim, at } => (claim, Decision::Granted(at)),
                Record::Denied { claim, at, .. } | Record::Expired { claim, at } => {
                    (claim, Decision::Refused(at))
                }
                _ => continue,
            };
            // `arrive` makes the claim's name of the task's number.
            let number = claim.as_str().parse().ok();
            let noted = number.and_then(|number: usize| Some((number, self.decisions.get_mut(number)?)));
            if let Some((number, noted)) = noted {
                *noted = decision;
                match decision {
                    Decision::Granted(_) => decided.granted.push(number),
                    Decision::Refused(_) => decided.refused.push(number),
                    Decision::Waiting => decided.waits.push(number),
                }
                if self.consumes_grants && matches!(decision, Decision::Granted(_)) {
                    granted.push((number, claim));
                }
            }
        }
        self.measures.decided(&decided);
        decided
    }
}
