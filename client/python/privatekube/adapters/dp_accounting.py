"""Google's dp-accounting (0.6): a tree of `DpEvent`s as a mechanism."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any, Final, Literal, cast

from .._amounts import OrderLike, plain, round_up
from .._errors import NoCounterpart
from .._mechanism import DEFAULT_ORDERS, Curve, Mechanism
from ._terms import Terms, count, noise, rate

Neighbours = Literal["replace-one", "replace-special"]

_REFUSED: Final = {
    "NonPrivateDpEvent": "is not private at all",
    "UnsupportedDpEvent": "says nothing of what was done",
    "SampledWithReplacementDpEvent": "draws batches of a fixed size, of which no mechanism here has the cost: sample by Poisson",
    "SampledWithoutReplacementDpEvent": "draws batches of a fixed size, of which no mechanism here has the cost: sample by Poisson",
    "RepeatAndSelectDpEvent": "selects among a random number of runs, of which no mechanism here has the cost",
    "MixtureOfGaussiansDpEvent": "has a sensitivity that is drawn, of which no mechanism here has the cost",
    "TruncatedSubsampledGaussianDpEvent": "truncates batches, of which no mechanism here has the cost: don't truncate them",
}


def from_event(event: Any, *, neighbours: Neighbours = "replace-one") -> Mechanism:
    """Returns the mechanism that an event is.

        from_event(dp_accounting.SelfComposedDpEvent(
            dp_accounting.PoissonSampledDpEvent(0.01, dp_accounting.GaussianDpEvent(1.1)), 1000))
        # dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=1000)

    Discrete Laplace noise becomes `pure(...)`, which costs somewhat more than it; a Gaussian that is run several times
    on one sample becomes one Gaussian of less noise, which is the same. All others are what they are.

    Args:
        event: a `dp_accounting.DpEvent`.
        neighbours: of randomized response, `replace-one` or `replace-special`, as your accountant has its neighboring
            relation.

    Raises:
        NoCounterpart: an event has no honest counterpart; the error names it.
    """
    terms = Terms()
    add_event(event, 1, terms, neighbours)
    return terms.mechanism(type(event).__name__)


def curve_of(
    event: Any, orders: Iterable[OrderLike] = DEFAULT_ORDERS, *, neighbours: Neighbours = "replace-one"
) -> Curve:
    """Returns the Renyi curve of an event at the dataset's orders: for a sum of more mechanisms than a name may have."""
    terms = Terms()
    add_event(event, 1, terms, neighbours)
    return terms.curve(type(event).__name__, orders)


def add_event(event: Any, times: int, terms: Terms, neighbours: Neighbours = "replace-one") -> None:
    """Adds an event, so many times, to `terms`."""
    name = type(event).__name__
    read = _READ.get(name)
    if read is None:
        raise NoCounterpart(name, _REFUSED.get(name, "is not an event that this version of privatekube knows"))
    read(event, times, terms, neighbours)


def _nothing(event: Any, times: int, terms: Terms, neighbours: Neighbours) -> None:
    """It costs nothing."""


def _gaussian(event: Any, times: int, terms: Terms, neighbours: Neighbours) -> None:
    terms.add(f"gaussian(sigma={noise(event.noise_multiplier, 'GaussianDpEvent')!r})", times)


def _laplace(event: Any, times: int, terms: Terms, neighbours: Neighbours) -> None:
    terms.add(f"laplace(scale={noise(event.noise_multiplier, 'LaplaceDpEvent')!r})", times)


def _discrete_laplace(event: Any, times: int, terms: Terms, neighbours: Neighbours) -> None:
    # At a distance of d, probabilities differ by e^(a d) at most.
    parameter = noise(event.noise_parameter, "DiscreteLaplaceDpEvent")
    epsilon = round_up(Fraction(parameter) * count(event.sensitivity, "DiscreteLaplaceDpEvent"))
    if epsilon > 0:
        terms.add(f"pure(epsilon={plain(epsilon)})", times)


def _randomized_response(event: Any, times: int, terms: Terms, neighbours: Neighbours) -> None:
    name = "RandomizedResponseDpEvent"
    probability, categories = rate(event.noise_parameter, name), count(event.num_buckets, name)
    if categories <= 1:
        return
    noise(probability, name)
    terms.add(
        f"randomized-response(noise-probability={probability!r},categories={categories},neighbours={neighbours})", times
    )


def _zcdp(event: Any, times: int, terms: Terms, neighbours: Neighbours) -> None:
    rho, xi = float(event.rho), float(event.xi)
    if rho < 0 or xi < 0 or not (math.isfinite(rho) and math.isfinite(xi)):
        raise NoCounterpart("ZCDpEvent", f"has rho {rho} and xi {xi}: they must be finite and at least 0")
    if rho == 0:
        if xi > 0:
            raise NoCounterpart("ZCDpEvent", f"has rho 0 and xi {xi}: claim pure(epsilon={xi}) for it")
        return
    terms.add(f"zcdp(rho={rho!r})" if xi == 0 else f"zcdp(rho={rho!r},xi={xi!r})", times)


def _tree(event: Any, times: int, terms: Terms, neighbours: Neighbours) -> None:
    name = "SingleEpochTreeAggregationDpEvent"
    counts: Any = event.step_counts
    several = cast("Sequence[Any]", counts if isinstance(counts, Sequence) else [counts])
    # A record is in one of the trees at most: the deepest costs most.
    steps = max((count(each, name) for each in several), default=0)
    if steps:
        terms.add(f"tree-aggregation(noise-multiplier={noise(event.noise_multiplier, name)!r},steps={steps})", times)


def _repeated(event: Any, times: int, terms: Terms, neighbours: Neighbours) -> None:
    repeats = count(event.count, "SelfComposedDpEvent")
    if repeats:
        add_event(event.event, times * repeats, terms, neighbours)


def _composed(event: Any, times: int, terms: Terms, neighbours: Neighbours) -> None:
    for each in event.events:
        add_event(each, times, terms, neighbours)


def _sampled(event: Any, times: int, terms: Terms, neighbours: Neighbours) -> None:
    name = "PoissonSampledDpEvent"
    probability = rate(event.sampling_probability, name)
    if probability == 1:
        add_event(event.event, times, terms, neighbours)
        return
    inner = event.event
    kind = type(inner).__name__
    if kind == "NoOpDpEvent" or probability == 0:
        return
    if kind == "LaplaceDpEvent":
        scale = noise(inner.noise_multiplier, kind)
        terms.add(f"subsampled-laplace(scale={scale!r},sample-rate={probability!r})", times)
        return
    terms.add_steps(_one_gaussian(inner, kind), probability, times)


def _one_gaussian(event: Any, within: str) -> float:
    """The noise of one Gaussian that is as good as all Gaussians of `event` on the same sample, never rounded up."""
    precisions = list(_precisions(event, within))
    if len(precisions) == 1 and precisions[0][1] == 1:
        return precisions[0][0]
    total = math.fsum(repeats / (sigma * sigma) for sigma, repeats in precisions)
    if total == 0:
        raise NoCounterpart(f"PoissonSampledDpEvent of {within}", "has no event in it: leave it out")
    # A few units in the last place are more than the error of these operations.
    return 1 / math.sqrt(total) * (1 - 1e-15)


def _precisions(event: Any, within: str) -> list[tuple[float, int]]:
    kind = type(event).__name__
    if kind == "GaussianDpEvent":
        return [(noise(event.noise_multiplier, kind), 1)]
    if kind == "SelfComposedDpEvent":
        repeats = count(event.count, kind)
        return [(sigma, times * repeats) for sigma, times in _precisions(event.event, within) if repeats]
    if kind == "ComposedDpEvent":
        return [each for inner in event.events for each in _precisions(inner, within)]
    if kind == "NoOpDpEvent":
        return []
    raise NoCounterpart(
        f"PoissonSampledDpEvent of {kind}",
        "is a sample of something else than Gaussians or one Laplace, whose cost is not known",
    )


_READ: Final[dict[str, Callable[[Any, int, Terms, Neighbours], None]]] = {
    "NoOpDpEvent": _nothing,
    "GaussianDpEvent": _gaussian,
    "LaplaceDpEvent": _laplace,
    "DiscreteLaplaceDpEvent": _discrete_laplace,
    "RandomizedResponseDpEvent": _randomized_response,
    "ZCDpEvent": _zcdp,
    "SingleEpochTreeAggregationDpEvent": _tree,
    "SelfComposedDpEvent": _repeated,
    "ComposedDpEvent": _composed,
    "PoissonSampledDpEvent": _sampled,
}
