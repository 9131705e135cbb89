"""Opacus (1.6): the history of an accountant as a mechanism."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._amounts import OrderLike
from .._errors import NoCounterpart
from .._mechanism import DEFAULT_ORDERS, Curve, Mechanism
from ._terms import Terms, count, noise, rate

_WHAT = "the history of Opacus"


def from_accountant(accountant: Any) -> Mechanism:
    """Returns what a privacy engine's accountant has counted so far, such as `privacy_engine.accountant`.

    Every accountant of Opacus (`rdp`, `prv`, `gdp`) keeps the same history. Its sample rates are those of Poisson
    sampling, which is what `make_private` sets up by default; with `poisson_sampling=False` they are not what was done,
    and nothing notices.
    """
    return from_history(_history(accountant))


def curve_of(accountant: Any, orders: Iterable[OrderLike] = DEFAULT_ORDERS) -> Curve:
    """Returns the Renyi curve of what an accountant has counted, at the dataset's orders: for a history with more
    different steps than a mechanism's name may have."""
    return _terms(_history(accountant)).curve(_WHAT, orders)


def _history(accountant: Any) -> Iterable[tuple[float, float, int]]:
    history = getattr(accountant, "history", None)
    if history is None:
        raise NoCounterpart(type(accountant).__name__, "has no history, so it is no accountant of Opacus")
    return history


def from_history(history: Iterable[tuple[float, float, int]]) -> Mechanism:
    """Returns the mechanism of (noise multiplier, sample rate, steps) one after the other.

    >>> str(from_history([(1.1, 0.01, 500), (1.1, 0.01, 500), (2.0, 1.0, 3)]))
    'dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=1000) + 3*gaussian(sigma=2)'
    """
    return _terms(history).mechanism(_WHAT)


def _terms(history: Iterable[tuple[float, float, int]]) -> Terms:
    terms = Terms()
    for noise_multiplier, sample_rate, steps in history:
        what = "a step of Opacus"
        terms.add_steps(noise(noise_multiplier, what), rate(sample_rate, what), count(steps, what))
    return terms


def planned(*, noise_multiplier: float, sample_rate: float, steps: int) -> Mechanism:
    """Returns what a training will cost that is planned and not run yet: what to claim before it begins.

    >>> str(planned(noise_multiplier=1.1, sample_rate=0.01, steps=1000))
    'dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=1000)'
    """
    return from_history([(noise_multiplier, sample_rate, steps)])
