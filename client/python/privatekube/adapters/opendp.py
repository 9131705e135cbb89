"""OpenDP (0.16): what a measurement's privacy map says, as a mechanism or a curve."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._amounts import OrderLike, order_text, plain, round_up
from .._errors import NoCounterpart
from .._mechanism import DEFAULT_ORDERS, Curve, Mechanism


def from_measurement(measurement: Any, d_in: Any = 1) -> Mechanism:
    """Returns the mechanism of which a measurement's privacy map is the bound.

    A measurement with pure epsilon (`MaxDivergence`) becomes `pure(...)`, one with zCDP (`ZeroConcentratedDivergence`)
    becomes `zcdp(...)`. OpenDP's map says no more than that of a mechanism: where it adds Laplace noise of a scale that
    you know, `laplace(scale=...)` costs less.

    Args:
        measurement: an `opendp.Measurement`.
        d_in: how far apart neighbouring data sets are in the measurement's input metric: what one record may change.

    Raises:
        NoCounterpart: the measure is another one; the error names it and says what can be claimed instead.
    """
    measure = str(measurement.output_measure)
    if measure == "MaxDivergence":
        epsilon = round_up(measurement.map(d_in))
        if epsilon == 0:
            raise NoCounterpart(measure, "costs nothing at this distance, so there is nothing to claim")
        return Mechanism.pure(epsilon)
    if measure == "ZeroConcentratedDivergence":
        rho = float(measurement.map(d_in))
        if rho == 0:
            raise NoCounterpart(measure, "costs nothing at this distance, so there is nothing to claim")
        return Mechanism.zcdp(rho)
    if measure.startswith("RenyiDivergence"):
        raise NoCounterpart(measure, "is a curve and no mechanism with a name: use curve_of, and claim renyi=curve")
    if measure.startswith(("Approximate", "SmoothedMaxDivergence", "FixedSmoothedMaxDivergence")):
        raise NoCounterpart(
            measure,
            "is an epsilon with a delta, whose Renyi curve is unknown. On a dataset with Basic composition, claim epsilon= and delta=; "
            "on one with Renyi composition, use the measurement before the delta came in",
        )
    raise NoCounterpart(measure, "is not a measure that this version of privatekube knows")


def curve_of(measurement: Any, d_in: Any = 1, orders: Iterable[OrderLike] = DEFAULT_ORDERS) -> Curve:
    """Returns the Renyi curve of a measurement whose measure is `RenyiDivergence`, at the dataset's orders and rounded
    up; of any other, the curve of its mechanism."""
    if not str(measurement.output_measure).startswith("RenyiDivergence"):
        return from_measurement(measurement, d_in).curve(orders)
    curve = measurement.map(d_in)
    return Curve({order: plain(round_up(curve(float(order_text(order))))) for order in orders})
