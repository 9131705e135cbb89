"""JAX Privacy (2.0): what one of its training accountants would count, as a mechanism."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from .._amounts import OrderLike
from .._errors import NoCounterpart
from .._mechanism import DEFAULT_ORDERS, Curve, Mechanism
from ._terms import Terms, count
from .dp_accounting import add_event


def _recording(events: list[tuple[Any, int]]) -> Any:
    """A configuration of JAX Privacy whose accountant keeps events and counts nothing.

    It is one of PLDs, since trainings accept no other where they need PLDs.
    """
    pld: Any = importlib.import_module("dp_accounting.pld").PLDAccountant
    configuration: Any = importlib.import_module("jax_privacy.accounting").PldAccountantConfig

    def compose(self: Any, event: Any, count: int = 1) -> Any:
        events.append((event, count))
        return self

    def nothing(self: Any) -> None:
        """It has no state."""

    def get_epsilon(self: Any, target_delta: float) -> float:
        return 0.0

    recorder: Any = type("Recorder", (pld,), {"__init__": nothing, "compose": compose, "get_epsilon": get_epsilon})

    def create_accountant(self: Any) -> Any:
        return recorder()

    return type("Recording", (configuration,), {"create_accountant": create_accountant})()


def from_training(accountant: Any, dp_params: Any, num_updates: int) -> Mechanism:
    """Returns the mechanism of a training: what to claim before it begins.

    The accountant itself says which events a training is, so schedules of noise and batch sizes, cycles and batches of
    a fixed size are what it makes of them; the events become mechanisms as in `privatekube.adapters.dp_accounting`.

    Args:
        accountant: a training accountant such as `jax_privacy.accounting.DpsgdTrainingAccountant(...)`, or its class.
        dp_params: the `jax_privacy.accounting.DpParams` of the training.
        num_updates: how many updates it makes.

    Raises:
        NoCounterpart: the training truncates batches, or is about users with several examples: no mechanism has that
        cost.
    """
    made, terms = _read(accountant, dp_params, num_updates)
    return terms.mechanism(made)


def curve_of(accountant: Any, dp_params: Any, num_updates: int, orders: Iterable[OrderLike] = DEFAULT_ORDERS) -> Curve:
    """Returns the Renyi curve of a training at the dataset's orders: for schedules with more different steps than a
    mechanism's name may have."""
    made, terms = _read(accountant, dp_params, num_updates)
    return terms.curve(made, orders)


def _read(accountant: Any, dp_params: Any, num_updates: int) -> tuple[str, Terms]:
    made = accountant if isinstance(accountant, type) else type(accountant)
    if num_updates > 0 and not getattr(dp_params, "is_finite_guarantee", True):
        raise NoCounterpart(made.__name__, "has no finite guarantee with these parameters: is the noise above 0?")
    events: list[tuple[Any, int]] = []
    made(dp_accountant_config=_recording(events)).compute_epsilon(num_updates, dp_params)
    terms = Terms()
    for event, times in events:
        add_event(event, count(times, made.__name__), terms)
    return made.__name__, terms
