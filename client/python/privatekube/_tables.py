"""Blocks, claims and ledgers as tables of pandas (the extra `privatekube[pandas]`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from ._ledger import LedgerEntry
from ._mechanism import Curve
from ._objects import Amounts, Block, ClaimObject

if TYPE_CHECKING:
    import pandas as pd

PARTS = ("total", "locked", "available", "allocated", "consumed")


def to_pandas(objects: Iterable[Block] | Iterable[ClaimObject] | Iterable[LedgerEntry]) -> pd.DataFrame:
    """Returns blocks, claims or ledger entries as a table.

    Amounts stay exact: they are columns of `decimal.Decimal`. Of blocks with Renyi composition, there is a row for each
    order, of blocks with Basic composition one row with epsilon and delta. Of a ledger, there is such a row for each
    block that an entry changed, with the budget after the entry. `astype(float)` makes numbers to calculate with of a
    column.
    """
    try:
        import pandas as pd
    except ImportError as problem:
        raise ImportError("to_pandas needs pandas: pip install 'privatekube[pandas]'") from problem
    rows: list[dict[str, Any]] = []
    for each in objects:
        if isinstance(each, Block):
            rows.extend(_block_rows(each))
        elif isinstance(each, ClaimObject):
            rows.append(_claim_row(each))
        else:
            rows.extend(_entry_rows(each))
    return pd.DataFrame(rows)


def _block_rows(block: Block) -> list[dict[str, Any]]:
    known: dict[str, Any] = {
        "namespace": block.namespace,
        "dataset": block.dataset,
        "block": block.name,
        "ready": block.is_ready,
        "records": block.records,
        "data_source": block.data_source,
        "message": block.message,
        **{f"dimension.{name}": value for name, value in block.dimensions.items()},
    }
    amounts = {part: getattr(block, part) for part in PARTS}
    return [{**known, **row} for row in _rows(amounts)]


def _claim_row(claim: ClaimObject) -> dict[str, Any]:
    return {
        "namespace": claim.namespace,
        "claim": claim.name,
        "dataset": claim.dataset,
        "pod": claim.pod,
        "budget": claim.budget,
        "phase": claim.status.phase,
        "reason": claim.status.reason,
        "message": claim.status.message,
        "blocks": claim.status.block_count,
        "dominant_share": claim.dominant_share,
        "arrived_at": claim.arrived_at,
        "decided_at": claim.decided_at,
    }


def _entry_rows(entry: LedgerEntry) -> list[dict[str, Any]]:
    known: dict[str, Any] = {
        "dataset": entry.dataset,
        "sequence": entry.sequence,
        "time": entry.time,
        "writer": entry.writer,
        "decisions": "; ".join(entry.decisions),
    }
    if not entry.blocks:
        return [known]
    return [
        {**known, "block": block.block, **row}
        for block in entry.blocks
        for row in _rows({part: getattr(block, part) for part in PARTS})
    ]


def _rows(amounts: Mapping[str, Amounts | None]) -> list[dict[str, Any]]:
    """A row for each order, or one with epsilons and deltas."""
    curves = {part: amount for part, amount in amounts.items() if isinstance(amount, Curve)}
    if curves:
        orders: list[Decimal] = sorted({order for curve in curves.values() for order in curve})
        return [{"order": order, **{part: curve.get(order) for part, curve in curves.items()}} for order in orders]
    row: dict[str, Any] = {"order": None}
    for part, amount in amounts.items():
        row[part] = None if amount is None else getattr(amount, "epsilon")  # noqa: B009 - a curve has a method of this name
        row[f"{part}_delta"] = None if amount is None else getattr(amount, "delta")  # noqa: B009
    return [row]
