"""Exact amounts. Whatever is given becomes a decimal text, which the Rust crate reads; a float is refused, since it
rarely is the number that was written."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import TypeAlias

from . import _native
from ._errors import AmountError

Amount: TypeAlias = str | int | Decimal | Fraction
"""An exact number: `"0.5"`, `1`, `Decimal("1e-9")`, `Fraction(1, 8)`."""

OrderLike: TypeAlias = str | int | float | Decimal
"""A Renyi order. A float counts as the decimal that Python prints: 1.1 is order 1.1."""

EPSILON_DECIMALS = 12
DELTA_DECIMALS = 18


def round_up(value: float | Amount, decimals: int = EPSILON_DECIMALS) -> Decimal:
    """Returns the least decimal with so many decimals that is not below `value`.

    For an epsilon (12 decimals) or a delta (18) that another library computed as a float.

    >>> round_up(0.1)
    Decimal('0.100000000001')
    >>> round_up("0.5")
    Decimal('0.500000000000')
    """
    try:
        exact = Fraction(value)
    except (ValueError, OverflowError, ZeroDivisionError, TypeError) as problem:
        raise AmountError(f"{value!r} is not a finite number: write one like 0.5") from problem
    units = -((-exact.numerator * 10**decimals) // exact.denominator)
    return from_units(units, decimals)


def from_units(units: int, decimals: int) -> Decimal:
    """The decimal, exact whatever the context's precision."""
    sign = 1 if units < 0 else 0
    return Decimal((sign, tuple(int(digit) for digit in str(abs(units))), -decimals))


def plain(amount: Decimal) -> str:
    """A decimal as the shortest plain text, like `0.5` or `0.000000001`."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def epsilon_units(amount: Amount, what: str = "epsilon") -> int:
    """An epsilon in units of 1e-12."""
    return _units(amount, what, EPSILON_DECIMALS)


def delta_units(amount: Amount, what: str = "delta") -> int:
    """A delta in units of 1e-18."""
    return _units(amount, what, DELTA_DECIMALS)


def epsilon_text(amount: Amount, what: str = "epsilon") -> str:
    """An epsilon as the text that a claim has."""
    return plain(from_units(epsilon_units(amount, what), EPSILON_DECIMALS))


def delta_text(amount: Amount, what: str = "delta") -> str:
    """A delta as the text that a claim has."""
    return plain(from_units(delta_units(amount, what), DELTA_DECIMALS))


def order_text(order: OrderLike) -> str:
    """A Renyi order as the text that a dataset has."""
    if isinstance(order, Decimal):
        text = plain(order) if order.is_finite() else str(order)
    elif isinstance(order, float) and order.is_integer():
        text = str(int(order))
    else:
        text = str(order)
    try:
        return _native.order(text)
    except ValueError as problem:
        raise AmountError(str(problem)) from None


def _units(amount: Amount, what: str, decimals: int) -> int:
    text = _text(amount, what, decimals)
    try:
        return _native.epsilon_units(text) if decimals == EPSILON_DECIMALS else _native.delta_units(text)
    except ValueError as problem:
        raise AmountError(f"{what}: {problem}") from None


def _text(amount: object, what: str, decimals: int) -> str:
    if isinstance(amount, str):
        return amount
    if isinstance(amount, int) and not isinstance(amount, bool):
        return str(amount)
    if isinstance(amount, Decimal):
        return str(amount)
    if isinstance(amount, Fraction):
        units = amount * 10**decimals
        if units.denominator != 1:
            raise AmountError(
                f"{what}: {amount} has no exact decimal with {decimals} decimals: round it, for example by privatekube.round_up"
            )
        return plain(from_units(units.numerator, decimals))
    if isinstance(amount, float):
        raise AmountError(
            f"{what}: {amount!r} is a float, which isn't exact: write {str(amount)!r} in quotes, or privatekube.round_up({amount!r})"
        )
    raise AmountError(
        f"{what}: {amount!r} is not a number: write a decimal in quotes like '0.5', an int, a Decimal or a Fraction"
    )
