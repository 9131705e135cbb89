//! Amounts of budget in the fields of a resource.

use kube::KubeSchema;
use privatekube_policy::{Delta, Epsilon, Order};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Decimal, FieldError, FieldErrors, request::keep};

/// An (epsilon, delta) guarantee of differential privacy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Guarantee {
    /// Epsilon, an integer or a decimal in quotes with at most 12 decimals. Example: "0.5".
    pub epsilon: Decimal,
    /// Delta, a probability between 0 and 1, an integer or a decimal in quotes with at most 18 decimals.
    /// Example: "1e-9".
    pub delta: Decimal,
}

impl Guarantee {
    /// Parses the guarantee to exact amounts. `field` is its path, for errors.
    pub fn parse(&self, field: &str) -> Result<(Epsilon, Delta), FieldErrors> {
        let mut errors = Vec::new();
        let epsilon = keep(self.epsilon.epsilon(&format!("{field}.epsilon")), &mut errors);
        let delta = keep(self.delta.delta(&format!("{field}.delta")), &mut errors);
        FieldErrors::unless_empty(errors, epsilon.zip(delta))
    }
}

/// The epsilon of a Renyi curve at one order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CurvePoint {
    /// The Renyi order (alpha), above 1, an integer or a decimal in quotes with at most 6 decimals; one of
    /// the dataset's orders. Example: 4.
    pub order: Decimal,
    /// Epsilon at that order, an integer or a decimal in quotes with at most 12 decimals. Example: "4.6273".
    pub epsilon: Decimal,
}

/// Parses a curve to exact amounts: at least one order, each once. `field` is its path, for errors.
pub(crate) fn parse_curve(curve: &[CurvePoint], field: &str) -> Result<Vec<(Order, Epsilon)>, FieldErrors> {
    if curve.is_empty() {
        return Err(FieldError::new(
            field,
            "is empty: write an epsilon at each Renyi order, like [{order: 4, epsilon: \"4.6273\"}]",
        )
        .into());
    }
    let mut errors = Vec::new();
    let mut parsed: Vec<(Order, Epsilon)> = Vec::with_capacity(curve.len());
    for (at, point) in curve.iter().enumerate() {
        let order = keep(point.order.order(&format!("{field}[{at}].order")), &mut errors);
        let epsilon = keep(
            point.epsilon.epsilon(&format!("{field}[{at}].epsilon")),
            &mut errors,
        );
        let (Some(order), Some(epsilon)) = (order, epsilon) else {
            continue;
        };
        if parsed.iter().any(|(earlier, _)| *earlier == order) {
            errors.push(FieldError::new(
                format!("{field}[{at}].order"),
                format_args!("{order} is given twice: write each order once"),
            ));
        }
        parsed.push((order, epsilon));
    }
    FieldErrors::unless_empty(errors, Some(parsed))
}

const EXACTLY_ONE: &str = "give exactly one of: epsilon and delta, renyi";
const NO_DELTA: &str = "is missing: epsilon goes with a delta, like \"1e-9\" (it may be 0)";
const NO_EPSILON: &str = "is missing: delta goes with an epsilon, like \"0.5\"";

/// An amount of budget on one block, as a user writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("(has(self.epsilon) || has(self.delta)) != has(self.renyi)").message(EXACTLY_ONE),
    validation = Rule::new("!has(self.epsilon) || has(self.delta)").message(NO_DELTA).field_path(".delta"),
    validation = Rule::new("!has(self.delta) || has(self.epsilon)").message(NO_EPSILON).field_path(".epsilon"),
)]
pub struct BudgetAmount {
    /// Epsilon, above 0, an integer or a decimal in quotes with at most 12 decimals. Goes with delta.
    /// Example: "0.5".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Decimal")]
    pub epsilon: Option<Decimal>,
    /// Delta, a probability between 0 and 1, an integer or a decimal in quotes with at most 18 decimals. Goes
    /// with epsilon. Example: "1e-9".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Decimal")]
    pub delta: Option<Decimal>,
    /// An epsilon for each of the dataset's Renyi orders, in place of epsilon and delta. With Renyi
    /// composition only. Example: [{order: 4, epsilon: "4.6273"}].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<CurvePoint>", length(min = 1, max = 32))]
    pub renyi: Option<Vec<CurvePoint>>,
}

/// The error of the one of epsilon and delta that is missing, below `field`.
pub(crate) fn half_guarantee(field: &str, missing: &str) -> FieldError {
    let problem = if missing == "delta" { NO_DELTA } else { NO_EPSILON };
    FieldError::new(format!("{field}.{missing}"), problem)
}

/// Which fields of a [`BudgetAmount`] are given.
pub(crate) enum GivenAmount<'a> {
    /// Epsilon and delta.
    Guarantee(&'a Decimal, &'a Decimal),
    /// A Renyi curve.
    Curve(&'a [CurvePoint]),
    /// Epsilon or delta without the other, whose name this is.
    HalfGuarantee(&'static str),
    /// A curve beside epsilon or delta.
    Both,
    /// No field.
    Nothing,
}

impl BudgetAmount {
    /// Which fields are given.
    pub(crate) fn given(&self) -> GivenAmount<'_> {
        match (&self.epsilon, &self.delta, &self.renyi) {
            (Some(epsilon), Some(delta), None) => GivenAmount::Guarantee(epsilon, delta),
            (None, None, Some(curve)) => GivenAmount::Curve(curve),
            (Some(_), None, None) => GivenAmount::HalfGuarantee("delta"),
            (None, Some(_), None) => GivenAmount::HalfGuarantee("epsilon"),
            (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => GivenAmount::Both,
            (None, None, None) => GivenAmount::Nothing,
        }
    }

    /// The schema for a struct that flattens an amount and adds another way to give one: its own rule says
    /// which fields exclude each other.
    pub(crate) fn flattened_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = Self::json_schema(generator);
        let rules = schema.ensure_object().get_mut("x-kubernetes-validations");
        if let Some(Value::Array(rules)) = rules {
            rules.retain(|rule| rule.get("message") != Some(&Value::from(EXACTLY_ONE)));
        }
        schema
    }
}

/// A part of a block's budget after the ledger entry that the status names. All decimals are exact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Amounts {
    /// Epsilon: with Renyi composition at the order that the status names, else the sum of epsilons.
    pub epsilon: String,
    /// Delta; with Basic composition only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub delta: Option<String>,
    /// Epsilon at each of the dataset's orders; with Renyi composition only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<RenyiAmount>")]
    pub renyi: Option<Vec<RenyiAmount>>,
}

/// An epsilon at one Renyi order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RenyiAmount {
    /// The Renyi order (alpha).
    pub order: String,
    /// Epsilon at that order. Negative if grants that fit at another order have taken more than there was at
    /// this one. null if it is more than 64 bits count (over 9223372), or depends on such an epsilon: the true one is unknown.
    #[schemars(schema_with = "decimal_or_null")]
    pub epsilon: Option<String>,
}

fn decimal_or_null(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": ["string", "null"]})
}
