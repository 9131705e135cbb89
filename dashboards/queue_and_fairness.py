"""The dashboard for whoever runs the cluster: who waits, why, for how long, and whether that is fair."""

from panels import (
    ANY_IS_A_WARNING,
    Column,
    Query,
    Section,
    bar_list,
    build,
    heat,
    lines,
    models,
    stat_panel,
    table_panel,
)
from selection import DATASET, DATASET_LEGEND, DATASETS, of_datasets, or_zero, quantile, rate_of_datasets, variables

UID = "privatekube-queue"

CLAIMANT = f"{DATASET}, claimant"
CLAIMANT_LEGEND = f"{{{{claimant}}}} on {DATASET_LEGEND}"
WAITING = of_datasets("privatekube_waiting_claims", by=CLAIMANT)
OLDEST = f"time() - min by ({CLAIMANT}) (privatekube_oldest_waiting_claim_timestamp_seconds{{{DATASETS}}})"
PHASES = of_datasets("privatekube_claims", by=f"{DATASET}, phase")
LONG_WAITS = [(None, "green"), (3600, "orange"), (86_400, "red")]
NOT_EVEN = [(None, "red"), (0.5, "orange"), (0.8, "green")]
DISAGREE = [(None, "green"), (0.2, "orange"), (0.5, "red")]


def _in_range(metric: str, *matchers: str) -> str:
    return or_zero(f"sum(increase({metric}{{{','.join([DATASETS, *matchers])}}}[$__range]))")


def _a_minute(metric: str, *matchers: str, by: str) -> str:
    return f"{rate_of_datasets(metric, *matchers, by=by)} * 60"


def _overview() -> Section:
    return Section(
        "Now, and in the time that is shown",
        [
            stat_panel(
                "Waiting claims",
                "Claims that are not decided yet. If they keep growing, more is demanded than unlocks.",
                "short",
                or_zero(f"sum({WAITING})"),
            ),
            stat_panel(
                "Oldest waiting claim",
                "How long the claim has waited that waits for longest. `kubectl get pbc -A -o wide` says why; so "
                "does the status page.",
                "dtdurations",
                f"max({OLDEST})",
                steps=LONG_WAITS,
                none="none waits",
                runbook="claims-stuck",
            ),
            stat_panel(
                "Arrived",
                "Claims that arrived in the time that is shown.",
                "short",
                _in_range("privatekube_claim_arrivals_total"),
            ),
            stat_panel(
                "Granted",
                "Claims that were granted in the time that is shown.",
                "short",
                _in_range("privatekube_claim_decisions_total", 'phase="Granted"'),
            ),
            stat_panel(
                "Denied or expired",
                'Claims that ended without a grant in the time that is shown. "Decisions by reason" below says why.',
                "short",
                _in_range("privatekube_claim_decisions_total", 'phase=~"Denied|Expired"'),
                steps=ANY_IS_A_WARNING,
            ),
            stat_panel(
                "Refused by limits",
                "Claims and pods of all datasets that were refused in the time that is shown, because their namespace "
                'makes more than it may. See "Limits reached" below.',
                "short",
                or_zero("sum(increase(privatekube_claims_limited_total[$__range]))"),
                steps=ANY_IS_A_WARNING,
                runbook="claims-limited",
            ),
            stat_panel(
                "Fair claims not granted at once",
                "Claims within their fair share that had to wait, in the time that is shown. Under DPF with "
                "unlocking by arrivals, equal weights and priorities and without releases there is none: report it.",
                "short",
                _in_range("privatekube_fair_claims_total", 'granted="not_at_once"'),
                steps=ANY_IS_A_WARNING,
                runbook="sharing-incentive-violated",
            ),
            stat_panel(
                "Envied grants",
                "Grants that went past a claim which waited longer for the same blocks and demands less, in the "
                "time that is shown. There is none under DPF; under other policies they are the price of what these "
                "aim at.",
                "short",
                _in_range("privatekube_envied_grants_total"),
                steps=ANY_IS_A_WARNING,
                runbook="grant-envied",
            ),
        ],
    )


def _queue() -> Section:
    return Section(
        "The queue",
        [
            lines(
                "Waiting claims by claimant",
                "Claims that wait, by the namespace of the claim or pod. If one namespace fills the queue, look at its "
                "claims; if all grow, more is demanded than unlocks. _other is the sum of namespaces beyond the first "
                "100.",
                "short",
                Query(WAITING, CLAIMANT_LEGEND),
                stacked=True,
                empty=True,
                runbook="backlog-grows",
            ),
            lines(
                "Longest wait by claimant",
                "How long the claim of each namespace has waited that waits for longest. A line that keeps rising is a "
                "claim that nothing frees: `kubectl describe pbc` says what it lacks.",
                "dtdurations",
                Query(OLDEST, CLAIMANT_LEGEND),
                steps=LONG_WAITS,
                empty=True,
                runbook="claims-stuck",
            ),
            table_panel(
                "Claimants",
                "Each namespace on each dataset: how many of its claims wait, for how long, and the largest share "
                "it has of any block. A namespace that waits long with a small share is starved; one with a large "
                "share has had its turn.",
                [
                    Column("claimant", "Claimant"),
                    Column("namespace", "Namespace"),
                    Column("dataset", "Dataset"),
                    Column("A", "Waiting", "short"),
                    Column("B", "Longest wait", "dtdurations", LONG_WAITS),
                    Column("C", "Dominant share", "percentunit"),
                ],
                WAITING,
                OLDEST,
                of_datasets("privatekube_dominant_share", by=CLAIMANT),
                sort="Waiting",
                height=8,
                empty=True,
            ),
        ],
    )


def _decisions() -> Section:
    return Section(
        "Arrivals and decisions",
        [
            lines(
                "Arrivals",
                "Claims that arrived in a minute, by dataset. Where arrivals unlock budget, each unlocks some; without "
                "arrivals nothing unlocks there.",
                "cpm",
                Query(_a_minute("privatekube_claim_arrivals_total", by=DATASET), DATASET_LEGEND),
                empty=True,
            ),
            lines(
                "Decisions by reason",
                "Phases that claims reached in a minute, with the reason. docs/operations.md says what each reason "
                "means and what to do about it: TooLarge claims ask for more than a block can still grant, "
                "NotAllowed ones for a dataset that isn't open to them, TimedOut ones waited for their whole "
                "timeout.",
                "cpm",
                Query(_a_minute("privatekube_claim_decisions_total", by="phase, reason"), "{{phase}}: {{reason}}"),
                stacked=True,
                empty=True,
            ),
            bar_list(
                "Claims by phase",
                "All claims that ever arrived on the chosen datasets, by the phase in which they are.",
                "short",
                Query(f"sum by (phase) ({PHASES})", "{{phase}}"),
            ),
            lines(
                "Limits reached",
                "Claims and pods of all datasets that were refused in a minute: `waiting` if too many of the "
                "namespace wait, `arrivals` if it made too many within a minute, `everywhere` if the cluster did. "
                "Ask the namespace to make fewer, or raise `--namespace-most-waiting` or "
                "`--namespace-most-arrivals`.",
                "cpm",
                Query("sum by (limit) (rate(privatekube_claims_limited_total[$__rate_interval])) * 60", "{{limit}}"),
                stacked=True,
                bars=True,
                empty=True,
                runbook="claims-limited",
            ),
        ],
    )


def _waits() -> Section:
    wait = "privatekube_claim_wait_duration_seconds"
    return Section(
        "How long granted claims waited",
        [
            heat(
                "Waits",
                "How many claims were granted after which wait. Two bands are two kinds of claims: those that are "
                "granted when they arrive, and those that wait for unlocking.",
                "s",
                f"sum by (le) (increase({wait}_bucket{{{DATASETS}}}[$__rate_interval]))",
            ),
            lines(
                "Quantiles of waits",
                "The wait that half, nine tenths and 99 of 100 granted claims don't exceed. Claims that still wait, or "
                "ended without a grant, are not in it.",
                "dtdurations",
                Query(quantile(0.5, wait), "50 %"),
                Query(quantile(0.9, wait), "90 %"),
                Query(quantile(0.99, wait), "99 %"),
                empty=True,
            ),
            lines(
                "Nine tenths of waits by dataset",
                "The wait that nine tenths of each dataset's granted claims don't exceed. If one dataset stands "
                "out, its blocks unlock too slowly for what is demanded.",
                "dtdurations",
                Query(quantile(0.9, wait, by=DATASET), DATASET_LEGEND),
                width=24,
                empty=True,
            ),
        ],
    )


def _fairness() -> Section:
    even = (
        "From 1/n (one of n namespaces has everything) to 1 (all have the same). Namespaces that ask for little have a "
        "small share without being treated unfairly, so look at who waits before you act."
    )
    return Section(
        "Fairness",
        [
            lines(
                "Dominant shares",
                "The largest share that each namespace has of any block: 1 is a whole block. If one leaves the others "
                "behind while these wait, give it a smaller weight, or others a larger one (`spec.weights`).",
                "percentunit",
                Query(of_datasets("privatekube_dominant_share", by=CLAIMANT), CLAIMANT_LEGEND),
                empty=True,
            ),
            lines(
                "Unused available budget",
                "The part of each dataset's budget that is available and that no waiting claim can use. If it is large "
                "while claims wait, these ask for blocks that are used up, or for too much at once.",
                "percentunit",
                Query(of_datasets("privatekube_unused_available_epsilon_ratio"), DATASET_LEGEND),
                largest=1,
            ),
            lines(
                "Jain's index",
                f"How even the namespaces' dominant shares are. {even}",
                "none",
                Query(of_datasets("privatekube_jain_index", 'weighted="false"'), DATASET_LEGEND),
                steps=NOT_EVEN,
                largest=1,
                width=8,
                empty=True,
            ),
            lines(
                "Jain's index, weighted",
                f"How even the namespaces' dominant shares are after each is divided by its weight. {even}",
                "none",
                Query(of_datasets("privatekube_jain_index", 'weighted="true"'), DATASET_LEGEND),
                steps=NOT_EVEN,
                largest=1,
                width=8,
                empty=True,
            ),
            lines(
                "Disagreement of shares and weights",
                "The part of all dominant shares that would have to belong to other namespaces for shares to be "
                "proportional to weights. Above a half, weights say little about who has what.",
                "percentunit",
                Query(of_datasets("privatekube_weight_disagreement_ratio"), DATASET_LEGEND),
                steps=DISAGREE,
                largest=1,
                width=8,
                empty=True,
            ),
            lines(
                "Fair claims by whether they were granted at once",
                "Claims within their fair share in a minute, on datasets where arrivals unlock budget. Under DPF "
                "with equal weights and priorities and without releases, all are granted at once: if some are not, "
                "report it.",
                "cpm",
                Query(_a_minute("privatekube_fair_claims_total", by="granted"), "{{granted}}"),
                stacked=True,
                colors={"at_once": "#2f9e78", "not_at_once": "#d9912b"},
                empty=True,
                runbook="sharing-incentive-violated",
            ),
            lines(
                "Envied grants",
                "Grants in a minute that went past a claim which waited longer for the same blocks and demands "
                "less. There is none under DPF.",
                "cpm",
                Query(_a_minute("privatekube_envied_grants_total", by=DATASET), DATASET_LEGEND),
                bars=True,
                runbook="grant-envied",
            ),
        ],
    )


def dashboard() -> models.Dashboard:
    """The whole dashboard."""
    return build(
        UID,
        "PrivateKube: queue and fairness",
        "Who waits for budget, why and for how long, what was decided, and how evenly budget is divided. For platform "
        "engineers.",
        variables(),
        [_overview(), _queue(), _decisions(), _waits(), _fairness()],
        period="6h",
        refresh="1m",
        pages={"Reasons": "docs/operations.md", "Measures of fairness": "docs/fairness.md"},
    )
