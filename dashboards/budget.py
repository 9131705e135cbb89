"""The dashboard for whoever answers for the data: what is left, how fast it goes, and who has it."""

from panels import (
    ANY_IS_A_WARNING,
    ANY_IS_BAD,
    COLORS,
    DELTA,
    EPSILON,
    NEARLY_NOTHING_LEFT,
    NEARLY_SPENT,
    SOON_EXHAUSTED,
    Column,
    Query,
    Section,
    bar_list,
    build,
    lines,
    models,
    stacked_bars,
    stat_panel,
    table_panel,
)
from selection import (
    BLOCKS,
    DATASET,
    DATASET_LEGEND,
    DATASETS,
    PER_DAY,
    of_datasets,
    or_zero,
    rate_of_datasets,
    variables,
)

UID = "privatekube-budget"

BLOCK = f"{DATASET}, block"
ONE_BY_ONE = 'block!="_other"'
MOST_ROWS = 50
MOST_BARS = 40


def _epsilon(state: str) -> str:
    return of_datasets("privatekube_dataset_epsilon", f'state="{state}"')


def _delta(state: str) -> str:
    return of_datasets("privatekube_dataset_delta", f'state="{state}"')


def _of_blocks(metric: str, *matchers: str, by: str = BLOCK) -> str:
    return f"max by ({by}) ({metric}{{{','.join([BLOCKS, *matchers])}}})"


def _left(metric: str, by: str = BLOCK) -> str:
    """The part of each block's budget that can still be granted."""
    parts = _of_blocks(metric, ONE_BY_ONE, 'state=~"available|locked"', by=f"{by}, state")
    total = _of_blocks(metric, ONE_BY_ONE, 'state="total"', by=by)
    return f"sum by ({by}) ({parts}) / ({total} > 0)"


LEFT_OF_EPSILON = _left("privatekube_block_epsilon")
LEFT_OF_DELTA = _left("privatekube_block_delta")
LEFT = f"(({LEFT_OF_DELTA}) < ({LEFT_OF_EPSILON})) or ({LEFT_OF_EPSILON})"
"""Of epsilon or delta, the smaller part: a claim needs both."""
LEAST_LEFT = f"bottomk({MOST_ROWS}, {LEFT})"


def _where_least_is_left(expr: str) -> str:
    return f"({expr}) and on ({BLOCK}) {LEAST_LEFT}"


def _by_state(metric: str) -> str:
    """The sum of the chosen blocks in each state."""
    each = _of_blocks(metric, 'state!="total"', by=f"{BLOCK}, state")
    return f"sum by (state) ({each})"


def _block(state: str) -> str:
    return _where_least_is_left(_of_blocks("privatekube_block_epsilon", ONE_BY_ONE, f'state="{state}"'))


def _named(expr: str) -> str:
    """With one label that names a dataset, as the bars need it."""
    return f'max by (name) (label_join({expr}, "name", "/", "namespace", "dataset"))'


def _part(state: str) -> str:
    return _named(f"{_epsilon(state)} / ({_epsilon('total')} > 0)")


SHARE = of_datasets("privatekube_dominant_share", by=f"{DATASET}, claimant")
WAITING = of_datasets("privatekube_waiting_claims", by=f"{DATASET}, claimant")
GRANTED = 'phase="Granted"'
PHASES = of_datasets("privatekube_claims", by=f"{DATASET}, phase")


def _of_others(state: str) -> str:
    beyond = f"{of_datasets('privatekube_blocks_beyond_bound')} > 0"
    others = of_datasets("privatekube_block_epsilon", 'block="_other"', f'state="{state}"')
    return f"{others} and ({beyond})"


def _overview() -> Section:
    return Section(
        "Now",
        [
            stat_panel(
                "Datasets",
                "The datasets whose rules are in use. With no dataset, nothing can be claimed.",
                "short",
                or_zero(f"count({of_datasets('privatekube_dataset_info')})"),
            ),
            stat_panel(
                "Most spent dataset",
                "The largest consumed part of a dataset's epsilon. Near 1, plan new data: budget never comes back.",
                "percentunit",
                f"max(privatekube_dataset_consumed_ratio{{{DATASETS}}})",
                steps=NEARLY_SPENT,
                runbook="budget-nearly-spent",
            ),
            stat_panel(
                "First exhausted in",
                "When the first dataset is used up, if it is consumed as in the last 6 hours. Below a month, plan new "
                "blocks; below a week, agree on who may still claim.",
                "dtdurations",
                f"min(privatekube:dataset_exhaustion_seconds{{{DATASETS}}})",
                steps=SOON_EXHAUSTED,
                none="not in sight",
                runbook="budget-spent-too-soon",
            ),
            stat_panel(
                "Blocks nearly spent",
                "Blocks of which less than a tenth can still be granted, of epsilon or delta. The table of blocks "
                "below names them. A block that is used up stays so; new data is a new block.",
                "short",
                or_zero(f"count(({LEFT}) < 0.1)"),
                steps=ANY_IS_A_WARNING,
            ),
            stat_panel(
                "Waiting claims",
                "Claims that are not decided yet. If they grow, more is demanded than unlocks: see the dashboard Queue "
                "and fairness.",
                "short",
                or_zero(f"sum({WAITING})"),
            ),
            stat_panel(
                "Stopped datasets",
                "Datasets whose ledger can't be read or written, so nothing of them is granted or consumed. `kubectl "
                "describe pds` and the dashboard Machinery say why.",
                "short",
                or_zero(f"sum({of_datasets('privatekube_dataset_stopped')})"),
                steps=ANY_IS_BAD,
                runbook="dataset-stopped",
            ),
            stat_panel(
                "Blocks",
                "Blocks of the datasets that exist as objects.",
                "short",
                or_zero(f"sum({of_datasets('privatekube_blocks')})"),
            ),
            stat_panel(
                "Blocks not shown one by one",
                "Blocks beyond the extender's `--metrics-most-blocks`, which are summed in the block _other: the "
                "table of blocks doesn't know them. If any, raise the bound, or look at the status page.",
                "short",
                or_zero(f"sum({of_datasets('privatekube_blocks_beyond_bound')})"),
                steps=ANY_IS_A_WARNING,
            ),
        ],
    )


def _datasets() -> Section:
    dataset_link = (
        f"/d/{UID}?${{__url_time_range}}&${{datasource:queryparam}}"
        "&var-namespace=${__data.fields.Namespace}&var-dataset=${__data.fields.Dataset}"
    )
    return Section(
        "Datasets",
        [
            table_panel(
                "Datasets by the part that is consumed",
                "Each dataset with the sums of its blocks; for Renyi blocks at the order that `kubectl get pb -o wide` "
                "shows. Consumed and allocated budget is gone or promised, available budget can be granted now, and "
                "locked budget becomes available later. Click a dataset to see only that one.",
                [
                    Column("namespace", "Namespace"),
                    Column("dataset", "Dataset", link=dataset_link),
                    Column("C", "Consumed part", "percentunit", NEARLY_SPENT, gauge=True, width=220),
                    Column("D", "Total", EPSILON),
                    Column("E", "Consumed", EPSILON),
                    Column("F", "Allocated", EPSILON),
                    Column("G", "Available", EPSILON),
                    Column("H", "Locked", EPSILON),
                    Column("I", "Consumed a day", EPSILON),
                    Column("J", "Exhausted in", "dtdurations", SOON_EXHAUSTED),
                    Column("B", "Blocks", "short"),
                    Column("K", "Waiting", "short"),
                    Column("policy", "Policy"),
                    Column("composition", "Composition"),
                    Column("unlocking", "Unlocking"),
                ],
                of_datasets("privatekube_dataset_info", by=f"{DATASET}, policy, composition, unlocking"),
                of_datasets("privatekube_blocks"),
                of_datasets("privatekube_dataset_consumed_ratio"),
                _epsilon("total"),
                _epsilon("consumed"),
                _epsilon("allocated"),
                _epsilon("available"),
                _epsilon("locked"),
                f"{of_datasets('privatekube:dataset_burn_epsilon:rate6h')} * {PER_DAY}",
                of_datasets("privatekube:dataset_exhaustion_seconds"),
                f"sum by ({DATASET}) ({WAITING})",
                sort="Consumed part",
                height=11,
            ),
            stacked_bars(
                "Epsilon by state",
                "How each dataset's epsilon is divided, the most consumed first. Little that is available beside much "
                "that is locked means that claims wait for unlocking, and not for new data.",
                "percentunit",
                "name",
                {state: _part(state) for state in COLORS},
                "consumed",
                COLORS,
                height=11,
            ),
            lines(
                "Consumed part",
                "The consumed part of each dataset's epsilon over time. A step is one large claim; a steady slope says "
                "when the line of 90 % will be reached.",
                "percentunit",
                Query(of_datasets("privatekube_dataset_consumed_ratio"), DATASET_LEGEND),
                steps=NEARLY_SPENT,
                largest=1,
                height=11,
                runbook="budget-nearly-spent",
            ),
            lines(
                "Burn rate",
                "How much epsilon each dataset consumes in a day, averaged over the last 6 hours. If one rises, "
                'find out in "Who has the budget" who claims more.',
                EPSILON,
                Query(f"{of_datasets('privatekube:dataset_burn_epsilon:rate6h')} * {PER_DAY}", DATASET_LEGEND),
                empty=True,
                runbook="budget-spent-too-soon",
            ),
            lines(
                "Time until exhaustion",
                "How long each dataset lasts if it is consumed as in the last 6 hours. Below the line of 30 days, plan "
                "new blocks; below that of 7 days, agree on who may still claim.",
                "dtdurations",
                Query(of_datasets("privatekube:dataset_exhaustion_seconds"), DATASET_LEGEND),
                steps=SOON_EXHAUSTED,
                logarithmic=True,
                empty=True,
                runbook="budget-spent-too-soon",
            ),
        ],
    )


def _deltas() -> Section:
    return Section(
        "Delta",
        [
            table_panel(
                "Delta by state",
                "The sums of the delta of each dataset's blocks. Only datasets with Basic composition have delta; "
                "where it goes faster than epsilon, claims ask for larger deltas than the blocks were made for.",
                [
                    Column("namespace", "Namespace"),
                    Column("dataset", "Dataset"),
                    Column("B", "Consumed part", "percentunit", NEARLY_SPENT, gauge=True, width=180),
                    Column("A", "Total", DELTA),
                    Column("C", "Consumed", DELTA),
                    Column("D", "Allocated", DELTA),
                    Column("E", "Available", DELTA),
                    Column("F", "Locked", DELTA),
                ],
                _delta("total"),
                f"{_delta('consumed')} / ({_delta('total')} > 0)",
                _delta("consumed"),
                _delta("allocated"),
                _delta("available"),
                _delta("locked"),
                sort="Consumed part",
                width=14,
                height=8,
                empty=True,
            ),
            lines(
                "Consumed part of delta",
                "The consumed part of each dataset's delta over time, for datasets with Basic composition. A claim "
                "needs epsilon and delta, so the one that is used up first ends the dataset.",
                "percentunit",
                Query(f"{_delta('consumed')} / ({_delta('total')} > 0)", DATASET_LEGEND),
                steps=NEARLY_SPENT,
                largest=1,
                width=10,
                empty=True,
            ),
        ],
    )


def _blocks() -> Section:
    return Section(
        "Blocks",
        [
            table_panel(
                "Blocks with the least left",
                f"The {MOST_ROWS} chosen blocks of which the smallest part can still be granted, of epsilon or "
                "delta. Nothing can be done for a block that is used up: claims have to choose other blocks, and "
                "new data is a new block. Blocks beyond `--metrics-most-blocks` are not among them.",
                [
                    Column("namespace", "Namespace"),
                    Column("dataset", "Dataset"),
                    Column("block", "Block"),
                    Column("A", "Left", "percentunit", NEARLY_NOTHING_LEFT, gauge=True, width=220),
                    Column("B", "Left of epsilon", "percentunit", NEARLY_NOTHING_LEFT),
                    Column("C", "Left of delta", "percentunit", NEARLY_NOTHING_LEFT),
                    Column("D", "Total", EPSILON),
                    Column("E", "Consumed", EPSILON),
                    Column("F", "Allocated", EPSILON),
                    Column("G", "Available", EPSILON),
                    Column("H", "Locked", EPSILON),
                ],
                LEAST_LEFT,
                _where_least_is_left(LEFT_OF_EPSILON),
                _where_least_is_left(LEFT_OF_DELTA),
                _block("total"),
                _block("consumed"),
                _block("allocated"),
                _block("available"),
                _block("locked"),
                sort="Left",
                ascending=True,
                height=11,
            ),
            lines(
                "Epsilon of the chosen blocks",
                "The sum of the chosen blocks by state, those beyond the bound included if _other is chosen. Choose "
                "one block above to follow it alone.",
                EPSILON,
                Query(_by_state("privatekube_block_epsilon"), "{{state}}"),
                stacked=True,
                colors=COLORS,
            ),
            lines(
                "Delta of the chosen blocks",
                "The sum of the delta of the chosen blocks by state. Only blocks with Basic composition have delta.",
                DELTA,
                Query(_by_state("privatekube_block_delta"), "{{state}}"),
                stacked=True,
                colors=COLORS,
                empty=True,
            ),
            bar_list(
                "Left at each Renyi order",
                f"The {MOST_BARS} pairs of a chosen block and a Renyi order at which the smallest part is left, if "
                "the extender runs with `--metrics-orders`. A claim has to fit at one order only, so a block is "
                "used up when nothing is left at any. Choose one block to see all its orders.",
                "percentunit",
                Query(
                    f"bottomk({MOST_BARS}, {_left('privatekube_block_order_epsilon', by=f'{BLOCK}, order')})",
                    f"{{{{block}}}} of {DATASET_LEGEND} at {{{{order}}}}",
                ),
                steps=NEARLY_NOTHING_LEFT,
                largest=1,
                empty=True,
            ),
            table_panel(
                "Blocks beyond the bound",
                "The sums of the blocks that have no series of their own, by dataset. Raise `--metrics-most-blocks` of "
                "the extender to see them one by one.",
                [
                    Column("namespace", "Namespace"),
                    Column("dataset", "Dataset"),
                    Column("A", "Blocks", "short"),
                    Column("B", "Total", EPSILON),
                    Column("C", "Consumed", EPSILON),
                    Column("D", "Allocated", EPSILON),
                    Column("E", "Available", EPSILON),
                    Column("F", "Locked", EPSILON),
                ],
                f"{of_datasets('privatekube_blocks_beyond_bound')} > 0",
                _of_others("total"),
                _of_others("consumed"),
                _of_others("allocated"),
                _of_others("available"),
                _of_others("locked"),
                sort="Blocks",
                width=12,
                height=8,
                empty=True,
            ),
        ],
    )


def _claimants() -> Section:
    return Section(
        "Who has the budget",
        [
            table_panel(
                "Namespaces by their share",
                "The largest share that each namespace has of any block of the dataset (its dominant share: 1 is a "
                "whole block), counting what its claims were granted and did not release, and its part of all such "
                "shares. Whoever has much more than others may need a weight, a priority or a quota less. _other is "
                "the sum of namespaces beyond the first 100.",
                [
                    Column("claimant", "Claimant"),
                    Column("namespace", "Namespace"),
                    Column("dataset", "Dataset"),
                    Column("A", "Dominant share", "percentunit"),
                    Column("B", "Part of all shares", "percentunit", NEARLY_SPENT, gauge=True, width=200),
                ],
                SHARE,
                f"{SHARE} / on ({DATASET}) group_left () (sum by ({DATASET}) ({SHARE}) > 0)",
                sort="Dominant share",
                width=12,
                empty=True,
            ),
            lines(
                "Dominant shares",
                "The largest share that each namespace has of any block, over time. It falls only when a block is "
                "retired or budget is released.",
                "percentunit",
                Query(SHARE, f"{{{{claimant}}}} on {DATASET_LEGEND}"),
                height=10,
                empty=True,
            ),
            bar_list(
                "Claims by phase",
                "All claims that ever arrived on the chosen datasets, by the phase in which they are. Many Denied or "
                "Expired claims ask for more than there is: the dashboard Queue and fairness has the reasons.",
                "short",
                Query(f"sum by (phase) ({PHASES})", "{{phase}}"),
            ),
            lines(
                "Granted claims",
                "How many claims of each dataset were granted in a minute.",
                "cpm",
                Query(
                    f"{rate_of_datasets('privatekube_claim_decisions_total', GRANTED, by=DATASET)} * 60",
                    DATASET_LEGEND,
                ),
                empty=True,
            ),
        ],
    )


def dashboard() -> models.Dashboard:
    """The whole dashboard."""
    return build(
        UID,
        "PrivateKube: budget",
        "What is left of each dataset and block, how fast it is consumed, and who has it. For privacy officers.",
        variables(blocks=True),
        [_overview(), _datasets(), _deltas(), _blocks(), _claimants()],
        period="7d",
        refresh="5m",
        pages={"What a budget means": "docs/budgets.md"},
    )
