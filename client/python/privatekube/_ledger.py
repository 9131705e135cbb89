"""A dataset's ledger, decided again."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from . import _native
from ._amounts import DELTA_DECIMALS, EPSILON_DECIMALS, from_units, plain
from ._cluster import CHECKPOINTS, ENTRIES, PIECES, ClusterApi
from ._mechanism import Curve, Guarantee
from ._objects import Amounts, listed

MOST_PIECE_BYTES = 512 << 10
"""What a piece of a checkpoint has at most, before compression."""


@dataclass(frozen=True)
class LedgerEntry:
    """One entry of a dataset's ledger.

    Attributes:
        decisions: each decision in a few words, such as `granted claim/data/weekly/…`.
        blocks: the budget of each block that the entry changed.
    """

    dataset: str
    sequence: int
    time: datetime
    writer: str
    hash: str
    decisions: tuple[str, ...]
    blocks: tuple[BlockBudget, ...]


@dataclass(frozen=True)
class BlockBudget:
    """A block's budget after a ledger entry. At every order, locked + available + allocated + consumed = total."""

    block: str
    total: Amounts
    locked: Amounts
    available: Amounts
    allocated: Amounts
    consumed: Amounts


def ledger(dataset: str, *, namespace: str | None = None, cluster: ClusterApi | None = None) -> list[LedgerEntry]:
    """Returns a dataset's ledger (`name` or `namespace/name`), with the budget of each block after each entry.

    The budgets are decided again, from the first entry on, by the engine that runs in the extender. Of a ledger whose
    old entries were removed, what is returned begins with the entry that its checkpoint stands at, with the budget of
    every block. The content of a checkpoint is compared with its digest; hashes of entries are not checked: see
    docs/operations.md.
    """
    found, own = listed(ENTRIES, dataset, namespace, cluster)
    specs = sorted((each["spec"] for each in found), key=lambda spec: spec["sequence"])
    if not specs:
        return []
    rules = specs[0].get("setting")
    if rules is not None and _is_complete(specs, 1):
        text = json.dumps(rules)
        orders = _native.orders_of(text)
        changes = _native.replay(text, [_to_decide(spec) for spec in specs])
        return [_entry(spec, changed, orders) for spec, changed in zip(specs, changes, strict=True)]
    at, state = _checkpoint(dataset, namespace, cluster)
    specs = [spec for spec in specs if spec["sequence"] >= at]
    if not state or not _is_complete(specs, at):
        raise ValueError(
            f"the ledger of {own} isn't complete: entries are missing, so that budgets can't be decided again"
        )
    orders, changes = _native.replay_from(state, [_to_decide(spec) for spec in specs[1:]])
    return [_entry(spec, changed, orders) for spec, changed in zip(specs, changes, strict=True)]


def _is_complete(specs: list[Mapping[str, Any]], first: int) -> bool:
    return bool(specs) and [spec["sequence"] for spec in specs] == list(range(first, first + len(specs)))


def _to_decide(spec: Mapping[str, Any]) -> tuple[int, str]:
    if spec.get("version", 1) != 1:
        raise ValueError(
            f"entry {spec['sequence']} has version {spec['version']} of its format: this version of the package reads 1"
        )
    return spec["timeMicros"], json.dumps(spec.get("events") or [])


def _checkpoint(dataset: str, namespace: str | None, cluster: ClusterApi | None) -> tuple[int, str]:
    """The entry that a ledger's checkpoint stands at, and the lines of its content; no lines if it has none."""
    found, own = listed(CHECKPOINTS, dataset, namespace, cluster)
    if not found:
        return 0, ""
    spec = found[0]["spec"]
    if spec["version"] != 1:
        raise ValueError(
            f"the checkpoint of the ledger of {own} has version {spec['version']}: this version of the package reads 1"
        )
    pieces = {
        each["spec"]["piece"]: each["spec"]["content"]
        for each in listed(PIECES, dataset, namespace, cluster)[0]
        if (each["spec"]["sequence"], each["spec"]["digest"]) == (spec["sequence"], spec["digest"])
    }
    content = b"".join(_uncompressed(pieces.get(piece, "")) for piece in range(spec["pieces"]))
    if hashlib.sha256(content).hexdigest() != spec["digest"]:
        raise ValueError(f"the checkpoint of the ledger of {own} isn't what its digest says, or was replaced meanwhile")
    return spec["sequence"], content.decode()


def _uncompressed(content: str) -> bytes:
    try:
        return zlib.decompressobj().decompress(base64.b64decode(content), MOST_PIECE_BYTES)
    except (ValueError, zlib.error):
        # The digest tells.
        return b""


def _entry(spec: Mapping[str, Any], changed: Any, orders: list[str] | None) -> LedgerEntry:
    def amounts(units: list[int]) -> Amounts:
        if orders is None:
            return Guarantee(_decimal(units[0], EPSILON_DECIMALS), _decimal(units[1], DELTA_DECIMALS))
        points = zip(orders, units, strict=True)
        return Curve.from_spec(
            {"order": order, "epsilon": str(_decimal(each, EPSILON_DECIMALS))} for order, each in points
        )

    return LedgerEntry(
        dataset=spec["dataset"],
        sequence=int(spec["sequence"]),
        time=datetime.fromisoformat(str(spec["time"]).replace("Z", "+00:00")),
        writer=spec["writer"],
        hash=spec["hash"],
        decisions=tuple(_decision(record) for record in spec.get("records") or ()),
        blocks=tuple(BlockBudget(block, *(amounts(units) for units in accounts)) for block, accounts in changed),
    )


def _decimal(units: int, decimals: int) -> Decimal:
    return Decimal(plain(from_units(units, decimals)))


def _decision(record: Mapping[str, Any]) -> str:
    ((kind, about),) = record.items()
    what = about.get("claim") or about.get("block") or ", ".join(about.get("blocks") or ())
    return f"{kind} {what}"
