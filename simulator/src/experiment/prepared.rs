//! A run that can be run: by the engine, in the released simulator's order, or by a search for the optimum.

use std::time::Instant;

use privatekube_policy::{DatasetRules, Time};

use super::{ExperimentError, Parameters};
use crate::{
    Decision, Outcome, PolicySettings, TooLong, Workload,
    optimum::optimum,
    released_simulator::{ReleasedDecision, ReleasedSimulator},
    run, time,
};

/// A run that can be run.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The parameters, with all that the experiment has filled in and all that it doesn't have left out.
    pub parameters: Parameters,
    /// What happens.
    pub workload: Workload,
    /// The policy and its numbers, as the parameters give them.
    pub settings: PolicySettings,
    /// The same as rules for the engine. Where the optimum is searched: the rules of the run that the search begins with.
    pub dataset_rules: DatasetRules,
    /// The released simulator's view of it, where its order is asked for.
    pub published: Option<ReleasedSimulator>,
    /// The search for the optimum, where that is asked for.
    pub search: Option<OptimumSearch>,
}

/// A search for the optimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptimumSearch {
    /// When everything is unlocked, and what is found is granted.
    pub at: Time,
    /// After how many nodes it ends at the latest.
    pub nodes: u32,
}

impl Prepared {
    /// Lets it happen: to the engine, or in the released simulator's order where that is asked for; or finds the optimum.
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
                    wall: started.elapsed(),
                })
            }
        }
    }

    /// Begins with what a policy grants, so that no less is found.
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
            wall: started.elapsed(),
        })
    }
}
