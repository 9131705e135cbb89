//! PrivateDataset: the rules of one dataset.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use privatekube_policy::{
    Composition, DatasetRules, DatasetRulesError, Delta, Epsilon, Order, Orders, Revision, Span, Unlocking,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BlendSpec, BlocksSpec, ClaimantsSpec, Decimal, DimensionSpec, DpackSpec, Duration, FcfsSpec, FieldError,
    FieldErrors, Guarantee, NamespaceWeight, PolicyName, Recovery, RecoverySpec, request::keep,
};

/// The rules of one dataset: how its blocks' budget unlocks, how budgets add up, and in which order claims
/// are granted. The policy with its parameters, unlocking, composition and orders never change: other rules
/// need another dataset.
#[derive(Clone, Debug, PartialEq, Eq, CustomResource, KubeSchema, Serialize, Deserialize)]
#[kube(
    group = "privatekube.dev",
    version = "v1alpha1",
    kind = "PrivateDataset",
    namespaced,
    shortname = "pds",
    category = "privatekube",
    status = "PrivateDatasetStatus",
    derive = "PartialEq",
    doc = "The rules by which the privacy budget of a dataset is scheduled. The dataset's portions are PrivateDataBlocks \
           in the same namespace; PrivacyBudgetClaims request budget on them.",
    validation = Rule::new("self.metadata.name.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$')").message(
        "a dataset's name is at most 63 lower-case letters, digits and '-', like taxi"),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policy", description = "The order in which claims are granted."),
    printcolumn(
        name = "Composition", type_ = "string", json_path = ".spec.composition",
        description = "How budgets add up."
    ),
    printcolumn(
        name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether the rules in spec are in use."
    ),
    printcolumn(name = "Blocks", type_ = "integer", json_path = ".status.blocks", description = "Its blocks."),
    printcolumn(
        name = "Waiting", type_ = "integer", json_path = ".status.waiting",
        description = "Claims not decided yet."
    ),
    printcolumn(
        name = "Granted", type_ = "integer", json_path = ".status.granted",
        description = "Claims that were ever granted."
    ),
    printcolumn(
        name = "LastBlock", type_ = "string", json_path = ".status.lastBlock.name",
        description = "The last block that came by itself."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Ledger", type_ = "integer", json_path = ".status.ledgerSequence", priority = "1",
        description = "The number of the ledger entry that the counts are of."
    ),
    printcolumn(
        name = "Message", type_ = "string", json_path = ".status.summary", priority = "1",
        description = "Whether the rules in spec are in use, and if not, why. kubectl describe has all of a long one."
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.policy == oldSelf.policy").message(
        "policy never changes: make another dataset").field_path(".policy"),
    validation = Rule::new("has(self.fcfs) == has(oldSelf.fcfs) && (!has(self.fcfs) || self.fcfs == oldSelf.fcfs)")
        .message("fcfs never changes: make another dataset").field_path(".fcfs"),
    validation = Rule::new("has(self.dpack) == has(oldSelf.dpack) && (!has(self.dpack) || self.dpack == oldSelf.dpack)")
        .message("dpack never changes: make another dataset").field_path(".dpack"),
    validation = Rule::new("has(self.blend) == has(oldSelf.blend) && (!has(self.blend) || self.blend == oldSelf.blend)")
        .message("blend never changes: make another dataset").field_path(".blend"),
    validation = Rule::new("!has(self.fcfs) || self.policy == 'FCFS'").message(Message::Expression(
        "'goes with policy FCFS, and policy is ' + self.policy + ': leave it out, or set policy: FCFS'".into()))
        .field_path(".fcfs"),
    validation = Rule::new("!has(self.dpack) || self.policy == 'DPack'").message(Message::Expression(
        "'goes with policy DPack, and policy is ' + self.policy + ': leave it out, or set policy: DPack'".into()))
        .field_path(".dpack"),
    validation = Rule::new("!has(self.blend) || self.policy == 'Blend'").message(Message::Expression(
        "'goes with policy Blend, and policy is ' + self.policy + ': leave it out, or set policy: Blend'".into()))
        .field_path(".blend"),
    validation = Rule::new("self.policy != 'Blend' || has(self.blend)").message(
        "policy Blend needs the part that goes by DPF: write blend: {fairness: \"0.5\"}").field_path(".blend"),
    validation = Rule::new("self.policy != 'RoundRobin' || self.composition == 'Basic'").message(
        "policy RoundRobin needs composition: Basic, since a Renyi curve can't be divided order by order")
        .field_path(".composition"),
    validation = Rule::new("!has(self.weights) || self.weights.size() == 0 || self.policy in ['DPF', 'DPack', 'Blend']")
        .message(Message::Expression(
        "'weights count with policy DPF, DPack and Blend, and policy is ' + self.policy + ': leave them out'".into()))
        .field_path(".weights"),
    validation = Rule::new("!has(oldSelf.privacyUnit) || (has(self.privacyUnit) && self.privacyUnit == oldSelf.privacyUnit)")
        .message("privacyUnit never changes once it is stated: claims were granted with it").field_path(".privacyUnit"),
    validation = Rule::new("self.unlocking == oldSelf.unlocking").message(
        "unlocking never changes: make another dataset").field_path(".unlocking"),
    validation = Rule::new("self.composition == oldSelf.composition").message(
        "composition never changes: make another dataset").field_path(".composition"),
    validation = Rule::new(
        "has(self.orders) == has(oldSelf.orders) && (!has(self.orders) || self.orders == oldSelf.orders)").message(
        "orders never change: make another dataset").field_path(".orders"),
    validation = Rule::new("!has(self.orders) || self.composition == 'Renyi'").message(
        "orders are of Renyi composition: leave them out, or set composition: Renyi").field_path(".orders"),
    validation = Rule::new(
        "!has(self.timeDimension) || \
         (has(self.dimensions) && self.dimensions.exists(declared, declared.name == self.timeDimension))").message(
        "timeDimension is one of dimensions: declare it there, with its type").field_path(".timeDimension"),
)]
pub struct PrivateDatasetSpec {
    /// The order in which claims are granted, each its whole budget or nothing. DPF (Dominant Private Block
    /// Fairness): the claim whose largest share of any block is smallest first. FCFS: in order of arrival.
    /// RoundRobin: unlocked budget is divided among the waiting claims; with Basic composition only. DPack:
    /// the claim that costs least for its weight first, so that many are granted. Blend: a part by DPF, the
    /// rest by DPack; needs blend. Never changes.
    #[serde(default)]
    pub policy: PolicyName,
    /// Parameters of policy FCFS. With that policy only. Never changes. Example: {refusing: true}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "FcfsSpec")]
    pub fcfs: Option<FcfsSpec>,
    /// Parameters of policy DPack. With that policy only. Never changes. Example: {recomputeAfter: 100}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DpackSpec")]
    pub dpack: Option<DpackSpec>,
    /// Parameters of policy Blend. With that policy only, and required there. Never changes. Example:
    /// {fairness: "0.5"}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BlendSpec")]
    pub blend: Option<BlendSpec>,
    /// The weights of the claims of at most 1000 namespaces; claims of other namespaces have weight 1. Twice
    /// the weight halves a claim's share under DPF, and doubles what granting it is worth under DPack. With
    /// policies DPF, DPack and Blend only. May change: the change counts for claims that arrive later.
    /// Example: [{namespace: team-a, weight: 3}].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 1000),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["namespace"])
    )]
    pub weights: Vec<NamespaceWeight>,
    /// Which namespaces may claim, and up to which priority. If absent: the dataset's own namespace, up to
    /// priority 0. May change: the change counts for claims that arrive later, and nothing that is granted is
    /// taken away. Example: {from: Selected, namespaces: [research, reports]}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ClaimantsSpec")]
    pub claimants: Option<ClaimantsSpec>,
    /// Whether pods whose containers may start again are accepted. AsStated: those that state by the annotation
    /// privatekube.dev/restarts: free that a restart spends nothing new. Forbidden: none, so every pod needs
    /// restartPolicy: Never. May change: the change counts for pods that are created later.
    #[serde(default)]
    pub restarts: Restarts,
    /// How a block's budget becomes available. Exactly one of arrivals, lifetime and immediate. Never
    /// changes.
    pub unlocking: UnlockingSpec,
    /// How budgets add up: Renyi (Renyi curves are summed, far tighter for many claims) or Basic (epsilons
    /// and deltas are summed). Never changes.
    #[serde(default)]
    pub composition: CompositionName,
    /// The Renyi orders (alpha) at which budget is accounted, each above 1, an integer or a decimal in quotes
    /// with at most 6 decimals. With composition Renyi only. If absent: 1.5, 1.75, 2, 2.5, 3, 4, 5, 6, 8, 16,
    /// 32, 64. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<Decimal>", length(min = 1, max = 32))]
    pub orders: Option<Vec<Decimal>>,
    /// The total (epsilon, delta) of each block that states no initialBudget. Example: {epsilon: 10, delta:
    /// "1e-7"}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Guarantee")]
    pub guarantee: Option<Guarantee>,
    /// The dimensions that each block has, at most 32, each with the type of its values. A block that misses one, or has
    /// another type, is refused; it may have further ones. May change: the change counts for blocks that are
    /// created and claims that are matched later. Example: [{name: day, type: Integer}].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub dimensions: Vec<DimensionSpec>,
    /// Which of the dimensions says how new a block is, for claims on the newest blocks: the greatest value is the
    /// newest (of strings, numbers in them count as numbers). If absent, and for equal values: the block whose
    /// object was created last, and of these the one whose name comes last. May change: the change counts for
    /// claims that are matched later. Example: day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", length(min = 1, max = 63))]
    pub time_dimension: Option<String>,
    /// How long a claim that states no timeout waits at most, as numbers with units ms, s, m, h or d. Without
    /// limit if absent. Example: 1h30m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration")]
    pub timeout: Option<Duration>,
    /// What becomes of a pod whose own claim is denied or expires. Keep: it stays, and never runs. Delete: it is deleted, with
    /// an Event on it and on its controller, so that a Job fails and a CronJob goes on. May change. Default: Keep.
    #[serde(default)]
    pub refused_pods: RefusedPods,
    /// How the dataset goes on when it is stopped because its ledger lost entries, or is dated ahead; the condition Ready says
    /// what to write. Example: {writeOffAfter: 41, reason: etcd was restored from a backup}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "RecoverySpec")]
    pub recovery: Option<RecoverySpec>,
    /// How blocks come by themselves: one for each hour, day or week, or for each bucket of users. May change: the change counts
    /// for periods that begin after that of the last block, so that no portion of the data gets a second budget. Example: {daily: {from: "2026-11-01"}}.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "BlocksSpec")]
    pub blocks: Option<BlocksSpec>,
    /// What differs between two sets of data that a claim's budget makes hard to tell apart. Event: one record. User: all that one
    /// user ever gives. UserTime: all that one user gives in the period of one block. It is stated in grants, and whoever computes
    /// has to bound what one such unit adds accordingly. Once stated, it never changes. Example: User.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "PrivacyUnit")]
    pub privacy_unit: Option<PrivacyUnit>,
}

/// What differs between two sets of data that are hard to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PrivacyUnit {
    /// One record.
    Event,
    /// All records of one user.
    User,
    /// All records of one user in one period.
    UserTime,
}

/// What becomes of a pod whose own claim is denied or expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RefusedPods {
    /// It stays, and never runs.
    #[default]
    Keep,
    /// It is deleted.
    Delete,
}

/// Whether a dataset accepts pods whose containers may start again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Restarts {
    /// Those that state that a restart spends nothing new.
    #[default]
    AsStated,
    /// None.
    Forbidden,
}

/// How budgets add up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CompositionName {
    /// Renyi curves are summed.
    #[default]
    Renyi,
    /// Epsilons and deltas are summed.
    Basic,
}

/// How a block's budget becomes available.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new(
        "[has(self.arrivals), has(self.lifetime), has(self.immediate)].filter(given, given).size() == 1").message(
        "give exactly one of arrivals, lifetime and immediate"),
    validation = Rule::new("!has(self.tick) || has(self.lifetime)").message("tick goes with lifetime only"),
)]
pub struct UnlockingSpec {
    /// Each claim that arrives for a block unlocks one N-th of its budget; this is N, 1 or more. Example:
    /// 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u32", range(min = 1, max = 1_000_000_000))]
    pub arrivals: Option<u32>,
    /// A block's budget unlocks evenly over this time from the block's arrival, as numbers with units ms, s,
    /// m, h or d. Example: 720h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration")]
    pub lifetime: Option<Duration>,
    /// The time between two steps of unlocking by lifetime, as numbers with units ms, s, m, h or d. If
    /// absent: a thousandth of lifetime, but at least 1s. Example: 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Duration")]
    pub tick: Option<Duration>,
    /// The whole budget of a block is available at once. Only true is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "bool")]
    #[x_kube(validation = Rule::new("self").message("only true is accepted: leave it out for false"))]
    pub immediate: Option<bool>,
}

/// A dataset's state after a ledger entry. Derived from its ledger, and a moment behind it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrivateDatasetStatus {
    /// Ready: the dataset's ledger is open, and its claims are decided by the rules in spec; if not, why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::schema::conditions")]
    pub conditions: Vec<Condition>,
    /// The beginning of the condition's message, for lists: at most 160 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub summary: Option<String>,
    /// The number of the ledger entry that the counts are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub ledger_sequence: Option<u64>,
    /// How many blocks it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub blocks: Option<u64>,
    /// How many claims are not decided yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub waiting: Option<u64>,
    /// How many claims were ever granted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub granted: Option<u64>,
    /// The number of the ledger entry after which all budget was written off last, because the entries after it were lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub written_off_after: Option<u64>,
    /// The last block that came by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "LastBlock")]
    pub last_block: Option<LastBlock>,
}

/// The last block that came by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct LastBlock {
    /// Its name.
    pub name: String,
    /// The end of its period: the next block is of a period that begins then or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub end: Option<String>,
    /// How many users have blocks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "u64")]
    pub users: Option<u64>,
}

/// How many steps a lifetime has if no tick is given.
const DEFAULT_STEPS: u64 = 1000;
/// The shortest tick if none is given.
const DEFAULT_TICK: Span = Span::from_secs(1);

impl PrivateDatasetSpec {
    /// Checks the whole spec and returns the dataset's rules, or all that is wrong with it.
    pub fn check(&self) -> Result<DatasetRules, FieldErrors> {
        let mut errors = Vec::new();
        let policy = keep(self.policy(), &mut errors);
        let unlocking = keep(self.unlocking.parse(), &mut errors);
        let composition = keep(self.composition(), &mut errors);
        let rules = if policy.is_some() && unlocking.is_some() && composition.is_some() {
            keep(self.rules(), &mut errors)
        } else {
            None
        };
        let guarantee = keep(self.guarantee(), &mut errors).flatten();
        if let (Some(composition), Some((epsilon, delta))) = (composition, guarantee) {
            keep(allows_something(&composition, epsilon, delta), &mut errors);
        }
        keep(self.timeout(), &mut errors);
        keep(self.weights(), &mut errors);
        keep(self.claimants(), &mut errors);
        keep(self.recovery(), &mut errors);
        keep(self.declared_dimensions(), &mut errors);
        keep(self.block_schedule(), &mut errors);
        FieldErrors::unless_empty(errors, rules)
    }

    /// Returns the rules, with which the dataset's engine is created.
    pub fn rules(&self) -> Result<DatasetRules, FieldErrors> {
        let rules = DatasetRules {
            policy: self.policy()?,
            unlocking: self.unlocking.parse()?,
            composition: self.composition()?,
            revision: Revision::CURRENT,
        };
        match rules.check() {
            Ok(()) => Ok(rules),
            Err(problem) => Err(rules_error(&problem, rules.unlocking).into()),
        }
    }

    /// Returns the total of each block that states no initial budget.
    pub fn guarantee(&self) -> Result<Option<(Epsilon, Delta)>, FieldErrors> {
        self.guarantee
            .as_ref()
            .map(|guarantee| guarantee.parse("spec.guarantee"))
            .transpose()
    }

    /// Returns how long a claim that states no timeout waits.
    pub fn timeout(&self) -> Result<Option<Span>, FieldError> {
        self.timeout
            .as_ref()
            .map(|timeout| timeout.span("spec.timeout"))
            .transpose()
    }

    /// Returns how the dataset goes on after its ledger lost entries, if that is stated.
    pub fn recovery(&self) -> Result<Option<Recovery>, FieldError> {
        self.recovery.as_ref().map(RecoverySpec::parse).transpose()
    }

    fn composition(&self) -> Result<Composition, FieldErrors> {
        match (self.composition, &self.orders) {
            (CompositionName::Basic, None) => Ok(Composition::Basic),
            (CompositionName::Basic, Some(_)) => Err(FieldError::new(
                "spec.orders",
                "orders are of Renyi composition: leave them out, or set composition: Renyi",
            )
            .into()),
            (CompositionName::Renyi, None) => Ok(Composition::Renyi(Orders::default())),
            (CompositionName::Renyi, Some(orders)) => {
                let mut errors = Vec::new();
                let parsed = orders
                    .iter()
                    .enumerate()
                    .map(|(at, order)| keep(order.order(&format!("spec.orders[{at}]")), &mut errors));
                // Each is looked at, also after one that is wrong.
                let parsed: Vec<Option<Order>> = parsed.collect();
                let orders =
                    FieldErrors::unless_empty(errors, parsed.into_iter().collect::<Option<Vec<_>>>())?;
                let orders = Orders::new(orders);
                Ok(Composition::Renyi(
                    orders.map_err(|problem| FieldError::new("spec.orders", problem))?,
                ))
            }
        }
    }
}

/// Checks that blocks with this guarantee have any budget.
fn allows_something(composition: &Composition, epsilon: Epsilon, delta: Delta) -> Result<(), FieldError> {
    let refusal = match composition.capacity(epsilon, delta) {
        Ok(capacity) if capacity.is_zero() => {
            "allows nothing at any coordinate: epsilon must be larger".to_owned()
        }
        Ok(_) => return Ok(()),
        Err(problem) => problem.to_string(),
    };
    Err(FieldError::new("spec.guarantee", refusal))
}

/// Turns an error of the rules into one of the field that causes it.
fn rules_error(problem: &DatasetRulesError, unlocking: Unlocking) -> FieldError {
    let field = match problem {
        DatasetRulesError::RoundRobinRenyi => {
            return FieldError::new(
                "spec.composition",
                "policy RoundRobin needs composition: Basic, since a Renyi curve can't be divided order by order",
            );
        }
        DatasetRulesError::TooManyTicks => {
            let ticks = match unlocking {
                Unlocking::Lifetime { lifetime, tick } => lifetime.micros() / tick.micros().max(1),
                Unlocking::Arrivals(_) | Unlocking::Immediate => 0,
            };
            return FieldError::new(
                "spec.unlocking.tick",
                format_args!(
                    "makes {ticks} ticks of the lifetime: policy RoundRobin takes at most 1000000, so write a longer \
                     tick"
                ),
            );
        }
        DatasetRulesError::NoArrivals => "spec.unlocking.arrivals",
        DatasetRulesError::NoTick => "spec.unlocking.tick",
        DatasetRulesError::NoRecomputation | DatasetRulesError::TooFair(_) => "spec.policy",
    };
    FieldError::new(field, problem)
}

impl UnlockingSpec {
    fn parse(&self) -> Result<Unlocking, FieldError> {
        const FIELD: &str = "spec.unlocking";
        let tick = match (&self.tick, &self.lifetime) {
            (Some(_), None) => return Err(FieldError::new("spec.unlocking.tick", "goes with lifetime only")),
            (tick, _) => tick,
        };
        match (self.arrivals, &self.lifetime, self.immediate) {
            (Some(0), None, None) => Err(FieldError::new(
                "spec.unlocking.arrivals",
                "0 would never unlock anything: write 1 or more",
            )),
            (Some(arrivals), None, None) => Ok(Unlocking::Arrivals(arrivals)),
            (None, Some(lifetime), None) => {
                let lifetime = lifetime.span("spec.unlocking.lifetime")?;
                let tick = match tick {
                    Some(tick) => tick.span("spec.unlocking.tick")?,
                    None => Span::from_micros(lifetime.micros() / DEFAULT_STEPS).max(DEFAULT_TICK),
                };
                Ok(Unlocking::Lifetime { lifetime, tick })
            }
            (None, None, Some(true)) => Ok(Unlocking::Immediate),
            (None, None, Some(false)) => Err(FieldError::new(
                "spec.unlocking.immediate",
                "only true is accepted: leave it out for false",
            )),
            _ => Err(FieldError::new(
                FIELD,
                "give exactly one of arrivals, lifetime and immediate",
            )),
        }
    }
}
