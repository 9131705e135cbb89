//! PrivateDataBlock: one portion of a dataset and its budget.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use privatekube_policy::{Budget, Composition, Delta, Epsilon, Time};
use serde::{Deserialize, Serialize};

use crate::{
    Amounts, BudgetAmount, BudgetSpec, Dimension, Dimensions, FieldError, FieldErrors, Guarantee,
    amounts::{GivenAmount, half_guarantee, parse_curve},
    names::is_label_name,
    parse_rfc3339,
    request::{budget_request, keep},
};

/// The most characters of a reason.
const MOST_REASON: usize = 500;
/// The most records that a block may have: more than any, and as a JSON number exact for every reader.
const MOST_RECORDS: u64 = 1_000_000_000_000_000;

/// A portion of a dataset and its privacy budget. Never changes.
#[derive(Clone, Debug, PartialEq, Eq, CustomResource, KubeSchema, Serialize, Deserialize)]
#[kube(
    group = "privatekube.dev",
    version = "v1alpha1",
    kind = "PrivateDataBlock",
    namespaced,
    shortname = "pb",
    category = "privatekube",
    status = "PrivateDataBlockStatus",
    derive = "PartialEq",
    selectable = ".spec.dataset",
    doc = "A portion of a private dataset and the privacy budget that it may ever spend. Consumed budget never returns, \
           not even when the block is deleted and created again.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether it is in its dataset's ledger, so that claims can be granted on it."
    ),
    printcolumn(
        name = "Dataset",
        type_ = "string",
        json_path = ".spec.dataset",
        description = "Its dataset."
    ),
    printcolumn(
        name = "Guarantee",
        type_ = "string",
        json_path = ".status.table.guarantee",
        description = "The (epsilon, delta) that its budget was stated as: its own, or its dataset's."
    ),
    printcolumn(
        name = "Total",
        type_ = "string",
        json_path = ".status.table.total",
        description = "Epsilon that it may ever spend."
    ),
    printcolumn(
        name = "Available",
        type_ = "string",
        json_path = ".status.table.available",
        description = "Epsilon that can be granted now."
    ),
    printcolumn(
        name = "Allocated",
        type_ = "string",
        json_path = ".status.table.allocated",
        description = "Epsilon that is granted, and neither consumed nor released yet."
    ),
    printcolumn(
        name = "Consumed",
        type_ = "string",
        json_path = ".status.table.consumed",
        description = "Epsilon that is consumed for ever."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Locked",
        type_ = "string",
        json_path = ".status.table.locked",
        priority = "1",
        description = "Epsilon that is not available yet."
    ),
    printcolumn(
        name = "Order",
        type_ = "string",
        json_path = ".status.order",
        priority = "1",
        description = "The Renyi order that the epsilons are read at."
    ),
    printcolumn(
        name = "DataSource",
        type_ = "string",
        json_path = ".status.table.dataSource",
        priority = "1",
        description = "Where the data is."
    ),
    printcolumn(
        name = "Ledger",
        type_ = "integer",
        json_path = ".status.ledgerSequence",
        priority = "1",
        description = "The number of the ledger entry that the amounts are of."
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.summary",
        priority = "1",
        description = "Why it can't be used, or what is suspicious about it. kubectl describe has all of a long one."
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self == oldSelf").message(
    "a block never changes, since claims may have been granted on it: create another block"))]
pub struct PrivateDataBlockSpec {
    /// The name of its PrivateDataset, in the same namespace. Example: taxi.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')").message(
        "write the dataset's name: at most 63 lower-case letters, digits and '-', like taxi"))]
    pub dataset: String,
    /// Where the data is, in any form: pods whose claims are granted on the block get it with the grant.
    /// Example: s3://lake/taxi/2026-11-21.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 2048))]
    pub data_source: Option<String>,
    /// What the portion is: names, each with an integer or a string, by which claims select blocks. In a
    /// selector the dimension city is block.city. Example: {startTime: 20778, endTime: 20779, city: nyc}.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = Rule::new(
        "self.all(name, name.size() <= 63 && name.matches('^[a-zA-Z_][a-zA-Z0-9_]*$') && !(name in ['true', 'false', \
         'null', 'in', 'as', 'break', 'const', 'continue', 'else', 'for', 'function', 'if', 'import', 'let', 'loop', \
         'package', 'namespace', 'return', 'var', 'void', 'while']))").message(
        "the name of a dimension is at most 63 letters, digits and '_', begins with no digit, and is no word of CEL"))]
    pub dimensions: BTreeMap<String, Dimension>,
    /// How many records it has. Claims whose mechanism has a batch-size match only blocks that state it: the rate at
    /// which records are drawn follows from the records of all blocks of the claim. State no more than there
    /// are: too many make a claim cost too little. Example: 1200000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64", range(min = 1, max = MOST_RECORDS))]
    pub records: Option<u64>,
    /// The budget that it may ever spend: epsilon and delta, or a Renyi curve, in which an order that is left
    /// out gets nothing. If absent: the guarantee of its dataset. Example: {epsilon: 10, delta: "1e-7"}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BudgetAmount")]
    pub initial_budget: Option<BudgetAmount>,
    /// What was spent of the budget before the block came to this ledger, which is taken off it: by counting the users that it
    /// is made of, or in another system. Example: {budget: {mechanism: "17*laplace(scale=100)"}, reason: the count of users}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "SpentBefore")]
    pub spent: Option<SpentBefore>,
    /// Which portion of the data it is, by time or by users. The system writes it into blocks that come by themselves, and makes
    /// none for a portion that begins before the end of another block's. Example: {start: "2026-11-30T00:00:00Z", end:
    /// "2026-12-01T00:00:00Z"}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PortionSpec")]
    pub portion: Option<PortionSpec>,
    /// When it is retired, by the ledger's clock: from then on nothing more is granted on it, and claims that wait for it are
    /// denied. What is granted stays, and so does what the ledger knows of it. If absent: when its object is deleted. Example:
    /// "2027-02-28T00:00:00Z".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 40))]
    pub retires: Option<String>,
}

/// A portion of the data: of a time, or of users.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortionSpec {
    /// The first moment of its period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 40))]
    pub start: Option<String>,
    /// The first moment after its period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(max = 40))]
    pub end: Option<String>,
    /// The number of its first user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64", range(max = 1_000_000_000_000_i64))]
    pub first_user: Option<u64>,
    /// The number of the user after its last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64", range(max = 1_000_000_000_000_i64))]
    pub end_user: Option<u64>,
}

/// What was spent of a block's budget before it came to its ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct SpentBefore {
    /// How much. Exactly one of: epsilon and delta, mechanism, renyi. Epsilon and delta stand for the Gaussian mechanism with
    /// Renyi composition, as in a claim.
    pub budget: BudgetSpec,
    /// By what, for those who audit: 1 to 500 characters. Example: the count of users.
    #[schemars(length(min = 1, max = MOST_REASON))]
    pub reason: String,
}

/// A block's budget after a ledger entry. Derived from the dataset's ledger, and a moment behind it.
/// At every order, locked + available + allocated + consumed = total.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrivateDataBlockStatus {
    /// The Renyi order (alpha) of every epsilon outside renyi: the one with most budget left. Absent with
    /// Basic composition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub order: Option<String>,
    /// The budget that it may ever spend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Amounts")]
    pub total: Option<Amounts>,
    /// The budget that is not available yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Amounts")]
    pub locked: Option<Amounts>,
    /// The budget that can be granted now. Under policy RoundRobin it includes what waiting claims have
    /// gathered, and what claims had gathered that ended without a grant: that can't be granted to anyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Amounts")]
    pub available: Option<Amounts>,
    /// The budget that is granted, and neither consumed nor released yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Amounts")]
    pub allocated: Option<Amounts>,
    /// The budget that is consumed for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Amounts")]
    pub consumed: Option<Amounts>,
    /// What kubectl get prints, with 4 significant digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BlockTable")]
    pub table: Option<BlockTable>,
    /// How many claims have arrived for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub arrivals: Option<u64>,
    /// The number of the ledger entry that the amounts are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub ledger_sequence: Option<u64>,
    /// The number of the ledger entry after which the dataset's budget was written off last, if the block's was: the entries
    /// after it were lost, so what isn't allocated counts as consumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub written_off_after: Option<u64>,
    /// The beginning of what is wrong or suspicious, or of the message of the condition Ready, for lists: at most 160 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub summary: Option<String>,
    /// Ready: the block is in its dataset's ledger and claims can be granted on it; if not, the reason says what is wrong with it,
    /// or with its dataset. DataSourceShared: another block of the dataset has the same dataSource. AboveGuarantee: its budget is
    /// above the guarantee that its dataset states for blocks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
}

/// What `kubectl get` prints of a block: epsilons with 4 significant digits, with Renyi composition at the order that the status
/// names, each rounded to the nearest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BlockTable {
    /// The (epsilon, delta) that its budget was stated as: its own, or its dataset's when it was added. curve: it was stated as
    /// a Renyi curve. unknown: its dataset states another one by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub guarantee: Option<String>,
    /// Epsilon that it may ever spend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub total: Option<String>,
    /// Epsilon that is not available yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub locked: Option<String>,
    /// Epsilon that can be granted now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub available: Option<String>,
    /// Epsilon that is granted, and neither consumed nor released yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub allocated: Option<String>,
    /// Epsilon that is consumed for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub consumed: Option<String>,
    /// The beginning of its data source: at most 160 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub data_source: Option<String>,
}

fn not_a_time(field: &str, text: &str) -> FieldError {
    FieldError::new(
        field,
        format_args!(
            "{text:?} is no time that is accepted: write one from 1970 to 9999, like 2027-02-28T00:00:00Z"
        ),
    )
}

impl PortionSpec {
    /// The moments that are given, by the names of their fields.
    fn moments(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let named = [("start", &self.start), ("end", &self.end)].into_iter();
        named.filter_map(|(name, text)| Some((name, text.as_deref()?)))
    }
}

impl PrivateDataBlockSpec {
    /// Checks the spec and returns all that the block may ever spend. `default` is the guarantee of its dataset.
    pub fn capacity(
        &self,
        composition: &Composition,
        default: Option<(Epsilon, Delta)>,
    ) -> Result<Budget, FieldErrors> {
        let mut errors = Vec::new();
        if !is_label_name(&self.dataset) {
            errors.push(FieldError::new(
                "spec.dataset",
                format_args!(
                    "{:?} is not the name of a dataset: write at most 63 lower-case letters, digits and '-', like taxi",
                    self.dataset
                ),
            ));
        }
        if let Some(records) = self
            .records
            .filter(|records| !(1..=MOST_RECORDS).contains(records))
        {
            errors.push(FieldError::new(
                "spec.records",
                format_args!(
                    "{records} is out of range: write an integer between 1 and {MOST_RECORDS}, or leave it out"
                ),
            ));
        }
        keep(self.retires(), &mut errors);
        for (name, text) in self.portion.iter().flat_map(PortionSpec::moments) {
            if parse_rfc3339(text).is_none() {
                errors.push(not_a_time(&format!("spec.portion.{name}"), text));
            }
        }
        // What is missing of a dataset with a wrong name can't be told.
        let depends_on_dataset = self.initial_budget.is_none() && default.is_none();
        let capacity = if errors.is_empty() || !depends_on_dataset {
            keep(self.budget(composition, default), &mut errors)
        } else {
            None
        };
        FieldErrors::unless_empty(errors, capacity)
    }

    fn budget(
        &self,
        composition: &Composition,
        default: Option<(Epsilon, Delta)>,
    ) -> Result<Budget, FieldErrors> {
        const FIELD: &str = "spec.initialBudget";
        let capacity = match (self.initial_budget.as_ref().map(BudgetAmount::given), default) {
            (None, Some((epsilon, delta))) => composition.capacity(epsilon, delta),
            (None, None) => {
                return Err(FieldError::new(
                    FIELD,
                    format_args!(
                        "is missing, and dataset {:?} states no guarantee: give epsilon and delta, or renyi",
                        self.dataset
                    ),
                )
                .into());
            }
            (Some(GivenAmount::Guarantee(epsilon, delta)), _) => {
                let (epsilon, delta) = (epsilon.clone(), delta.clone());
                let (epsilon, delta) = Guarantee { epsilon, delta }.parse(FIELD)?;
                composition.capacity(epsilon, delta)
            }
            (Some(GivenAmount::Curve(curve)), _) => {
                composition.capacity_curve(&parse_curve(curve, "spec.initialBudget.renyi")?)
            }
            (Some(GivenAmount::HalfGuarantee(missing)), _) => {
                return Err(half_guarantee(FIELD, missing).into());
            }
            (Some(GivenAmount::Both | GivenAmount::Nothing), _) => {
                return Err(FieldError::new(FIELD, "give exactly one of: epsilon and delta, renyi").into());
            }
        };
        let mut capacity = capacity.map_err(|problem| FieldError::new(FIELD, problem))?;
        if let Some(spent) = self.spent(composition)? {
            capacity = capacity.without(&spent);
            if capacity.is_zero() {
                let problem = "is all of the budget, or more: nothing could be granted on the block";
                return Err(FieldError::new("spec.spent.budget", problem).into());
            }
        }
        if capacity.is_zero() {
            let problem = match composition {
                Composition::Basic => "allows nothing: epsilon must be above 0",
                Composition::Renyi(_) => {
                    "allows nothing at any Renyi order: epsilon must be above ln(1/delta) / (order - 1) at one at least"
                }
            };
            return Err(FieldError::new(FIELD, problem).into());
        }
        Ok(capacity)
    }

    /// Returns what was spent of the budget before the block came, rounded up.
    pub fn spent(&self, composition: &Composition) -> Result<Option<Budget>, FieldErrors> {
        const FIELD: &str = "spec.spent";
        let Some(spent) = &self.spent else {
            return Ok(None);
        };
        let characters = spent.reason.chars().count();
        if spent.reason.trim().is_empty() || characters > MOST_REASON {
            let problem = format!("has {characters} characters: write 1 to {MOST_REASON} that say by what");
            return Err(FieldError::new(format!("{FIELD}.reason"), problem).into());
        }
        let budget = budget_request(&format!("{FIELD}.budget"), &spent.budget)?;
        if budget.needs_records() {
            let problem =
                "depends on how many records are drawn from: write a sample-rate in place of the batch-size";
            return Err(FieldError::new(format!("{FIELD}.budget.mechanism"), problem).into());
        }
        let demand = budget.demand(composition);
        let demand = demand.map_err(|problem| FieldError::new(format!("{FIELD}.budget"), problem))?;
        Ok(Some(demand))
    }

    /// Returns when the block is retired; none if only when its object is deleted.
    pub fn retires(&self) -> Result<Option<Time>, FieldError> {
        let parse = |text: &String| parse_rfc3339(text).ok_or_else(|| not_a_time("spec.retires", text));
        self.retires.as_ref().map(parse).transpose()
    }

    /// Returns the dimensions that selectors read.
    #[must_use]
    pub fn dimensions(&self) -> Dimensions {
        self.dimensions
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}
