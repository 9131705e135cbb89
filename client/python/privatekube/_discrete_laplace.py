"""Exact samples of the discrete Laplace distribution, and how large a sum of them may be.

The sampler is that of Canonne, Kamath and Steinke 2020 (The discrete Gaussian for differential privacy), algorithms 1
and 2: integers alone, so that no rounding of floats changes the distribution (Mironov 2012).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

RandBelow = Callable[[int], int]
"""Draws an integer from 0 to below its argument, each with the same probability, like `secrets.randbelow`."""

_TRIED = 400
"""How many parameters of Chernoff's bound are tried: each gives a bound that holds, and the best is within a per mille."""


def discrete_laplace(epsilon: Fraction, randbelow: RandBelow) -> int:
    """Draws an integer x with a probability in proportion to exp(-epsilon |x|).

    Added to a count that one user changes by 1, it has the pure epsilon `epsilon`.
    """
    numerator, denominator = epsilon.numerator, epsilon.denominator
    while True:
        rest = randbelow(denominator)
        if not _bernoulli_exp(rest, denominator, randbelow):
            continue
        whole = 0
        while _bernoulli_exp(1, 1, randbelow):
            whole += 1
        size = (rest + denominator * whole) // numerator
        is_negative = randbelow(2) == 1
        # Else 0 would have twice its probability.
        if not (is_negative and size == 0):
            return -size if is_negative else size


def _bernoulli_exp(numerator: int, denominator: int, randbelow: RandBelow) -> bool:
    """Is true with the probability exp(-numerator / denominator), where that fraction is from 0 to 1."""
    tries = 1
    while randbelow(denominator * tries) < numerator:
        tries += 1
    return tries % 2 == 1


def upper_bound(epsilon: Fraction, terms: int, failure: Fraction) -> int:
    """Returns a whole number which the sum of so many independent samples exceeds with at most the probability
    `failure`.

    By Chernoff's bound: for each t below epsilon, P(sum >= x) is at most M(t)^terms exp(-t x), where M is the
    moment-generating function (1-q)^2 / ((1 - q e^t)(1 - q e^-t)) with q = e^-epsilon.
    """
    if terms == 0:
        return 0
    rate = float(epsilon)
    log_failure = math.log(failure.denominator) - math.log(failure.numerator)
    bounds: list[float] = []
    for step in range(1, _TRIED):
        t = rate * step / _TRIED
        log_moment = 2 * _log_below(rate) - _log_below(rate - t) - _log_below(rate + t)
        bounds.append((terms * log_moment + log_failure) / t)
    # The margin is far above what the floats of this computation can be wrong by.
    return math.floor(min(bounds) * (1 + 1e-9)) + 1


def _log_below(exponent: float) -> float:
    """ln(1 - e^-exponent)."""
    return math.log(-math.expm1(-exponent))
