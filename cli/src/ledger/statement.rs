//! `kubectl privacy ledger statement`: who consumed what of a block, or what a namespace consumed of all blocks, when and for
//! what. What a privacy officer signs: exact integers, whose sum is compared with the account of the block.

mod account;
mod report;

use std::collections::HashMap;

use anyhow::{Result, bail};
use clap::Args;
use kube::api::ListParams;
use privatekube_api::{
    DatasetKey, PrivacyBudgetClaim, PrivateDataBlock, Subject, is_label_name, is_object_name,
};
use privatekube_backup::Reading;
use privatekube_policy::{BlockId, ClaimId};
use privatekube_view::DatasetObjects;
use serde::Serialize;

use super::{LedgerOptions, spent_before::SpentBefore};
use crate::{
    amounts::Amount,
    cluster::{Cluster, ClusterOptions},
    exit::Exit,
    output::OutputOption,
    state::Source,
};
use account::Account;

pub(crate) const HELP: &str = "\
The ledger has amounts, and not what they were for: that is read from the claims' objects, as long as they exist. What was
spent of a block before it came to the ledger is read from its object. All digits are shown, and the sum is compared with the
account of each block, to the digit.

Examples:
  kubectl privacy ledger statement block/taxi-2026-11-19 -n data
  kubectl privacy ledger statement namespace/research -A
  kubectl privacy ledger statement block/taxi-2026-11-19 --dataset data/taxi --file export.jsonl -o json

Exit status: 0 the sums are right, 5 a sum or a ledger is wrong.";

/// Tells who consumed what of a block, or what a namespace consumed, when and for what.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Statement {
    /// block/NAME or namespace/NAME.
    #[arg(value_name = "OF", value_parser = of)]
    of: Of,
    /// The dataset. Default: that of the block's object; for a namespace, all of -n, -A or the file.
    #[arg(long, value_name = "DATASET")]
    dataset: Option<String>,
    #[command(flatten)]
    ledger: LedgerOptions,
}

/// What a statement is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Block(String),
    Namespace(String),
}

fn of(text: &str) -> Result<Of, String> {
    let (kind, name) = text.split_once('/').unwrap_or(("block", text));
    match kind {
        "block" | "blocks" | "pb" | "privatedatablock" if is_object_name(name) => {
            Ok(Of::Block(name.to_owned()))
        }
        "namespace" | "namespaces" | "ns" if is_label_name(name) => Ok(Of::Namespace(name.to_owned())),
        _ => Err("write block/NAME or namespace/NAME".to_owned()),
    }
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    /// `block taxi-2026-11-19` or `namespace research`.
    of: String,
    is_right: bool,
    ledgers: Vec<OfLedger>,
}

/// What one ledger says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OfLedger {
    dataset: String,
    /// The entry of the checkpoint whose state is the opening balance, where entries before it were removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    opening: Option<u64>,
    /// The last entry, with its hash and time: what the statement is of.
    entries: u64,
    hash: String,
    as_of: String,
    /// What was consumed, in the order of the ledger.
    rows: Vec<Row>,
    /// The sums of each block.
    blocks: Vec<OfBlock>,
}

/// What a claim consumed of a block in an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    entry: u64,
    time: String,
    block: String,
    /// `pod data/train-x7k2p`; none for what was written off.
    claim: Option<String>,
    /// The claim's name in the ledger.
    id: Option<String>,
    /// `consumed`, `consumedUntilThen` in an opening balance, `returned` because the pod never ran, `writtenOff`, or `spentBefore` the block came, which isn't part of the sum.
    what: &'static str,
    /// What it was for, by the claim's object, or what the block's object says.
    request: Option<String>,
    amounts: Vec<Amount>,
    #[serde(skip)]
    units: Vec<i128>,
}

/// The sums of a block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct OfBlock {
    block: String,
    /// The sum of the rows.
    sum: Vec<Amount>,
    /// What the block's account says is consumed, by all.
    consumed: Vec<Amount>,
    /// All that it may ever consume.
    total: Vec<Amount>,
    /// Whether the sum is the account's, to the digit; none for a namespace, whose part it is.
    is_equal: Option<bool>,
    /// What was spent before the block came to this ledger, if its object states it; none for a namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    spent_before: Option<SpentBefore>,
    #[serde(skip)]
    shown: Shown,
}

/// The amounts that tables show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shown {
    at: usize,
    coordinate: String,
    sum: String,
    consumed: String,
    total: String,
    spent_before: String,
    guaranteed: String,
}

impl Statement {
    pub(super) async fn run(self, cluster: &ClusterOptions, output: OutputOption) -> Result<Exit> {
        let (mut source, connected) = self.ledger.source(cluster).await?;
        let datasets = self
            .datasets(&source, connected.as_ref(), cluster.namespace.as_deref())
            .await?;
        let mut ledgers = Vec::new();
        for dataset in datasets {
            let requests = match &connected {
                Some(cluster) => requests(cluster, &dataset, &self.of).await?,
                None => HashMap::new(),
            };
            let mut account = Account::new(self.of.clone(), requests);
            let replay = source
                .read(&dataset, |reading| match reading {
                    Reading::Base(replay) => account.begin(replay),
                    Reading::Entry(entry, committed, replay) => account.entry(entry, committed, replay),
                    _ => {}
                })
                .await?;
            // Whoever may read the ledger alone gets a statement of the ledger alone.
            let objects = match &self.of {
                Of::Block(_) => source.objects(&dataset).await.unwrap_or_default(),
                Of::Namespace(_) => DatasetObjects::default(),
            };
            ledgers.extend(account.end(&dataset, &replay, &objects));
        }
        if ledgers.is_empty() {
            bail!("no ledger has {}", self.of.text());
        }
        let is_right = ledgers
            .iter()
            .flat_map(|ledger| &ledger.blocks)
            .all(OfBlock::is_right);
        output.print(&Answer {
            of: self.of.text(),
            is_right,
            ledgers,
        })?;
        Ok(if is_right { Exit::Done } else { Exit::Wrong })
    }

    async fn datasets(
        &self,
        source: &Source,
        cluster: Option<&Cluster>,
        namespace: Option<&str>,
    ) -> Result<Vec<DatasetKey>> {
        let named: Vec<String> = self.dataset.iter().cloned().collect();
        if let (Of::Block(block), Some(cluster), true) = (&self.of, cluster, named.is_empty())
            && let Some(object) = cluster.get::<PrivateDataBlock>(&cluster.namespace, block).await?
        {
            return Ok(vec![DatasetKey {
                namespace: cluster.namespace.clone(),
                name: object.spec.dataset,
            }]);
        }
        self.ledger.datasets(source, &named, namespace).await
    }
}

impl Of {
    fn text(&self) -> String {
        match self {
            Self::Block(name) => format!("block {name}"),
            Self::Namespace(name) => format!("namespace {name}"),
        }
    }

    fn has_claim(&self, id: &ClaimId) -> bool {
        match self {
            Self::Block(_) => true,
            Self::Namespace(name) => Subject::of(id).is_some_and(|subject| subject.namespace == *name),
        }
    }

    fn has_group(&self, group: Option<&str>) -> bool {
        match self {
            Self::Block(_) => true,
            Self::Namespace(name) => group == Some(name),
        }
    }

    fn has_block(&self, block: &BlockId) -> bool {
        match self {
            Self::Block(name) => block.as_str() == name,
            Self::Namespace(_) => true,
        }
    }
}

/// What the claims whose objects exist were for, as far as the objects may be read.
async fn requests(cluster: &Cluster, dataset: &DatasetKey, of: &Of) -> Result<HashMap<ClaimId, String>> {
    let namespace = match of {
        Of::Namespace(name) => Some(name.as_str()),
        Of::Block(_) if cluster.may("list", "privacybudgetclaims", "").await? => None,
        Of::Block(_) => Some(dataset.namespace.as_str()),
    };
    let claims = cluster
        .list::<PrivacyBudgetClaim>(namespace, &ListParams::default())
        .await;
    let claims = claims.unwrap_or_default();
    let named = claims
        .iter()
        .filter_map(|claim| Some((Subject::of_object(claim)?.id(), request(claim)?)));
    Ok(named.collect())
}

/// What a claim's object requests, in a few words.
fn request(claim: &PrivacyBudgetClaim) -> Option<String> {
    let budget = claim.spec.budget.as_ref()?;
    if let Some(mechanism) = &budget.mechanism {
        return Some(mechanism.clone());
    }
    let (epsilon, delta) = (budget.amount.epsilon.as_ref()?, budget.amount.delta.as_ref()?);
    Some(format!("epsilon {epsilon}, delta {delta}"))
}

impl OfBlock {
    fn is_right(&self) -> bool {
        self.is_equal != Some(false) && self.spent_before.as_ref().is_none_or(|before| before.is_equal)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use privatekube_ledger::Replay;
    use privatekube_policy::{Event, Mechanism};
    use serde_json::json;

    use super::*;
    use crate::fixture::{
        add_block, arrival, at_checkpoint, consume, dataset, entries, events, id, key, objects, rules,
    };
    use crate::output::{Form, Report as _};

    /// The statement of a ledger in which small (of namespace data) is consumed, another one never ran, and then all is
    /// written off.
    async fn statement(of: Of) -> (Answer, Vec<i128>) {
        let mut lists = events();
        lists.push(vec![consume("small"), arrival("tiny", "gaussian(sigma=30)")]);
        lists.push(vec![consume("tiny")]);
        lists.push(vec![Event::NeverRan { claim: id("tiny") }]);
        lists.push(vec![Event::WriteOff {
            after: 6,
            unknown_blocks: Vec::new(),
            reason: "lost".to_owned(),
        }]);
        let requests = [(id("small"), "gaussian(sigma=4)".to_owned())].into();
        let mut account = Account::new(of.clone(), requests);
        let mut replay = Replay::new();
        for entry in entries(lists).await {
            let committed = replay.push(&entry).unwrap();
            account.entry(&entry, &committed, &replay);
        }
        let consumed = replay.engine().unwrap().block(&"b1".into()).unwrap().consumed;
        let ledgers: Vec<OfLedger> = account
            .end(&key(), &replay, &objects(&["b1", "b2"]))
            .into_iter()
            .collect();
        let is_right = ledgers
            .iter()
            .flat_map(|ledger| &ledger.blocks)
            .all(OfBlock::is_right);
        let answer = Answer {
            of: of.text(),
            is_right,
            ledgers,
        };
        (answer, consumed)
    }

    #[tokio::test]
    async fn the_rows_of_a_block_add_up_to_what_is_consumed() {
        let (answer, consumed) = statement(Of::Block("b1".to_owned())).await;
        assert!(answer.is_right);
        let rows = &answer.ledgers[0].rows;
        let what: Vec<&str> = rows.iter().map(|row| row.what).collect();
        assert_eq!(what, ["consumed", "consumed", "returned", "writtenOff"]);
        for (at, consumed) in consumed.iter().enumerate() {
            assert_eq!(rows.iter().map(|row| row.units[at]).sum::<i128>(), *consumed);
        }
        let text = answer.text(Form::default());
        assert!(
            text.contains("    4   2026-11-30T10:03:00Z   claim data/small   consumed              b1"),
            "{text}"
        );
        assert!(text.ends_with("The sums are right, to the digit.\n"), "{text}");
    }

    /// The statement of a block that came with a cost of Laplace noise, of which small then consumed; its object now states
    /// `stated`.
    async fn of_imported(stated: &str) -> OfLedger {
        let block: PrivateDataBlock = serde_json::from_value(json!({
            "apiVersion": "privatekube.dev/v1alpha1",
            "kind": "PrivateDataBlock",
            "metadata": {"namespace": "data", "name": "b1", "uid": "b1"},
            "spec": {"dataset": "taxi", "spent": {
                "budget": {"mechanism": "2*laplace(scale=3)"}, "reason": "the OSDI system"}},
        }))
        .unwrap();
        let guarantee = dataset().spec.guarantee().unwrap();
        let capacity = block.spec.capacity(&rules().composition, guarantee).unwrap();
        let mut lists = events();
        lists[0] = vec![
            Event::AddBlock {
                block: "b1".into(),
                capacity,
            },
            add_block("b2"),
        ];
        lists.push(vec![consume("small")]);
        let mut block = block;
        block.spec.spent.as_mut().unwrap().budget.mechanism = Some(stated.to_owned());
        let mut objects = objects(&["b2"]);
        objects.add_block(Arc::new(block));
        let mut account = Account::new(Of::Block("b1".to_owned()), HashMap::new());
        let mut replay = Replay::new();
        for entry in entries(lists).await {
            let committed = replay.push(&entry).unwrap();
            account.entry(&entry, &committed, &replay);
        }
        account.end(&key(), &replay, &objects).unwrap()
    }

    #[tokio::test]
    async fn what_a_block_came_with_is_listed_and_adds_up() {
        let ledger = of_imported("2*laplace(scale=3)").await;
        let what: Vec<(u64, &str)> = ledger.rows.iter().map(|row| (row.entry, row.what)).collect();
        assert_eq!(what, [(1, "spentBefore"), (4, "consumed")]);
        assert_eq!(ledger.rows[0].request.as_deref(), Some("the OSDI system"));
        let [block] = &ledger.blocks[..] else {
            panic!("{ledger:?}");
        };
        assert!(block.is_right());
        let before = block.spent_before.as_ref().unwrap();
        let mechanism: Mechanism = "2*laplace(scale=3)".parse().unwrap();
        let spent = mechanism.demand(&rules().composition).unwrap();
        let whole = rules()
            .composition
            .capacity("10".parse().unwrap(), "1e-7".parse().unwrap());
        for (at, (units, whole)) in spent.units().iter().zip(whole.unwrap().units()).enumerate() {
            assert_eq!(before.units[at], i128::from(*units));
            assert_eq!(before.guaranteed_units[at], i128::from(*whole));
            // The rows without that one are what the ledger's account has.
            assert_eq!(ledger.rows[1].amounts[at], block.consumed[at]);
        }
        let text = ledger.text(Form::default());
        assert!(text.contains("   spent before it came   b1"), "{text}");
        assert!(text.contains("   the OSDI system\n"), "{text}");
        let sums: Vec<&str> = text
            .lines()
            .last()
            .unwrap_or_default()
            .split_whitespace()
            .collect();
        assert_eq!(
            sums[sums.len() - 3..],
            ["7.208671173895", "0.48874373311", "7.697414907005"]
        );
        let wide = ledger.text(Form {
            wide: true,
            ..Form::default()
        });
        assert_eq!(
            wide.lines().filter(|line| line.starts_with("b1 ")).count(),
            3,
            "{wide}"
        );
    }

    #[tokio::test]
    async fn a_block_whose_object_states_another_cost_than_the_ledger_is_wrong() {
        let ledger = of_imported("3*laplace(scale=3)").await;
        assert!(!ledger.blocks[0].is_right());
    }

    #[tokio::test]
    async fn a_namespace_s_part_has_its_own_claims_alone() {
        let (answer, _) = statement(Of::Namespace("data".to_owned())).await;
        assert_eq!(answer.ledgers[0].rows.len(), 3);
        assert_eq!(answer.ledgers[0].blocks[0].is_equal, None);
        let (answer, _) = statement(Of::Namespace("other".to_owned())).await;
        assert!(answer.ledgers.is_empty());
    }

    #[test]
    fn what_a_statement_is_of_is_read() {
        assert_eq!(of("b1"), Ok(Of::Block("b1".to_owned())));
        assert_eq!(of("ns/research"), Ok(Of::Namespace("research".to_owned())));
        assert!(of("pod/x").is_err());
    }

    /// A statement that begins with a checkpoint, at whichever entry, adds up to the same account.
    #[tokio::test]
    async fn an_opening_balance_adds_up() {
        let mut lists = events();
        lists.push(vec![consume("small"), arrival("tiny", "gaussian(sigma=30)")]);
        lists.push(vec![consume("tiny")]);
        lists.push(vec![Event::Forget {
            claims: vec![id("small")],
            of: Some("data".into()),
        }]);
        lists.push(vec![Event::NeverRan { claim: id("tiny") }]);
        lists.push(vec![Event::WriteOff {
            after: 7,
            unknown_blocks: Vec::new(),
            reason: "lost".to_owned(),
        }]);
        lists.push(vec![add_block("b3")]);
        let entries = entries(lists).await;
        for of in [Of::Block("b1".to_owned()), Of::Namespace("data".to_owned())] {
            let mut sums = Vec::new();
            for at in 0..entries.len() as u64 {
                let mut account = Account::new(of.clone(), HashMap::new());
                let mut replay = Replay::new();
                if at > 0 {
                    replay = at_checkpoint(&entries, at);
                    account.begin(&replay);
                }
                for entry in entries.iter().filter(|entry| entry.sequence > at) {
                    let committed = replay.push(entry).unwrap();
                    account.entry(entry, &committed, &replay);
                }
                let ledger = account.end(&key(), &replay, &DatasetObjects::default()).unwrap();
                assert!(
                    ledger.blocks.iter().all(OfBlock::is_right),
                    "{of:?} {at}: {ledger:?}"
                );
                let opening = ledger.rows.iter().any(|row| row.what == "consumedUntilThen");
                assert_eq!(opening, at >= 4, "{of:?} {at}");
                assert_eq!(ledger.opening, (at > 0).then_some(at));
                let sum: Vec<_> = ledger.blocks.iter().filter(|block| block.block == "b1").collect();
                sums.push(sum[0].sum.clone());
            }
            assert!(sums.windows(2).all(|two| two[0] == two[1]), "{of:?}: {sums:?}");
        }
    }
}
