"""Objects of a cluster as tables and figures, and blocks from data."""

import base64
import hashlib
import json
import zlib
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import privatekube
import pytest
import yaml
from fake_cluster import FakeCluster
from privatekube import Curve, Guarantee
from privatekube._cluster import BLOCKS, CHECKPOINTS, CLAIMS, ENTRIES, PIECES

mpl.use("agg")

RULES = {
    "policy": "dpf",
    "unlocking": "immediate",
    "composition": {"renyi": ["2", "4"]},
}


@pytest.fixture
def cluster():
    made = FakeCluster()
    amounts = {
        part: {"epsilon": "1", "renyi": [{"order": "2", "epsilon": each}, {"order": "4", "epsilon": None}]}
        for part, each in zip(
            ("total", "locked", "available", "allocated", "consumed"), ("1", "0", "-0.5", "0.5", "1"), strict=True
        )
    }
    made.add_block("taxi-1", "s3://lake/1", day=1)
    made.objects[BLOCKS, "data", "taxi-1"]["status"] = {
        **amounts,
        "order": "2",
        "ledgerSequence": 7,
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    made.add_block("taxi-2", "s3://lake/2", day=2)
    made.objects[CLAIMS, "data", "weekly"] = {
        "metadata": {"name": "weekly", "namespace": "data"},
        "spec": {"dataset": "taxi", "budget": {"epsilon": "0.5", "delta": "0"}},
        "status": {
            "phase": "Granted",
            "reason": "Granted",
            "dominantShare": "0.05",
            "blockCount": 1,
            "arrivedAt": "2026-11-21T12:00:00Z",
        },
    }
    return made


def entry(sequence, events, records, **more):
    time = datetime(2026, 11, 21, tzinfo=timezone.utc) + timedelta(hours=sequence)
    return {
        "metadata": {"name": f"taxi-{sequence}"},
        "spec": {
            "dataset": "taxi",
            "sequence": sequence,
            "time": time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "timeMicros": int(time.timestamp() * 1_000_000),
            "writer": "extender",
            "hash": "00",
            "events": events,
            "records": records,
            **more,
        },
    }


def test_blocks_and_claims_are_read_exactly(cluster):
    ready, new = privatekube.blocks("taxi", cluster=cluster)
    assert ready.available == Curve.from_spec([{"order": "2", "epsilon": "-0.5"}, {"order": "4", "epsilon": None}])
    assert (ready.is_ready, ready.order, ready.ledger_sequence) == (True, Decimal(2), 7)
    assert (new.is_ready, new.total) == (False, None)
    (claim,) = privatekube.claims(cluster=cluster)
    assert (claim.budget, claim.dominant_share) == ("epsilon=0.5, delta=0", Decimal("0.05"))
    assert claim.arrived_at == datetime(2026, 11, 21, 12, tzinfo=timezone.utc)


def test_tables_have_a_row_for_each_order_and_exact_decimals(cluster):
    table = privatekube.to_pandas(privatekube.blocks(cluster=cluster))
    first = table[table["block"] == "taxi-1"]
    assert list(first["order"]) == [Decimal(2), Decimal(4)]
    assert list(first["available"]) == [Decimal("-0.5"), None]
    assert list(first["dimension.day"]) == [1, 1]
    assert len(table) == 3
    claims = privatekube.to_pandas(privatekube.claims(cluster=cluster))
    assert list(claims["phase"]) == ["Granted"]
    assert privatekube.to_pandas([]).empty


def test_a_ledger_is_decided_again_and_drawn(cluster):
    arrival = {
        "claim": "claim/data/weekly/1",
        "demands": [{"blocks": ["taxi-1"], "budget": [400, 800]}],
        "minBlocks": 1,
    }
    entries = [
        entry(1, [], [], setting=RULES),
        entry(2, [{"addBlock": {"block": "taxi-1", "capacity": [1000, 2000]}}], [{"blockAdded": {"block": "taxi-1"}}]),
        entry(3, [{"arrive": arrival}], [{"granted": {"claim": "claim/data/weekly/1", "at": 1}}]),
        entry(4, [{"consume": {"claim": "claim/data/weekly/1", "amount": "all"}}], []),
    ]
    for each in entries:
        cluster.objects[ENTRIES, "data", each["metadata"]["name"]] = each
    ledger = privatekube.ledger("taxi", cluster=cluster)
    assert [len(each.blocks) for each in ledger] == [0, 1, 1, 1]
    budgets = [each.blocks[0] for each in ledger[1:]]
    assert [budget.allocated[2] for budget in budgets] == [0, Decimal("4e-10"), 0]  # pyright: ignore[reportIndexIssue]
    assert [budget.consumed[4] for budget in budgets] == [0, 0, Decimal("8e-10")]  # pyright: ignore[reportIndexIssue]
    assert ledger[2].decisions == ("granted claim/data/weekly/1",)
    axes = privatekube.plot(ledger, "taxi-1", order=4)
    assert axes.get_ylabel() == "epsilon at order 4"
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["consumed", "allocated", "available", "locked", "total"]
    with pytest.raises(ValueError, match="no block 'taxi-9': it has taxi-1"):
        privatekube.plot(ledger, "taxi-9")
    with pytest.raises(ValueError, match="not one of the dataset's Renyi orders: 2, 4"):
        privatekube.plot(ledger, "taxi-1", order=3)
    cluster.objects[ENTRIES, "data", "taxi-4"]["spec"]["version"] = 2
    with pytest.raises(ValueError, match="entry 4 has version 2 of its format: this version of the package reads 1"):
        privatekube.ledger("taxi", cluster=cluster)
    del cluster.objects[ENTRIES, "data", "taxi-2"]
    with pytest.raises(ValueError, match="isn't complete"):
        privatekube.ledger("taxi", cluster=cluster)


STATE = Path(__file__).parents[2] / "policy/fuzz/seeds/state/version-1-renyi-by-the-clock.jsonl"
"""The state of an engine at 34 microseconds after 1970, as checkpoints have it."""


def at_order(amounts, order):
    assert isinstance(amounts, Curve)
    return amounts[order]


def test_a_ledger_without_its_old_entries_begins_with_its_checkpoint(cluster):
    content = STATE.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    about = {"dataset": "taxi", "sequence": 7, "digest": digest}
    halves = content[:1000], content[1000:]
    checkpoint = {"metadata": {"name": "taxi"}, "spec": about | {"version": 1, "pieces": 2}}
    cluster.objects[CHECKPOINTS, "data", "taxi"] = checkpoint
    for number, half in enumerate(halves):
        spec = about | {"piece": number, "content": base64.b64encode(zlib.compress(half)).decode()}
        name = f"taxi-7-{number}"
        cluster.objects[PIECES, "data", name] = {"metadata": {"name": name}, "spec": spec}
    # One of an earlier checkpoint, which is not removed yet.
    cluster.objects[PIECES, "data", "old"] = {
        "metadata": {"name": "old"},
        "spec": about | {"sequence": 3, "piece": 0, "content": ""},
    }
    consume = [{"consume": {"claim": "granted", "amount": "all"}}]
    for each in (entry(6, [], []), entry(7, [], []), entry(8, consume, [{"consumed": {"claim": "granted"}}])):
        cluster.objects[ENTRIES, "data", each["metadata"]["name"]] = each
    opening, last = privatekube.ledger("taxi", cluster=cluster)
    assert (opening.sequence, last.sequence) == (7, 8)
    assert {budget.block for budget in opening.blocks} >= {"a", "b"}
    units = {
        budget.block: (at_order(budget.allocated, 2), at_order(budget.consumed, 2))
        for budget in opening.blocks + last.blocks
    }
    # "granted" has 5 units on each, and another claim 2 on "b".
    assert units == {
        "a": (Decimal(0), Decimal("19e-12")),
        "b": (Decimal("2e-12"), Decimal("8e-12")),
        "gone": (Decimal(0), Decimal(0)),
    }
    assert last.decisions == ("consumed granted",)

    del cluster.objects[ENTRIES, "data", "taxi-7"]
    with pytest.raises(ValueError, match="isn't complete"):
        privatekube.ledger("taxi", cluster=cluster)
    cluster.objects[ENTRIES, "data", "taxi-7"] = entry(7, [], [])
    del cluster.objects[PIECES, "data", "taxi-7-1"]
    with pytest.raises(ValueError, match="isn't what its digest says"):
        privatekube.ledger("taxi", cluster=cluster)
    checkpoint["spec"]["version"] = 2
    with pytest.raises(ValueError, match="has version 2: this version of the package reads 1"):
        privatekube.ledger("taxi", cluster=cluster)


FRAME = pd.DataFrame(
    {
        "pickup": ["2026-11-20 23:59:59", "2026-11-21 00:00:00", "2026-11-21 12:00:00"],
        "city": ["nyc", "nyc", "St. Ives"],
        "zone": [1, 1, 2],
    }
)


def test_a_table_becomes_a_block_for_each_day_and_group():
    manifests = privatekube.blocks_from_frame(
        FRAME,
        time="pickup",
        by=["city"],
        dataset="taxi",
        data_source="s3://lake/{day}/{city}",
        budget=Guarantee.of(10, "1e-7"),
    )
    assert [manifest.name for manifest in manifests] == [
        "taxi-2026-11-20-nyc",
        "taxi-2026-11-21-st-ives",
        "taxi-2026-11-21-nyc",
    ]
    assert manifests[1].to_dict() == {
        "apiVersion": "privatekube.dev/v1alpha1",
        "kind": "PrivateDataBlock",
        "metadata": {"name": "taxi-2026-11-21-st-ives"},
        "spec": {
            "dataset": "taxi",
            "dataSource": "s3://lake/2026-11-21/St. Ives",
            "records": 1,
            "dimensions": {"startTime": 20778, "endTime": 20779, "city": "St. Ives"},
            "initialBudget": {"epsilon": "10", "delta": "0.0000001"},
        },
    }
    # Numbers of numpy become plain ones, so that the YAML is plain.
    by_zone = privatekube.blocks_from_frame(
        FRAME, time="pickup", by=["zone"], dataset="taxi", data_source=date.isoformat
    )
    text = privatekube.to_yaml(by_zone)
    assert [each["spec"]["dimensions"]["zone"] for each in yaml.safe_load_all(text)] == [1, 1, 2]
    assert json.dumps([each.to_dict() for each in by_zone])


def test_rows_that_would_be_in_no_block_are_refused():
    for column, message in [("pickup", "1 rows have no pickup"), ("city", "city has rows without a value")]:
        broken = FRAME.copy()
        broken.loc[0, column] = None
        with pytest.raises(ValueError, match=message):
            privatekube.blocks_from_frame(broken, time="pickup", by=["city"], dataset="taxi", data_source="x")
    with pytest.raises(ValueError, match="a dimension is an integer or a text"):
        privatekube.blocks_from_frame(
            FRAME.assign(zone=0.5), time="pickup", by=["zone"], dataset="taxi", data_source="x"
        )
    same = FRAME.assign(pickup="2026-11-21", city=["n y", "n-y", "n-y"])
    with pytest.raises(ValueError, match="two partitions would be block 'taxi-2026-11-21-n-y'"):
        privatekube.blocks_from_frame(same, time="pickup", by=["city"], dataset="taxi", data_source="x")


def test_partitions_of_a_directory_become_blocks(tmp_path):
    for folder in ("day=2026-11-20/city=nyc", "day=2026-11-21/city=sf", "_temporary"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "day=2026-11-20/city=nyc/part-0.parquet").write_text("ab")
    manifests = privatekube.blocks_from_directory(
        tmp_path, dataset="taxi", namespace="data", records=lambda path: sum(1 for _ in path.iterdir())
    )
    assert [(each.name, each.records, dict(each.dimensions)) for each in manifests] == [
        ("taxi-2026-11-20-nyc", 1, {"startTime": 20777, "endTime": 20778, "city": "nyc"}),
        ("taxi-2026-11-21-sf", None, {"startTime": 20778, "endTime": 20779, "city": "sf"}),
    ]
    assert manifests[0].data_source == str(tmp_path / "day=2026-11-20/city=nyc")
    assert manifests[0].to_dict()["metadata"]["namespace"] == "data"
    (tmp_path / "stray.parquet").write_text("x")
    with pytest.raises(ValueError, match="would be in no block: stray.parquet"):
        privatekube.blocks_from_directory(tmp_path, dataset="taxi")


def test_folders_may_be_days_alone(tmp_path):
    (tmp_path / "2026-11-20").mkdir()
    (manifest,) = privatekube.blocks_from_directory(tmp_path, dataset="taxi", data_source="s3://lake/{day}")
    assert (manifest.name, manifest.data_source) == ("taxi-2026-11-20", "s3://lake/2026-11-20")
    (tmp_path / "yesterday").mkdir()
    with pytest.raises(ValueError, match="'yesterday' is not a day: write one like 2026-11-21"):
        privatekube.blocks_from_directory(tmp_path, dataset="taxi")


def test_what_has_no_partitions_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no partitions"):
        privatekube.blocks_from_directory(tmp_path, dataset="taxi")


def test_a_block_says_when_it_is_retired():
    block = privatekube.BlockManifest("taxi-1", "taxi", retires=datetime(2027, 2, 28))
    assert block.to_dict()["spec"] == {"dataset": "taxi", "retires": "2027-02-28T00:00:00Z"}


def test_days_are_counted_from_1970():
    assert privatekube.days_since_1970(date(1970, 1, 2)) == 1
    assert privatekube.days_since_1970(datetime(2026, 11, 21, 23)) == 20778
    late = datetime(2026, 11, 21, 23, tzinfo=timezone(timedelta(hours=-5)))
    assert privatekube.days_since_1970(late) == 20779
