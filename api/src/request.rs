//! A claim's request, parsed: the same type for a claim object and for the annotations of a pod.

use std::collections::BTreeMap;

use privatekube_policy::{
    Budget, Composition, CompositionError, Delta, Epsilon, Mechanism, MechanismError, Order, Span,
};
use thiserror::Error;

use crate::{
    BlockCount, BudgetAmount, BudgetSpec, CurvePoint, DatasetKey, Decimal, FieldError, FieldErrors,
    PrivacyBudgetClaim, Selector, Settlement, Which,
    amounts::{GivenAmount, half_guarantee, parse_curve},
    check_purpose,
    names::is_object_name,
};

/// A budget as a user requests it, before the coordinates of its dataset are known.
#[derive(Clone, Debug, PartialEq)]
pub enum BudgetRequest {
    /// An (epsilon, delta) guarantee, epsilon above 0.
    Guarantee {
        /// Epsilon.
        epsilon: Epsilon,
        /// Delta.
        delta: Delta,
    },
    /// Epsilon at each of some Renyi orders, above 0 at one at least.
    Curve(Vec<(Order, Epsilon)>),
    /// A mechanism, and the text that it was parsed from.
    Mechanism(Mechanism, String),
}

/// Why a request has no budget on a dataset.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum RequestError {
    /// The dataset's composition can't account for the mechanism.
    #[error(transparent)]
    Mechanism(#[from] MechanismError),
    /// The amounts don't go with the dataset's composition.
    #[error(transparent)]
    Composition(#[from] CompositionError),
}

impl BudgetRequest {
    /// It as the text of a mechanism; `None` for a Renyi curve.
    #[must_use]
    pub fn mechanism_text(&self) -> Option<String> {
        match self {
            Self::Guarantee { epsilon, delta } => Some(format!("guarantee(epsilon={epsilon},delta={delta})")),
            Self::Mechanism(_, text) => Some(text.clone()),
            Self::Curve(_) => None,
        }
    }

    /// Returns its budget on a block of a dataset with `composition`, rounded up. If it [needs records](Self::needs_records),
    /// this is the most that it can be: on no more records than a batch has.
    pub fn demand(&self, composition: &Composition) -> Result<Budget, RequestError> {
        Ok(match self {
            Self::Guarantee { epsilon, delta } => {
                Mechanism::for_guarantee(*epsilon, *delta)?.demand(composition)?
            }
            Self::Curve(curve) => composition.demand_curve(curve)?,
            Self::Mechanism(mechanism, _) => mechanism.demand(composition)?,
        })
    }

    /// Returns its budget on each of some blocks that have so many records together, rounded up.
    pub fn demand_on(&self, records: u64, composition: &Composition) -> Result<Budget, RequestError> {
        match self {
            Self::Mechanism(mechanism, _) => Ok(mechanism.on_records(records).demand(composition)?),
            Self::Guarantee { .. } | Self::Curve(_) => self.demand(composition),
        }
    }

    /// Whether it depends on how many records the blocks have: it draws batches of a size from them. Blocks that don't state
    /// it can't be matched.
    #[must_use]
    pub fn needs_records(&self) -> bool {
        matches!(self, Self::Mechanism(mechanism, _) if mechanism.has_batch_size())
    }

    /// Checks that a request that draws records by a rate is for a fixed number of blocks: a program that draws batches of one
    /// size has another rate on another number. The names of the fields are those of the mechanism and of the two bounds.
    pub(crate) fn check_sampling(
        &self,
        field: &str,
        (min_field, min): (&str, u32),
        (max_field, max): (&str, Option<u32>),
    ) -> Result<(), FieldError> {
        match self {
            Self::Mechanism(mechanism, _) if mechanism.has_sample_rate() && max != Some(min) => {
                Err(FieldError::new(
                    field,
                    format_args!(
                        "a sample-rate is right for a fixed number of blocks only: write the same number in {min_field} \
                         and {max_field}, or batch-size in place of sample-rate, so that the rate follows from the \
                         records of the blocks (their spec.records)"
                    ),
                ))
            }
            _ => Ok(()),
        }
    }

    /// Parses epsilon and delta from fields (or annotations) of these names.
    pub(crate) fn guarantee(
        (epsilon_field, epsilon): (&str, &Decimal),
        (delta_field, delta): (&str, &Decimal),
    ) -> Result<Self, FieldErrors> {
        let mut errors = Vec::new();
        let parsed = epsilon.epsilon(epsilon_field);
        if parsed == Ok(Epsilon::ZERO) {
            errors.push(FieldError::new(
                epsilon_field,
                format_args!(
                    "{:?} asks for nothing: epsilon must be above 0",
                    epsilon.to_string()
                ),
            ));
        }
        let epsilon = keep(parsed, &mut errors);
        let delta = keep(delta.delta(delta_field), &mut errors);
        let request = epsilon
            .zip(delta)
            .map(|(epsilon, delta)| Self::Guarantee { epsilon, delta });
        FieldErrors::unless_empty(errors, request)
    }

    /// Parses a mechanism from a field or annotation.
    pub(crate) fn mechanism(field: &str, text: &str) -> Result<Self, FieldError> {
        let mechanism = text.parse();
        mechanism
            .map(|mechanism| Self::Mechanism(mechanism, text.to_owned()))
            .map_err(|problem: MechanismError| FieldError::new(field, problem))
    }

    fn curve(field: &str, curve: &[CurvePoint]) -> Result<Self, FieldErrors> {
        let curve = parse_curve(curve, field)?;
        if curve.iter().all(|(_, epsilon)| *epsilon == Epsilon::ZERO) {
            return Err(FieldError::new(
                field,
                "asks for nothing: epsilon must be above 0 at one order at least",
            )
            .into());
        }
        Ok(Self::Curve(curve))
    }
}

/// Returns the value of `result`; moves its error to `errors`.
pub(crate) fn keep<T, E: Into<FieldErrors>>(result: Result<T, E>, errors: &mut Vec<FieldError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            errors.extend(error.into().iter().cloned());
            None
        }
    }
}

/// A claim's request.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimRequest {
    /// The dataset.
    pub dataset: DatasetKey,
    /// The blocks, and the budget on each.
    pub demand: DemandRequest,
    /// How long the claim waits at most; the dataset's timeout if none.
    pub timeout: Option<Span>,
    /// A higher priority is granted before a lower one.
    pub priority: i32,
}

/// The blocks of a request, and the budget on each.
#[derive(Clone, Debug, PartialEq)]
pub enum DemandRequest {
    /// The same budget on each block that matches.
    Selected {
        /// Which blocks match; every block if none.
        selector: Option<Selector>,
        /// How many blocks the claim needs at least, 1 or more.
        min: u32,
        /// How many blocks it takes at most, the newest; all if none. Not below `min`.
        max: Option<u32>,
        /// The budget on each.
        budget: BudgetRequest,
    },
    /// A budget for each block by name, at least one block.
    PerBlock(BTreeMap<String, BudgetRequest>),
}

/// How much of a granted claim to consume or release, in total since the grant.
#[derive(Clone, Debug, PartialEq)]
pub enum AmountRequest {
    /// All budget that is still allocated.
    All,
    /// The amount on each block by name.
    PerBlock(BTreeMap<String, BudgetRequest>),
}

/// The lowest and highest priority.
const PRIORITIES: std::ops::RangeInclusive<i32> = -1000..=1000;

/// Checks that a priority is within bounds, and returns it.
pub(crate) fn check_priority(field: &str, priority: i32) -> Result<i32, FieldError> {
    if PRIORITIES.contains(&priority) {
        Ok(priority)
    } else {
        Err(FieldError::new(
            field,
            format_args!("{priority} is out of range: write an integer between -1000 and 1000"),
        ))
    }
}

impl PrivacyBudgetClaim {
    /// Parses the claim's request. The schema in the API server checks less than this does.
    pub fn request(&self) -> Result<ClaimRequest, FieldErrors> {
        let spec = &self.spec;
        let mut errors = Vec::new();
        // Without a namespace only namespace/name names a dataset: the empty one is refused.
        let namespace = self.metadata.namespace.as_deref().unwrap_or_default();
        let dataset = keep(
            DatasetKey::parse(&spec.dataset, namespace)
                .map_err(|problem| FieldError::new("spec.dataset", problem)),
            &mut errors,
        );
        let demand = keep(self.demand(), &mut errors);
        let timeout = spec.timeout.as_ref().map(|timeout| timeout.span("spec.timeout"));
        let timeout = keep(timeout.transpose(), &mut errors);
        let priority = keep(check_priority("spec.priority", spec.priority), &mut errors);
        if let Some(purpose) = &spec.purpose {
            errors.extend(check_purpose("spec.purpose", purpose).err());
        }
        let request = match (dataset, demand, timeout, priority) {
            (Some(dataset), Some(demand), Some(timeout), Some(priority)) => Some(ClaimRequest {
                dataset,
                demand,
                timeout,
                priority,
            }),
            _ => None,
        };
        FieldErrors::unless_empty(errors, request)
    }

    /// Parses the request of a claim that is being created, which has to say on which blocks it is: a misspelt field is left out
    /// by the API server, and what says nothing takes every block. Claims that exist may say nothing.
    pub fn new_request(&self) -> Result<ClaimRequest, FieldErrors> {
        let spec = &self.spec;
        let says = spec.per_block.is_some()
            || spec.selector.is_some()
            || spec
                .blocks
                .as_ref()
                .is_some_and(|blocks| blocks.max.is_some() || blocks.which == Some(Which::All));
        if says || spec.budget.is_none() {
            return self.request();
        }
        let missing = FieldError::new(
            "spec.blocks",
            "doesn't say on which blocks: write a selector like block.city == \"nyc\" or at most how many (blocks: {max: 7}), \
             or blocks: {which: all} for every block of the dataset",
        );
        match self.request() {
            Ok(_) => Err(missing.into()),
            Err(errors) => Err(errors.and(missing)),
        }
    }

    /// Parses how much of the claim to consume, in total since the grant; none if the spec doesn't say.
    pub fn consume(&self) -> Result<Option<AmountRequest>, FieldErrors> {
        let consume = self.spec.consume.as_ref();
        consume
            .map(|consume| settlement("spec.consume", consume))
            .transpose()
    }

    /// Parses how much of the claim to release, in total since the grant; none if the spec doesn't say.
    pub fn release(&self) -> Result<Option<AmountRequest>, FieldErrors> {
        let release = self.spec.release.as_ref();
        release
            .map(|release| settlement("spec.release", release))
            .transpose()
    }

    fn demand(&self) -> Result<DemandRequest, FieldErrors> {
        let spec = &self.spec;
        match (&spec.budget, &spec.per_block) {
            (Some(budget), None) => {
                let mut errors = Vec::new();
                let budget = keep(budget_request("spec.budget", budget), &mut errors);
                let selector = spec.selector.as_deref().map(Selector::parse).transpose();
                let selector = selector.map_err(|problem| FieldError::new("spec.selector", problem));
                let selector = keep(selector, &mut errors);
                let bounds = keep(bounds(spec.blocks.as_ref()), &mut errors);
                if let (Some(budget), Some((min, max))) = (&budget, bounds) {
                    let bounds = (("spec.blocks.min", min), ("spec.blocks.max", max));
                    keep(
                        budget.check_sampling("spec.budget.mechanism", bounds.0, bounds.1),
                        &mut errors,
                    );
                }
                let demand = match (budget, selector, bounds) {
                    (Some(budget), Some(selector), Some((min, max))) => Some(DemandRequest::Selected {
                        selector,
                        min,
                        max,
                        budget,
                    }),
                    _ => None,
                };
                FieldErrors::unless_empty(errors, demand)
            }
            (None, Some(_)) if spec.selector.is_some() || spec.blocks.is_some() => Err(FieldError::new(
                "spec.perBlock",
                "perBlock names its blocks: leave out selector and blocks",
            )
            .into()),
            (None, Some(per_block)) => {
                per_block_requests("spec.perBlock", per_block, budget_request).map(DemandRequest::PerBlock)
            }
            _ => Err(FieldError::new(
                "spec",
                "give exactly one of budget (the same on each block) and perBlock (for each block by name)",
            )
            .into()),
        }
    }
}

/// Returns how many blocks a claim needs at least, and takes at most.
fn bounds(blocks: Option<&BlockCount>) -> Result<(u32, Option<u32>), FieldError> {
    let Some(BlockCount { min, max, which }) = blocks else {
        return Ok((1, None));
    };
    check_bounds(("spec.blocks.min", *min), ("spec.blocks.max", *max))?;
    match (which, max) {
        (Some(Which::All), Some(_)) => Err(FieldError::new(
            "spec.blocks.which",
            "all takes every block: leave out max, or write which: newest",
        )),
        _ => Ok((*min, *max)),
    }
}

/// Checks that a claim needs at least one block, and no more than it takes at most.
pub(crate) fn check_bounds(
    (min_field, min): (&str, u32),
    (max_field, max): (&str, Option<u32>),
) -> Result<(), FieldError> {
    if min == 0 {
        return Err(FieldError::new(
            min_field,
            "0 blocks would ask for nothing: write 1 or more",
        ));
    }
    match max {
        Some(0) => Err(FieldError::new(
            max_field,
            "0 blocks would ask for nothing: write 1 or more",
        )),
        Some(max) if max < min => Err(FieldError::new(
            min_field,
            format_args!("{min} is above the {max} of {max_field}: write {max} or less"),
        )),
        _ => Ok(()),
    }
}

pub(crate) fn budget_request(field: &str, budget: &BudgetSpec) -> Result<BudgetRequest, FieldErrors> {
    const EXACTLY_ONE: &str = "give exactly one of: epsilon and delta, mechanism, renyi";
    match (&budget.mechanism, budget.amount.given()) {
        (Some(mechanism), GivenAmount::Nothing) => Ok(BudgetRequest::mechanism(
            &format!("{field}.mechanism"),
            mechanism,
        )?),
        (Some(_), _) => Err(FieldError::new(field, EXACTLY_ONE).into()),
        (None, given) => amount_request(field, &given, EXACTLY_ONE),
    }
}

fn settlement_amount(field: &str, amount: &BudgetAmount) -> Result<BudgetRequest, FieldErrors> {
    let exactly_one = "give exactly one of: epsilon and delta, renyi";
    amount_request(field, &amount.given(), exactly_one)
}

fn amount_request(
    field: &str,
    given: &GivenAmount<'_>,
    exactly_one: &str,
) -> Result<BudgetRequest, FieldErrors> {
    match given {
        GivenAmount::Guarantee(epsilon, delta) => guarantee_at(field, epsilon, delta),
        GivenAmount::Curve(curve) => BudgetRequest::curve(&format!("{field}.renyi"), curve),
        GivenAmount::HalfGuarantee(missing) => Err(half_guarantee(field, missing).into()),
        GivenAmount::Both | GivenAmount::Nothing => Err(FieldError::new(field, exactly_one).into()),
    }
}

fn guarantee_at(field: &str, epsilon: &Decimal, delta: &Decimal) -> Result<BudgetRequest, FieldErrors> {
    BudgetRequest::guarantee(
        (&format!("{field}.epsilon"), epsilon),
        (&format!("{field}.delta"), delta),
    )
}

fn settlement(field: &str, settlement: &Settlement) -> Result<AmountRequest, FieldErrors> {
    match (settlement.all, &settlement.per_block) {
        (Some(true), None) => Ok(AmountRequest::All),
        (Some(false), None) => Err(FieldError::new(
            format!("{field}.all"),
            "only true is accepted: leave it out for false",
        )
        .into()),
        (None, Some(per_block)) => {
            per_block_requests(&format!("{field}.perBlock"), per_block, settlement_amount)
                .map(AmountRequest::PerBlock)
        }
        _ => Err(FieldError::new(field, "give exactly one of: all, perBlock").into()),
    }
}

fn per_block_requests<T>(
    field: &str,
    per_block: &BTreeMap<String, T>,
    parse: impl Fn(&str, &T) -> Result<BudgetRequest, FieldErrors>,
) -> Result<BTreeMap<String, BudgetRequest>, FieldErrors> {
    if per_block.is_empty() {
        return Err(FieldError::new(field, "is empty: name one block at least").into());
    }
    let mut errors = Vec::new();
    let mut requests = BTreeMap::new();
    for (block, budget) in per_block {
        let field = format!("{field}[{block}]");
        if !is_object_name(block) {
            errors.push(FieldError::new(&field, crate::NameError::NotAName(block.clone())));
        }
        if let Some(request) = keep(parse(&field, budget), &mut errors) {
            requests.insert(block.clone(), request);
        }
    }
    FieldErrors::unless_empty(errors, Some(requests))
}
