//! Reads a trace: from JSON to a workload and rules.

use std::{collections::HashMap, fmt::Display, str::FromStr};

use privatekube_policy::{Budget, Composition, Delta, Epsilon, Mechanism, Order, Orders, Span, Time, Weight};
use serde_json::Number;

use super::{
    Trace, TraceError,
    file::{Blocks, CompositionField, DemandField, File, Row, TASK_COLUMNS, TraceObject},
};
use crate::{BlockArrival, PolicySettings, Task, Workload, experiment::reference_orders, span, time};

/// Limit of the number of blocks, so that a small file can't fill the memory.
const MOST_BLOCKS: u32 = 10_000_000;

impl Trace {
    /// Reads a trace.
    pub fn read(text: &str) -> Result<Self, TraceError> {
        let mut json = serde_json::Deserializer::from_str(text);
        let TraceObject(file) = serde_path_to_error::deserialize(&mut json).map_err(TraceError::from_json)?;
        json.end().map_err(|error| TraceError::Format {
            place: "after the trace".to_owned(),
            error,
        })?;
        load(&file)
    }
}

fn load(file: &File) -> Result<Trace, TraceError> {
    let composition = composition(file)?;
    let settings = settings(file)?;
    let dataset_rules = settings.dataset_rules(composition.clone())?;
    let end = at("end", file.end)?;
    if !(file.task_columns.is_empty() || file.task_columns == TASK_COLUMNS) {
        let what = format!("{:?}: accepted is {TASK_COLUMNS:?}", file.task_columns);
        return Err(TraceError::value("task_columns", what));
    }
    let blocks = blocks(file, &composition)?;
    let mut numbered = tasks(file, &composition, &blocks)?;
    // A stable sort: tasks that arrive at the same time keep the file's order.
    numbered.sort_by_key(|(_, task, _)| task.at);
    let mut trace = Trace {
        workload: Workload {
            composition,
            blocks,
            tasks: Vec::with_capacity(numbered.len()),
            classes: if file.classes.is_empty() {
                vec!["all".to_owned()]
            } else {
                file.classes.clone()
            },
            timeout: file
                .timeout
                .map(|seconds| duration("timeout", seconds))
                .transpose()?,
            end,
        },
        settings,
        dataset_rules,
        places: Vec::new(),
        granted: Vec::new(),
    };
    for (place, task, granted) in numbered {
        trace.workload.tasks.push(task);
        trace.places.push(place);
        trace.granted.push(granted);
    }
    Ok(trace)
}

fn at(place: impl Into<String>, seconds: f64) -> Result<Time, TraceError> {
    time(seconds).map_err(|error| TraceError::value(place, error))
}

fn duration(place: &str, seconds: f64) -> Result<Span, TraceError> {
    span(seconds).map_err(|error| TraceError::value(place, error))
}

/// Parses a JSON number as an exact decimal.
fn exact<T: FromStr<Err: Display>>(place: impl Into<String>, number: &Number) -> Result<T, TraceError> {
    number
        .to_string()
        .parse()
        .map_err(|error| TraceError::value(place, error))
}

fn composition(file: &File) -> Result<Composition, TraceError> {
    match (file.composition, &file.orders) {
        (CompositionField::EpsilonDelta, None) => Ok(Composition::Basic),
        (CompositionField::EpsilonDelta, Some(_)) => Err(TraceError::value(
            "orders",
            "composition epsilon-delta has no orders: leave them out",
        )),
        (CompositionField::Renyi, None) => Ok(Composition::Renyi(reference_orders())),
        (CompositionField::Renyi, Some(orders)) => {
            let orders = orders.iter().enumerate();
            let orders = orders.map(|(nth, order)| exact::<Order>(format!("orders[{nth}]"), order));
            let orders = Orders::new(orders.collect::<Result<_, _>>()?);
            Ok(Composition::Renyi(
                orders.map_err(|error| TraceError::value("orders", error))?,
            ))
        }
    }
}

/// Numbers that the policy doesn't use are accepted: the files with known answers all state a tick.
fn settings(file: &File) -> Result<PolicySettings, TraceError> {
    Ok(PolicySettings {
        policy: file
            .policy
            .parse()
            .map_err(|error| TraceError::value("policy", error))?,
        n: file.n,
        lifetime: file.lifetime,
        tick: file.tick,
        recompute_after: file.recompute_after.unwrap_or(1),
        fairness: file.fairness.unwrap_or(500),
        revision: file.revision.unwrap_or_default(),
    })
}

fn curve(place: &str, composition: &Composition, curve: &[Number]) -> Result<Budget, TraceError> {
    let Composition::Renyi(_) = composition else {
        return Err(TraceError::value(
            place,
            "composition epsilon-delta has no curves: state epsilon",
        ));
    };
    let orders = composition.coordinates();
    if curve.len() != orders {
        let what = format!(
            "{} epsilons: one for each of the {orders} orders is accepted",
            curve.len()
        );
        return Err(TraceError::value(place, what));
    }
    let units = curve.iter().enumerate().map(|(nth, epsilon)| {
        let place = format!("{place}[{nth}]");
        let epsilon: Epsilon = exact(&*place, epsilon)?;
        i64::try_from(epsilon.units()).map_err(|_| TraceError::value(place, "too large"))
    });
    Budget::new(units.collect::<Result<_, _>>()?).map_err(|error| TraceError::value(place, error))
}

fn blocks(file: &File, composition: &Composition) -> Result<Vec<BlockArrival>, TraceError> {
    if !(1..=MOST_BLOCKS).contains(&file.blocks) {
        let what = format!("{}: accepted is 1 to {MOST_BLOCKS}", file.blocks);
        return Err(TraceError::value("blocks", what));
    }
    let capacity = match (&file.block.curve, &file.block.epsilon) {
        (Some(given), None) => curve("block.curve", composition, given)?,
        (None, Some(epsilon)) => {
            let delta = match (&file.block.delta, composition) {
                // The files with known answers state a delta, although under basic composition only their
                // epsilons count.
                (_, Composition::Basic) | (None, _) => Delta::ZERO,
                (Some(delta), Composition::Renyi(_)) => exact("block.delta", delta)?,
            };
            let capacity = composition.capacity(exact("block.epsilon", epsilon)?, delta);
            capacity.map_err(|error| TraceError::value("block", error))?
        }
        _ => {
            return Err(TraceError::value(
                "block",
                "state either epsilon (and delta) or curve",
            ));
        }
    };
    let Some(arrivals) = &file.block_arrivals else {
        let block = BlockArrival {
            at: Time::default(),
            capacity,
        };
        return Ok(vec![block; file.blocks as usize]);
    };
    if arrivals.len() != file.blocks as usize {
        let what = format!(
            "{} times: one for each of the {} blocks is accepted",
            arrivals.len(),
            file.blocks
        );
        return Err(TraceError::value("block_arrivals", what));
    }
    let mut blocks: Vec<BlockArrival> = Vec::with_capacity(arrivals.len());
    for (nth, seconds) in arrivals.iter().enumerate() {
        let place = format!("block_arrivals[{nth}]");
        let at = at(&*place, *seconds)?;
        if blocks.last().is_some_and(|before| before.at > at) {
            return Err(TraceError::value(
                place,
                format!("{seconds}: not before the one before it is accepted"),
            ));
        }
        blocks.push(BlockArrival {
            at,
            capacity: capacity.clone(),
        });
    }
    Ok(blocks)
}

/// The tasks, each with its place in the file and the time of its grant, if known.
type Numbered = Vec<(usize, Task, Option<Time>)>;

fn tasks(file: &File, composition: &Composition, blocks: &[BlockArrival]) -> Result<Numbered, TraceError> {
    let named = file.demands.iter().map(|(name, given)| {
        let place = format!("demands.{name}");
        Ok::<_, TraceError>((name.as_str(), curve(&place, composition, given)?))
    });
    let mut demands = Demands {
        composition,
        delta: match (&file.task_delta, composition) {
            (Some(delta), Composition::Renyi(_)) => exact("task_delta", delta)?,
            _ => Delta::ZERO,
        },
        named: named.collect::<Result<_, _>>()?,
    };
    let rows = file.tasks.iter().enumerate();
    rows.map(|(place, row)| {
        let (task, granted) = task(
            row,
            &format!("tasks[{place}]"),
            &mut demands,
            blocks,
            file.classes.len(),
        )?;
        Ok((place, task, granted))
    })
    .collect()
}

struct Demands<'a> {
    composition: &'a Composition,
    delta: Delta,
    /// The file's named demands, and the mechanisms used so far.
    named: HashMap<&'a str, Budget>,
}

impl<'a> Demands<'a> {
    fn find(
        &mut self,
        requested: &'a DemandField,
        place: &str,
    ) -> Result<(Budget, Option<(Epsilon, Delta)>), TraceError> {
        let wrong = |error: &dyn Display| TraceError::value(format!("{place}: demand"), error);
        match requested {
            DemandField::Epsilon(number) => {
                let epsilon: Epsilon = exact(format!("{place}: demand"), number)?;
                let mechanism = Mechanism::for_guarantee(epsilon, self.delta);
                let demand = mechanism.and_then(|mechanism| mechanism.demand(self.composition));
                Ok((
                    demand.map_err(|error| wrong(&error))?,
                    Some((epsilon, self.delta)),
                ))
            }
            DemandField::Named(name) => {
                if let Some(demand) = self.named.get(name.as_str()) {
                    return Ok((demand.clone(), None));
                }
                let mechanism: Result<Mechanism, _> = name.parse();
                let demand = mechanism.and_then(|mechanism| mechanism.demand(self.composition));
                let demand = demand.map_err(|error| {
                    wrong(&format_args!(
                        "{name:?} is not one of `demands`, and as a mechanism: {error}"
                    ))
                })?;
                self.named.insert(name, demand.clone());
                Ok((demand, None))
            }
        }
    }
}

fn task<'a>(
    row: &'a Row,
    place: &str,
    demands: &mut Demands<'a>,
    blocks: &[BlockArrival],
    classes: usize,
) -> Result<(Task, Option<Time>), TraceError> {
    let arrival = at(format!("{place}: arrival"), row.arrival)?;
    let requested = requested_blocks(row, arrival, place, blocks)?;
    if row.class >= classes.max(1) {
        let what = format!(
            "{}: there are {} classes, counted from 0",
            row.class,
            classes.max(1)
        );
        return Err(TraceError::value(format!("{place}: class"), what));
    }
    let weight = Weight::new(row.weight);
    let weight =
        weight.ok_or_else(|| TraceError::value(format!("{place}: weight"), "0: 1 or more is accepted"))?;
    let (demand, guarantee) = demands.find(&row.demand, place)?;
    let task = Task {
        at: arrival,
        blocks: requested,
        demand,
        guarantee,
        weight,
        class: row.class,
    };
    let granted = row
        .granted
        .map(|seconds| at(format!("{place}: granted at"), seconds))
        .transpose()?;
    Ok((task, granted))
}

fn requested_blocks(
    row: &Row,
    arrival: Time,
    place: &str,
    blocks: &[BlockArrival],
) -> Result<Vec<u32>, TraceError> {
    let wrong = |what: String| TraceError::value(format!("{place}: blocks"), what);
    let last = blocks.len() - 1;
    let requested = match &row.blocks {
        Blocks::Range(first, end) if first > end || *end as usize > last => {
            return Err(wrong(format!(
                "{first} to {end}: a range within 0 to {last} is accepted"
            )));
        }
        Blocks::Range(first, end) => (*first..=*end).collect(),
        Blocks::List(numbers) => numbers.clone(),
    };
    for block in &requested {
        let block_arrival = blocks.get(*block as usize);
        let block_arrival =
            block_arrival.ok_or_else(|| wrong(format!("{block}: accepted is 0 to {last}")))?;
        if block_arrival.at > arrival {
            return Err(wrong(format!("{block}: it comes after the task")));
        }
    }
    Ok(requested)
}
