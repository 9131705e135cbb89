"""Mechanisms and what they cost. Every number here is computed by the crate that charges for it in a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal, TypeAlias, cast

from . import _native
from ._amounts import (
    DELTA_DECIMALS,
    EPSILON_DECIMALS,
    Amount,
    OrderLike,
    delta_text,
    epsilon_text,
    epsilon_units,
    from_units,
    order_text,
    plain,
)
from ._errors import AmountError, MechanismError

Conversion: TypeAlias = Literal["basic", "improved"]
"""How a curve becomes an (epsilon, delta): `basic`, by which blocks get their capacity, or `improved`, for reports."""

DEFAULT_ORDERS: tuple[Decimal, ...] = tuple(Decimal(order) for order in _native.default_orders())
"""The Renyi orders of a dataset that names none."""


@dataclass(frozen=True)
class Guarantee:
    """An (epsilon, delta), exactly.

    >>> Guarantee.of("0.5", "1e-9")
    Guarantee(epsilon=Decimal('0.5'), delta=Decimal('1E-9'))
    """

    epsilon: Decimal
    delta: Decimal

    @classmethod
    def of(cls, epsilon: Amount, delta: Amount) -> Guarantee:
        """Returns the pair, or raises `AmountError`."""
        return cls(Decimal(epsilon_text(epsilon)), Decimal(delta_text(delta)))

    def to_spec(self) -> dict[str, Any]:
        """Returns the fields of a claim's budget."""
        return {"epsilon": epsilon_text(self.epsilon), "delta": delta_text(self.delta)}


@dataclass(frozen=True)
class Proven:
    """What a curve proves, rounded up, and the order that proves it.

    If that is the first or the last order of the curve, an order beyond might prove less.
    """

    value: Decimal
    order: Decimal


class Curve(Mapping[Decimal, "Decimal | None"]):
    """An epsilon at each of some Renyi orders, exactly. `None` is a cost that is more than 64 bits count (over
    9223372).

    >>> curve = Curve({2: "0.1", 4: "0.25"})
    >>> curve[2]
    Decimal('0.1')
    >>> (curve + curve)[4]
    Decimal('0.5')
    """

    __slots__ = ("_orders", "_units")

    def __init__(self, epsilons: Mapping[OrderLike, Amount | None] | Mapping[Decimal, Decimal | None]) -> None:
        given: dict[str, int] = {}
        for order, epsilon in epsilons.items():
            text = order_text(order)
            if text in given:
                raise AmountError(f"the Renyi order {text} is given twice")
            given[text] = _native.BEYOND if epsilon is None else epsilon_units(epsilon, f"epsilon at order {text}")
        orders = _sorted(given)
        self._orders: tuple[str, ...] = tuple(orders)
        self._units: tuple[int, ...] = tuple(given[order] for order in orders)

    @classmethod
    def _of_units(cls, orders: Iterable[str], units: Iterable[int]) -> Curve:
        curve = cls.__new__(cls)
        curve._orders = tuple(orders)
        curve._units = tuple(units)
        return curve

    @classmethod
    def from_spec(cls, points: Iterable[Mapping[str, Any]]) -> Curve:
        """Reads the curve that an object or a grant of the cluster has. Its epsilons may be negative."""
        found: dict[str, int] = {}
        for point in points:
            epsilon = point.get("epsilon")
            found[order_text(str(point["order"]))] = (
                _native.BEYOND if epsilon is None else int(Fraction(str(epsilon)) * 10**EPSILON_DECIMALS)
            )
        orders = _sorted(found)
        return cls._of_units(orders, (found[order] for order in orders))

    @classmethod
    def capacity(cls, epsilon: Amount, delta: Amount, orders: Iterable[OrderLike] = DEFAULT_ORDERS) -> Curve:
        """Returns all that a block of a dataset with Renyi composition may ever spend, if it guarantees (epsilon,
        delta)."""
        texts = _order_texts(orders)
        try:
            return cls._of_units(texts, _native.capacity(texts, epsilon_text(epsilon), delta_text(delta)))
        except ValueError as problem:
            raise AmountError(str(problem)) from None

    def to_spec(self) -> list[dict[str, str]]:
        """Returns the curve as the field `renyi` of a claim's budget."""
        points: list[dict[str, str]] = []
        for order, units in zip(self._orders, self._units, strict=True):
            if units == _native.BEYOND:
                raise AmountError(f"the epsilon at order {order} is over 9223372: no block has as much")
            points.append({"order": order, "epsilon": plain(from_units(units, EPSILON_DECIMALS))})
        return points

    def epsilon(self, delta: Amount, conversion: Conversion = "improved") -> Proven | None:
        """Returns the smallest epsilon that the curve proves for `delta`; `None` if it proves none."""
        found = self._prove(_native.epsilon, delta_text(delta), conversion)
        return found and Proven(from_units(found[0], EPSILON_DECIMALS), Decimal(found[1]))

    def delta(self, epsilon: Amount, conversion: Conversion = "improved") -> Proven | None:
        """Returns the smallest delta that the curve proves for `epsilon`; `None` if it proves none."""
        found = self._prove(_native.delta, epsilon_text(epsilon), conversion)
        return found and Proven(from_units(found[0], DELTA_DECIMALS), Decimal(found[1]))

    def adaptive_delta(self, epsilon: Amount) -> Decimal:
        """Returns the largest delta that all that is granted on a block of this capacity can have for `epsilon`, even
        if each claim depends on the answers to earlier ones."""
        try:
            units = _native.adaptive_delta(list(self._orders), list(self._units), epsilon_text(epsilon))
        except ValueError as problem:
            raise AmountError(str(problem)) from None
        return from_units(units, DELTA_DECIMALS)

    def _prove(self, function: Any, given: str, conversion: str) -> tuple[int, str] | None:
        try:
            return cast("tuple[int, str] | None", function(list(self._orders), list(self._units), given, conversion))
        except ValueError as problem:
            raise AmountError(str(problem)) from None

    def __getitem__(self, order: OrderLike) -> Decimal | None:
        try:
            units = self._units[self._orders.index(order_text(order))]
        except ValueError:
            raise KeyError(order) from None
        return None if units == _native.BEYOND else _shortest(units)

    def __iter__(self) -> Iterator[Decimal]:
        return (Decimal(order) for order in self._orders)

    def __len__(self) -> int:
        return len(self._orders)

    def __add__(self, other: object) -> Curve:
        if not isinstance(other, Curve):
            return NotImplemented
        if self._orders != other._orders:
            raise AmountError(
                f"curves at different orders don't add up: {', '.join(self._orders)} and {', '.join(other._orders)}"
            )
        pairs = zip(self._units, other._units, strict=True)
        return Curve._of_units(self._orders, (_native.add_units(one, two) for one, two in pairs))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Curve) and (self._orders, self._units) == (other._orders, other._units)

    def __hash__(self) -> int:
        return hash((self._orders, self._units))

    def __repr__(self) -> str:
        amounts = (f"{order}: {epsilon}" for order, epsilon in self.items())
        return f"Curve({{{', '.join(amounts)}}})"


class Mechanism:
    """A differentially private mechanism by name, or a sum or multiple of several.

    >>> training = Mechanism.parse("dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=1000)")
    >>> both = training + 2 * Mechanism.laplace(scale=10)
    >>> str(both)
    'dp-sgd(noise-multiplier=1.1,sample-rate=0.01,steps=1000) + 2*laplace(scale=10)'
    >>> both.curve([1.5, 2, 4, 8])[8]
    Decimal('0.655423882391')
    >>> both.curve([1.5, 2, 4, 8]).epsilon(delta="1e-9")
    Proven(value=Decimal('3.185295960519'), order=Decimal('8'))

    What is wrong is said as in a cluster:

    >>> Mechanism.parse("gaussian(scale=3)")
    Traceback (most recent call last):
    privatekube.MechanismError: gaussian has no parameter "scale", needs sigma: write gaussian(sigma=2.1)
    """

    __slots__ = ("_native",)

    def __init__(self, text: str) -> None:
        try:
            self._native = _native.Mechanism.parse(text)
        except ValueError as problem:
            raise MechanismError(str(problem)) from None

    @classmethod
    def parse(cls, text: str) -> Mechanism:
        """Reads a mechanism as a claim has it, or raises `MechanismError`."""
        return cls(text)

    @classmethod
    def gaussian(cls, sigma: float) -> Mechanism:
        """Gaussian noise of that standard deviation, at L2 sensitivity 1."""
        return cls(f"gaussian(sigma={float(sigma)!r})")

    @classmethod
    def laplace(cls, scale: float) -> Mechanism:
        """Laplace noise of that scale, at L1 sensitivity 1."""
        return cls(f"laplace(scale={float(scale)!r})")

    @classmethod
    def dp_sgd(
        cls, noise_multiplier: float, *, steps: int, sample_rate: float | None = None, batch_size: int | None = None
    ) -> Mechanism:
        """The Gaussian mechanism on a Poisson sample, once for each step. Give `sample_rate`, or `batch_size` for the
        rate that follows from the records of the blocks that are granted."""
        sampling: list[str] = []
        if sample_rate is not None:
            sampling.append(f"sample-rate={float(sample_rate)!r}")
        if batch_size is not None:
            sampling.append(f"batch-size={batch_size}")
        return cls(
            f"dp-sgd({','.join([f'noise-multiplier={float(noise_multiplier)!r}', *sampling, f'steps={steps}'])})"
        )

    @classmethod
    def pure(cls, epsilon: Amount) -> Mechanism:
        """Anything that has this epsilon with delta 0."""
        return cls(f"pure(epsilon={epsilon_text(epsilon)})")

    @classmethod
    def zcdp(cls, rho: float, xi: float = 0.0) -> Mechanism:
        """Anything that has this zero-concentrated privacy."""
        return cls(f"zcdp(rho={float(rho)!r})" if xi == 0 else f"zcdp(rho={float(rho)!r},xi={float(xi)!r})")

    @classmethod
    def guarantee(cls, epsilon: Amount, delta: Amount) -> Mechanism:
        """What (epsilon, delta) stands for: with Renyi composition, Gaussian noise, or with delta 0 a pure epsilon."""
        return cls(f"guarantee(epsilon={epsilon_text(epsilon)},delta={delta_text(delta)})")

    def on_records(self, records: int) -> Mechanism:
        """Returns the mechanism on so many records: each batch size becomes a sample rate, rounded up.

        >>> str(Mechanism.dp_sgd(1.1, batch_size=256, steps=1000).on_records(1024))
        'dp-sgd(noise-multiplier=1.1,sample-rate=0.25,steps=1000)'
        """
        if records < 0:
            raise MechanismError(f"records is {records}: it must be zero or more")
        made = Mechanism.__new__(Mechanism)
        made._native = self._native.on_records(records)
        return made

    @property
    def has_batch_size(self) -> bool:
        """Whether its cost depends on how many records the granted blocks have."""
        return self._native.has_batch_size()

    @property
    def has_sample_rate(self) -> bool:
        """Whether it draws records by a rate below 1, so that a claim needs a fixed number of blocks."""
        return self._native.has_sample_rate()

    def curve(self, orders: Iterable[OrderLike] = DEFAULT_ORDERS) -> Curve:
        """Returns what a dataset with Renyi composition charges for it at each of the orders, rounded up. With a batch
        size, as on no more records than that."""
        texts = _order_texts(orders)
        try:
            return Curve._of_units(texts, self._native.curve(texts))  # pyright: ignore[reportPrivateUsage]
        except ValueError as problem:
            raise MechanismError(str(problem)) from None

    def basic(self) -> Guarantee:
        """Returns what a dataset with Basic composition charges for it, or raises `MechanismError` if it has no epsilon
        and delta.

        >>> Mechanism.parse("3*laplace(scale=10)").basic().epsilon
        Decimal('0.3')
        """
        try:
            epsilon, delta = self._native.guarantee()
        except ValueError as problem:
            raise MechanismError(str(problem)) from None
        if epsilon == _native.BEYOND:
            raise MechanismError("its epsilon is over 9223372: no block has as much")
        return Guarantee(_shortest(epsilon), Decimal(plain(from_units(delta, DELTA_DECIMALS))))

    def epsilon(
        self, delta: Amount, orders: Iterable[OrderLike] = DEFAULT_ORDERS, conversion: Conversion = "improved"
    ) -> Proven | None:
        """Returns the epsilon that its curve proves for `delta`."""
        return self.curve(orders).epsilon(delta, conversion)

    def __add__(self, other: object) -> Mechanism:
        if not isinstance(other, Mechanism):
            return NotImplemented
        return Mechanism(f"{self} + {other}")

    def __mul__(self, times: object) -> Mechanism:
        if not isinstance(times, int) or isinstance(times, bool):
            return NotImplemented
        # A multiple is of one term: the crate writes a sum as terms with " + " between them.
        return Mechanism(" + ".join(_multiple(term, times) for term in str(self).split(" + ")))

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mechanism) and self._native == other._native

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        return str(self._native)

    def __repr__(self) -> str:
        return f"Mechanism({str(self)!r})"


def _multiple(term: str, times: int) -> str:
    factor, star, kind = term.partition("*")
    return f"{int(factor) * times}*{kind}" if star else f"{times}*{term}"


def _shortest(units: int) -> Decimal:
    return Decimal(plain(from_units(units, EPSILON_DECIMALS)))


def _order_texts(orders: Iterable[OrderLike]) -> list[str]:
    return _sorted(order_text(order) for order in orders)


def _sorted(orders: Iterable[str]) -> list[str]:
    try:
        return _native.sorted_orders(list(orders))
    except ValueError as problem:
        raise AmountError(str(problem)) from None
