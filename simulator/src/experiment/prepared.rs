//! A run that is ready to be made: by the engine, by the model of the released simulator, or by a search for
//! the optimum.

use std::time::Instant;

use privatekube_policy::{DatasetRules, Time};

use super::{ExperimentError, Parameters};
use crate::{
    Decision, Outcome, PolicySettings, TooLong, Workload,
    optimum::optimum,
    released_simulator::{ReleasedDecision, ReleasedSimulator},
    run, time,
};

/// A run that is ready to be made.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The complete parameters: defaults filled in, and `None` for what the experiment doesn't have.
    pub parameters: Parameters,
    /// The workload.
    pub workload: Workload,
    /// The policy and its numbers, as the parameters give them.
    pub settings: PolicySettings,
    /// The same as rules for the engine. Where the optimum is searched: the rules of the run that the search
    /// begins with.
    pub dataset_rules: DatasetRules,
    /// The released simulator's input, if its order of visits is requested.
    pub published: Option<ReleasedSimulator>,
    /// The search for the optimum, if that is requested.
    pub search: Option<OptimumSearch>,
}

/// A search for the optimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptimumSearch {
    /// The time at which all budget is unlocked and the set that was found counts as granted.
    pub at: Time,
    /// Number of nodes after which the search stops.
    pub nodes: u32,
}

impl Prepared {
    /// Makes the run: searches the optimum if that is requested, otherwise runs the model of the released
    /// simulator if its order is requested, otherwise runs the engine.
    pub fn run(&self) -> Result<Outcome, ExperimentError> {
        if let Some(search) = self.search {
            return self.find_optimum(search);
        }
        match &self.published {
            None => Ok(run(&self.workload, &self.dataset_rules)?),
            Some(published) => {
                let started = Instant::now();
                let decisions = published.run().into_iter();
                let decisions = decisions.map(|decision| {
                    Ok(match decision {
                        ReleasedDecision::Granted(at) => Decision::Granted(time(at)?),
                        ReleasedDecision::Refused(at) => Decision::Refused(time(at)?),
                        ReleasedDecision::Waiting => Decision::Waiting,
                    })
                });
                Ok(Outcome {
                    decisions: decisions.collect::<Result<_, TooLong>>()?,
                    bound: None,
                    fairness: None,
                    wall: started.elapsed(),
                })
            }
        }
    }

    /// Searches the optimum. The search begins with the set that DPack grants, so it never finds a smaller
    /// one.
    fn find_optimum(&self, OptimumSearch { at, nodes }: OptimumSearch) -> Result<Outcome, ExperimentError> {
        let started = Instant::now();
        let first = run(&self.workload, &self.dataset_rules)?.decisions.into_iter();
        let first: Vec<bool> = first
            .map(|decision| matches!(decision, Decision::Granted(_)))
            .collect();
        let solved = optimum(&self.workload, &first, nodes)?;
        let decisions = solved.granted.into_iter().map(|is_granted| {
            if is_granted {
                Decision::Granted(at)
            } else {
                Decision::Refused(at)
            }
        });
        Ok(Outcome {
            decisions: decisions.collect(),
            bound: Some(solved.bound),
            fairness: None,
            wall: started.elapsed(),
        })
    }
}
