"""A sum of mechanisms as it grows: equal ones are counted, so that long trainings stay short texts."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, SupportsFloat, SupportsIndex

from .._amounts import OrderLike
from .._errors import MechanismError, NoCounterpart
from .._mechanism import Curve, Mechanism


@dataclass
class Terms:
    """How often each mechanism runs. The steps of DP-SGD are kept apart, since they belong into its name."""

    _counts: dict[str, int] = field(default_factory=dict[str, int])
    _steps: dict[tuple[float, float], int] = field(default_factory=dict[tuple[float, float], int])

    def add(self, text: str, times: int) -> None:
        """`text`, so many times."""
        if times > 0:
            self._counts[text] = self._counts.get(text, 0) + times

    def add_steps(self, noise_multiplier: float, sample_rate: float, steps: int) -> None:
        """So many steps of DP-SGD."""
        if steps > 0 and sample_rate > 0:
            key = (noise_multiplier, sample_rate)
            self._steps[key] = self._steps.get(key, 0) + steps

    def mechanism(self, what: str) -> Mechanism:
        """The sum. An error if nothing private was done at all, or if it has too many terms for a name."""
        terms = self._terms(what)
        try:
            return Mechanism.parse(" + ".join(terms))
        except MechanismError as problem:
            if len(terms) > 1:
                raise MechanismError(f"{problem}; or claim the curve of all of it, renyi=curve_of(...)") from None
            raise

    def curve(self, what: str, orders: Iterable[OrderLike]) -> Curve:
        """The Renyi curve of the sum, however many terms it has."""
        at = list(orders)
        curves = (Mechanism.parse(term).curve(at) for term in self._terms(what))
        return functools.reduce(operator.add, curves)

    def _terms(self, what: str) -> list[str]:
        terms = [
            f"dp-sgd(noise-multiplier={noise!r},sample-rate={rate!r},steps={steps})"
            if rate < 1
            # A sample of everything is the Gaussian mechanism.
            else f"{steps}*gaussian(sigma={noise!r})"
            for (noise, rate), steps in self._steps.items()
        ]
        terms.extend(f"{times}*{text}" for text, times in self._counts.items())
        if not terms:
            raise NoCounterpart(what, "costs nothing, so there is nothing to claim")
        return terms


def noise(value: SupportsFloat | SupportsIndex | str, what: str) -> float:
    """A standard deviation or scale, above 0."""
    number = float(value)
    if number <= 0 or not math.isfinite(number):
        raise NoCounterpart(what, f"has the noise {number}, and without noise above 0 nothing is private")
    return number


def rate(value: SupportsFloat | SupportsIndex | str, what: str) -> float:
    """A probability."""
    number = float(value)
    if not 0 <= number <= 1:
        raise NoCounterpart(what, f"has the probability {number}: it must be between 0 and 1")
    return number


def count(value: Any, what: str) -> int:
    """A whole number, at least 0."""
    number = int(value)
    if number != value or number < 0:
        raise NoCounterpart(what, f"has the count {value!r}: it must be a whole number, at least 0")
    return number
