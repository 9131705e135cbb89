//! Writes a run as a trace.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
};

use privatekube_policy::{Budget, Composition, Delta, Epsilon, Revision};
use serde_json::Number;

use super::{
    TraceError,
    file::{Block, Blocks, CompositionField, DemandField, File, Row, TASK_COLUMNS},
};
use crate::{Decision, PolicySettings, Workload, seconds};

/// Writes a run as a trace, with the times of grants if `decisions` are given. `source` names the origin of
/// the run.
///
/// Errors if blocks differ in their capacities, if a number has more digits than JSON keeps, or if writing
/// fails.
pub fn write(
    to: &mut impl Write,
    workload: &Workload,
    settings: &PolicySettings,
    decisions: Option<&[Decision]>,
    source: &str,
) -> Result<(), TraceError> {
    let file = file(workload, settings, decisions, source)?;
    let mut json = serde_json::to_string(&file).map_err(std::io::Error::other)?;
    json.push('\n');
    Ok(to.write_all(json.as_bytes())?)
}

/// Turns an exact decimal into a JSON number that reads back as the same decimal. Errors if there is none.
fn number(place: &str, decimal: &impl ToString) -> Result<Number, TraceError> {
    let text = decimal.to_string();
    let number = text.parse::<f64>().ok().and_then(Number::from_f64);
    let number = number.filter(|number| number.as_f64().is_some_and(|value| value.to_string() == text));
    number.ok_or_else(|| TraceError::value(place, format!("{text} has more digits than a JSON number keeps")))
}

fn curve(place: &str, budget: &Budget) -> Result<Vec<Number>, TraceError> {
    let epsilons = budget
        .units()
        .iter()
        .map(|units| Epsilon::from_units((*units).into()));
    epsilons.map(|epsilon| number(place, &epsilon)).collect()
}

fn file(
    workload: &Workload,
    settings: &PolicySettings,
    decisions: Option<&[Decision]>,
    source: &str,
) -> Result<File, TraceError> {
    let is_renyi = matches!(workload.composition, Composition::Renyi(_));
    let capacity = workload.blocks.first().map(|block| &block.capacity);
    if let Some(other) = workload
        .blocks
        .iter()
        .position(|block| Some(&block.capacity) != capacity)
    {
        let what = "its budget differs from the first block's, which a trace has no place for";
        return Err(TraceError::value(format!("block {other}"), what));
    }
    let block = match capacity {
        Some(capacity) if is_renyi => Block {
            curve: Some(curve("block", capacity)?),
            ..Block::default()
        },
        Some(capacity) => Block {
            epsilon: Some(number("block", &Epsilon::from_units(capacity.units()[0].into()))?),
            ..Block::default()
        },
        None => return Err(TraceError::value("blocks", "none: a trace has at least one")),
    };
    let task_delta = workload
        .tasks
        .iter()
        .find_map(|task| task.guarantee)
        .map(|(_, delta)| delta);
    let mut names = Names::default();
    let mut tasks = Vec::with_capacity(workload.tasks.len());
    for (nth, task) in workload.tasks.iter().enumerate() {
        let place = format!("task {nth}");
        let decision = decisions.and_then(|decisions| decisions.get(nth));
        tasks.push(Row {
            arrival: seconds(task.at),
            blocks: Blocks::of(&task.blocks),
            demand: match task.guarantee {
                Some((epsilon, delta)) if Some(delta) == task_delta => {
                    DemandField::Epsilon(number(&place, &epsilon)?)
                }
                _ if is_renyi => DemandField::Named(names.of(&task.demand)),
                _ => DemandField::Epsilon(number(
                    &place,
                    &Epsilon::from_units(task.demand.units()[0].into()),
                )?),
            },
            granted: decision.and_then(|decision| match decision {
                Decision::Granted(at) => Some(seconds(*at)),
                Decision::Refused(_) | Decision::Waiting => None,
            }),
            weight: task.weight.get(),
            class: task.class,
        });
    }
    let by_time = settings.lifetime.is_some();
    let arrivals: Vec<f64> = workload.blocks.iter().map(|block| seconds(block.at)).collect();
    let orders = match &workload.composition {
        Composition::Basic => None,
        Composition::Renyi(orders) => Some(
            orders
                .iter()
                .map(|order| number("orders", &order))
                .collect::<Result<_, _>>()?,
        ),
    };
    Ok(File {
        source: Some(source.to_owned()),
        policy: settings.policy.to_string(),
        composition: if is_renyi {
            CompositionField::Renyi
        } else {
            CompositionField::EpsilonDelta
        },
        orders,
        n: settings.n,
        lifetime: settings.lifetime,
        tick: settings.tick.filter(|_| by_time),
        recompute_after: Some(settings.recompute_after),
        fairness: Some(settings.fairness),
        revision: (settings.revision != Revision::First).then_some(settings.revision),
        block,
        blocks: u32::try_from(workload.blocks.len())
            .map_err(|_| TraceError::value("blocks", "more than a trace can count"))?,
        block_arrivals: arrivals.iter().any(|at| *at > 0.0).then_some(arrivals),
        task_delta: task_delta
            .filter(|_| is_renyi)
            .map(|delta: Delta| number("task_delta", &delta))
            .transpose()?,
        demands: names.curves()?,
        timeout: workload
            .timeout
            .map(|timeout| seconds(privatekube_policy::Time::from_micros(timeout.micros()))),
        end: seconds(workload.end),
        classes: workload.classes.clone(),
        task_columns: TASK_COLUMNS.map(str::to_owned).to_vec(),
        tasks,
    })
}

/// Names for curves, numbered in the order of first use.
#[derive(Default)]
struct Names<'a> {
    numbers: HashMap<&'a Budget, usize>,
    met: Vec<&'a Budget>,
}

impl<'a> Names<'a> {
    fn of(&mut self, demand: &'a Budget) -> String {
        let nth = self.numbers.entry(demand).or_insert_with(|| {
            self.met.push(demand);
            self.met.len() - 1
        });
        name(*nth)
    }

    fn curves(&self) -> Result<BTreeMap<String, Vec<Number>>, TraceError> {
        let named = self.met.iter().enumerate().map(|(nth, demand)| {
            let name = name(nth);
            let curve = curve(&name, demand)?;
            Ok((name, curve))
        });
        named.collect()
    }
}

fn name(nth: usize) -> String {
    format!("d{nth}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_curves_with_too_many_digits_the_first_is_named() {
        let budgets: Vec<Budget> = (1..=20)
            .map(|nth| Budget::new(vec![1_234_567_890_123_456_700 + nth]).unwrap())
            .collect();
        let mut names = Names::default();
        for budget in &budgets {
            names.of(budget);
        }
        assert_eq!(names.of(&budgets[1]), "d1");
        let error = names.curves().unwrap_err().to_string();
        assert!(
            error.starts_with("d0: 1234567.890123456701 has more digits"),
            "{error}"
        );
    }
}
