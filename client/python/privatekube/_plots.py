"""Budgets over time as a figure of matplotlib (the extra `privatekube[plot]`)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, cast

from ._amounts import OrderLike, order_text
from ._errors import AmountError
from ._ledger import LedgerEntry
from ._mechanism import Curve
from ._objects import Amounts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# The palette of Okabe and Ito, which people with any colour vision can tell apart.
PARTS = (("consumed", "#d55e00"), ("allocated", "#e69f00"), ("available", "#009e73"), ("locked", "#bbbbbb"))


def plot(entries: Sequence[LedgerEntry], block: str, *, order: OrderLike | None = None, ax: Axes | None = None) -> Axes:
    """Draws how a block's budget was divided after each entry of its ledger, and returns the axes.

    Args:
        entries: what `privatekube.ledger` returns.
        block: the block's name.
        order: the Renyi order at which epsilon is drawn; if left out, the one at which the largest part of the budget
            was left at the end. With Basic composition, epsilon is drawn.
        ax: where to draw; new axes if left out.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as problem:
        raise ImportError("plot needs matplotlib: pip install 'privatekube[plot]'") from problem
    history = [(entry.time, budget) for entry in entries for budget in entry.blocks if budget.block == block]
    if not history:
        known = sorted({budget.block for entry in entries for budget in entry.blocks})
        raise ValueError(f"the ledger has no block {block!r}: it has {', '.join(known) or 'none'}")
    times: list[datetime] = [time for time, _ in history]
    last = history[-1][1]
    at: Decimal | None = None
    if isinstance(last.total, Curve):
        at = _best(last.total, last.consumed) if order is None else Decimal(order_text(order))
        if at not in last.total:
            raise AmountError(f"{at} is not one of the dataset's Renyi orders: {', '.join(map(str, last.total))}")
    axes = cast("Any", plt.subplots()[1] if ax is None else ax)
    parts = [[_epsilon(getattr(budget, part), at) for _, budget in history] for part, _ in PARTS]
    axes.stackplot(
        times, *parts, labels=[part for part, _ in PARTS], colors=[colour for _, colour in PARTS], step="post"
    )
    axes.plot(
        times,
        [_epsilon(budget.total, at) for _, budget in history],
        color="black",
        drawstyle="steps-post",
        label="total",
    )
    axes.set_title(block)
    axes.set_xlabel("time")
    axes.set_ylabel("epsilon" if at is None else f"epsilon at order {at}")
    axes.set_ylim(bottom=0)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    axes.figure.autofmt_xdate()
    return cast("Axes", axes)


def _best(total: Curve, consumed: Amounts) -> Decimal:
    """The order at which the largest part is left."""

    def left(order: Decimal) -> Decimal:
        capacity = total[order] or Decimal(0)
        used = (consumed[order] if isinstance(consumed, Curve) else None) or Decimal(0)
        return (capacity - used) / capacity if capacity > 0 else Decimal("-Infinity")

    return max(total, key=left)


def _epsilon(amount: Amounts, order: Decimal | None) -> float:
    """For a figure only: nothing is calculated with it. What is overdrawn at an order is drawn as nothing."""
    epsilon = amount[order] if isinstance(amount, Curve) and order is not None else None
    if not isinstance(amount, Curve):
        epsilon = amount.epsilon
    return max(0.0, float(epsilon or 0))
