"""A count of users that is published again and again, and is differentially private as a whole: by it a dataset makes
blocks of buckets of users.

The binary mechanism: Chan, Shi and Song 2011 (Private and continual release of statistics), Dwork, Naor, Pitassi and
Rothblum 2010 (Differential privacy under continual observation). The ticks are the leaves of a binary tree, of which
each node is a sum with noise of its own. A count is the sum of the few nodes that make up all ticks so far.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, cast

from ._amounts import Amount, epsilon_text
from ._claim import claim
from ._claim_object import PATIENCE, Progress
from ._cluster import BLOCKS, DATASETS, ApiFailure, Cluster, ClusterApi, Object, child, patiently
from ._discrete_laplace import RandBelow, discrete_laplace, upper_bound
from ._errors import CounterError, CounterNotCharged
from ._mechanism import DEFAULT_ORDERS, Curve, Mechanism

MOST_USERS = 10**12
"""As many as a dataset counts."""
MOST_TICKS = 2**32
FORMAT = 1
"""Of the state. Another one is refused."""
REASON = "the count of users"


@dataclass(frozen=True)
class UserCount:
    """A count after a tick. Both numbers are differentially private: nothing else of a counter may be published.

    Attributes:
        tick: the number of the tick, from 1.
        estimate: the count with its noise, which may be too high or too low, or negative.
        at_least: with the counter's confidence, there are at least so many users. It never falls, and is never below
            the start.
    """

    tick: int
    estimate: int
    at_least: int


class UserCounter:
    """Counts users for at most `horizon` ticks, such as days, so that all counts together cost each user no more than
    `mechanism`.

        with UserCounter.open("/state/users.json", horizon=4096, epsilon="0.02") as counter:
            counter.tick(new_users=came_since_yesterday(), label="2026-11-30")
            counter.publish("shop/orders")

    **Each user has to be counted once**, in the tick in which they came first. Ticks have to follow a clock, or
    anything else that tells nothing of the users.

    Args:
        horizon: how many ticks there may be: the more, the more noise or the higher the cost.
        epsilon: the pure epsilon of each sum with noise. A user is in `levels` of them.
        beta: the probability with which any `at_least` of the whole horizon may be above the true count, at most.
        start: a number of users that is public, or was counted before, to which what is counted here is added.
        randbelow: draws whole numbers, for tests; the operating system's cryptographic source if left out.

    >>> counter = UserCounter(horizon=1024, epsilon="0.05")
    >>> str(counter.mechanism)
    '11*pure(epsilon=0.05)'
    >>> counter.error_bound(tick=512)
    486
    >>> count = counter.tick(new_users=5000)
    >>> count.at_least <= 5000
    True
    """

    def __init__(
        self,
        *,
        horizon: int,
        epsilon: Amount,
        beta: Amount = "1e-6",
        start: int = 0,
        randbelow: RandBelow = secrets.randbelow,
    ) -> None:
        self.horizon = _whole(horizon, "horizon", 1, MOST_TICKS)
        self.start = _whole(start, "start", 0, MOST_USERS)
        self._epsilon = epsilon_text(epsilon)
        self._rate = Fraction(self._epsilon)
        if not Fraction(1, 10**6) <= self._rate <= 10:
            raise CounterError(f"epsilon: {epsilon} is out of range: write one from 0.000001 to 10")
        if isinstance(beta, float):
            raise CounterError(f"beta: {beta!r} is a float, which isn't exact: write '{beta!r}' in quotes")
        try:
            self._beta = Fraction(beta)
        except (ValueError, ZeroDivisionError) as problem:
            raise CounterError(f"beta: {beta!r} is not a number: write one like '1e-6'") from problem
        if not Fraction(1, 10**30) <= self._beta <= Fraction(1, 2):
            raise CounterError(f"beta: {beta} is out of range: write one from 1e-30 to 0.5")
        self._randbelow = randbelow
        self._last = UserCount(0, self.start, self.start)
        self._label: str | None = None
        # By level: a node of level n is the sum of 2^n ticks.
        self._exact: dict[int, int] = {}
        self._noisy: dict[int, int] = {}
        self._charged: set[str] = set()
        self._file: Path | None = None
        self._lock: TextIO | None = None

    @property
    def levels(self) -> int:
        """In how many sums with noise a user is, at most: log2(horizon) + 1, rounded down."""
        return self.horizon.bit_length()

    @property
    def mechanism(self) -> Mechanism:
        """What all counts together cost each user: a dataset states it as `spec.blocks.users.counted`, and a claim may
        carry it. Discrete Laplace noise on a count is exactly `pure`; the name `laplace` costs less than it does."""
        return Mechanism(f"{self.levels}*pure(epsilon={self._epsilon})")

    @property
    def count(self) -> UserCount:
        """The last count; that of tick 0 is the start."""
        return self._last

    def error_bound(self, tick: int) -> int:
        """Returns what is taken off the count of a tick, so that it isn't above the true one."""
        _whole(tick, "tick", 1, self.horizon)
        return upper_bound(self._rate, tick.bit_count(), self._beta / self.horizon)

    def tick(self, new_users: int, *, label: str | None = None) -> UserCount:
        """Counts the users who came since the tick before, and returns the count.

        A counter that was opened from a file has written its state when this returns.

        Args:
            new_users: how many came, each of whom was never counted before.
            label: names the tick, such as its day. A tick with the label of the last one is the same tick, tried
                again: its count is returned, and nobody is counted twice.
        """
        if label is not None and label == self._label:
            return self._last
        _whole(new_users, "new_users", 0, MOST_USERS)
        self._check_open()
        if self._last.tick >= self.horizon:
            raise CounterError(
                f"the horizon of {self.horizon} ticks has ended: begin another counter with start={self._last.at_least}, and "
                "count those who come from now on"
            )
        tick = self._last.tick + 1
        # The lowest bit of the tick is the level of the node that it ends: the sum of the smaller ones, and of itself.
        level = (tick & -tick).bit_length() - 1
        exact, noisy = dict(self._exact), dict(self._noisy)
        total = new_users + sum(exact.pop(smaller, 0) for smaller in range(level))
        for smaller in range(level):
            noisy.pop(smaller, None)
        exact[level] = total
        noisy[level] = total + discrete_laplace(self._rate, self._randbelow)
        estimate = self.start + sum(noisy.values())
        at_least = max(self._last.at_least, estimate - self.error_bound(tick))
        before = (self._last, self._label, self._exact, self._noisy)
        self._last, self._label = UserCount(tick, estimate, at_least), label
        self._exact, self._noisy = exact, noisy
        try:
            self._save()
        except BaseException:
            # Nobody has seen the new noise, so the tick may be tried again.
            self._last, self._label, self._exact, self._noisy = before
            raise
        return self._last

    def publish(
        self,
        dataset: str,
        *,
        blocks: str = "all",
        timeout: str | None = "10m",
        cluster: ClusterApi | None = None,
        progress: bool | Progress = True,
    ) -> int:
        """Writes `count.at_least` into the dataset, after it made sure that each user pays for being counted. Returns
        the count that the dataset then has, which is larger if somebody published more.

        Blocks to come pay by `spec.blocks.users.counted`, which has to state at least `mechanism`. Of blocks that
        exist, those that state no such `spent`, and whose users this counter may have counted, pay by a claim, which is
        consumed before the count is written.

        Args:
            dataset: its name, or `namespace/name`.
            blocks: which blocks such a claim takes: a CEL expression, or `all`. They have to contain those that have
                not paid.
            timeout: how long such a claim waits.
            cluster: a `Cluster`; that of KUBECONFIG or of the pod if left out.
            progress: as in `claim`.

        Raises:
            CounterNotCharged: the dataset doesn't state what counting costs, or the claim didn't take each block.
            ClaimError: such a claim wasn't granted. Nothing was published.
        """
        self._check_open()
        cluster = cluster or Cluster()
        home, _, name = dataset.rpartition("/")
        namespace = home or cluster.namespace
        try:
            found = patiently(cluster, lambda: cluster.get(DATASETS, namespace, name), PATIENCE)
            users = self._checked(found, f"{namespace}/{name}")
            unpaid = self._unpaid(cluster, namespace, name, found)
        except ApiFailure as failure:
            raise failure.as_error() from failure
        if unpaid:
            self._charge(f"{namespace}/{name}", unpaid, blocks, timeout, cluster, progress)
        published = int(users.get("count") or 0)
        if published >= self._last.at_least:
            return published
        body: Object = {
            "metadata": {"uid": found["metadata"]["uid"]},
            "spec": {"blocks": {"users": {"count": self._last.at_least}}},
        }
        try:
            patched = patiently(cluster, lambda: cluster.patch(DATASETS, namespace, name, body), PATIENCE)
        except ApiFailure as failure:
            raise failure.as_error() from failure
        return int(child(patched, "spec", "blocks", "users")["count"])

    def _checked(self, dataset: Object, shown: str) -> Object:
        """Its buckets of users, once it is sure that blocks to come pay."""
        spec = child(dataset, "spec")
        users = child(spec, "blocks", "users")
        if spec.get("privacyUnit") != "User" or not users:
            raise CounterError(f"dataset {shown} has no buckets of users: privacyUnit: User, and spec.blocks.users")
        counted = child(users, "counted", "budget")
        if not counted or not self._is_paid(counted, spec):
            says = f"states {counted}" if counted else "doesn't state what counting costs"
            raise CounterNotCharged(
                f"dataset {shown} {says}, so its blocks wouldn't pay for the count: set spec.blocks.users.counted to "
                f'{{budget: {{mechanism: "{self.mechanism}"}}, reason: {REASON}}}'
            )
        return users

    def _unpaid(self, cluster: ClusterApi, namespace: str, name: str, dataset: Object) -> set[str]:
        """The blocks whose users may have been counted, and which haven't paid for it."""
        blocks = patiently(cluster, lambda: cluster.list(BLOCKS, namespace, f"spec.dataset={name}"), PATIENCE)
        unpaid: set[str] = set()
        for block in blocks:
            spec = child(block, "spec")
            end = child(spec, "portion").get("endUser")
            is_before = end is not None and int(end) <= self.start
            spent = child(spec, "spent", "budget")
            if not is_before and not (spent and self._is_paid(spent, child(dataset, "spec"))):
                unpaid.add(block["metadata"]["name"])
        return unpaid - self._charged

    def _is_paid(self, budget: Object, dataset: Mapping[str, Any]) -> bool:
        """Whether a budget of an object is at least what counting costs."""
        mechanism = budget.get("mechanism")
        if mechanism is None and "epsilon" in budget:
            mechanism = f"guarantee(epsilon={budget['epsilon']},delta={budget.get('delta', 0)})"
        if dataset.get("composition", "Renyi") == "Basic":
            if mechanism is None:
                return False
            have, need = Mechanism(mechanism).basic(), self.mechanism.basic()
            return have.epsilon >= need.epsilon
        orders = dataset.get("orders") or DEFAULT_ORDERS
        need = self.mechanism.curve(orders)
        have = Curve.from_spec(budget["renyi"]) if mechanism is None else Mechanism(mechanism).curve(orders)
        return all(order in have and _is_at_least(have[order], cost) for order, cost in need.items())

    def _charge(
        self,
        dataset: str,
        unpaid: set[str],
        blocks: str,
        timeout: str | None,
        cluster: ClusterApi,
        progress: bool | Progress,
    ) -> None:
        asked = claim(
            dataset=dataset,
            mechanism=self.mechanism,
            namespace=dataset.partition("/")[0],
            blocks=blocks,
            timeout=timeout,
            cluster=cluster,
            progress=progress,
        )
        with asked as grant:
            granted = {block.name for block in grant.blocks}
            missing = sorted(unpaid - granted)
            if missing:
                grant.release(unused=True)
                raise CounterNotCharged(
                    f"dataset {dataset}: the claim on {blocks} has {len(granted)} blocks, and not {', '.join(missing[:5])}, "
                    "whose users were counted: give blocks= an expression that selects them"
                )
            grant.consume()
        self._charged |= granted
        self._save()

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        horizon: int,
        epsilon: Amount,
        beta: Amount = "1e-6",
        start: int = 0,
        randbelow: RandBelow = secrets.randbelow,
    ) -> UserCounter:
        """Opens the counter whose state is in a file, or begins one there, and locks it until `close`.

        The file contains exact sums, so nobody may read it who may not read the data. It must not be put back to an
        older state: the same sum would get noise twice, of which the mean tells more than was paid for.

        Args:
            path: the file, which others of the system can't read.
            horizon: see `UserCounter`. What is stated has to be that of the file.
            epsilon: the same.
            beta: the same.
            start: of a new counter; that of the file counts once there is one.
            randbelow: see `UserCounter`.
        """
        file = Path(path)
        wanted = cls(horizon=horizon, epsilon=epsilon, beta=beta, start=start, randbelow=randbelow)
        # The lock is a file of its own, since the state is replaced.
        lock = file.with_name(file.name + ".lock").open("w", encoding="utf-8")
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as problem:
                raise CounterError(f"{file} is open in another program: a counter has one at a time") from problem
            counter = wanted
            if file.exists():
                counter = cls.from_json(file.read_text(encoding="utf-8"), randbelow=randbelow)
                counter._check_same(wanted, file)
            counter._file, counter._lock = file, lock
            counter._save()
        except BaseException:
            lock.close()
            raise
        return counter

    def _check_same(self, wanted: UserCounter, file: Path) -> None:
        pairs = {
            "horizon": (self.horizon, wanted.horizon),
            "epsilon": (self._epsilon, wanted._epsilon),
            "beta": (self._beta, wanted._beta),
        }
        for what, (has, given) in pairs.items():
            if has != given:
                raise CounterError(
                    f"{file} counts with {what} {has}, and not {given}: that never changes. Begin another counter in another file"
                )

    def close(self) -> None:
        """Lets another program open the file."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> UserCounter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def to_json(self) -> str:
        """Returns the state, for `from_json`. What is in it as `secret` are exact sums of users."""
        state: Object = {
            "format": FORMAT,
            "horizon": self.horizon,
            "epsilon": self._epsilon,
            "beta": str(self._beta),
            "start": self.start,
            "tick": self._last.tick,
            "label": self._label,
            "atLeast": self._last.at_least,
            "noisy": {str(level): value for level, value in self._noisy.items()},
            "charged": sorted(self._charged),
            "secret": {"exact": {str(level): value for level, value in self._exact.items()}},
        }
        return json.dumps(state, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, randbelow: RandBelow = secrets.randbelow) -> UserCounter:
        """Goes on with a state of `to_json`. Of one state only one counter may go on."""
        try:
            state = cast("Object", json.loads(text))
            if state.get("format") != FORMAT:
                raise CounterError(f"the state has format {state.get('format')!r}, and this version reads {FORMAT}")
            counter = cls(
                horizon=state["horizon"],
                epsilon=state["epsilon"],
                beta=state["beta"],
                start=state["start"],
                randbelow=randbelow,
            )
            tick = _whole(state["tick"], "tick", 0, counter.horizon)
            counter._exact = {int(level): int(value) for level, value in state["secret"]["exact"].items()}
            counter._noisy = {int(level): int(value) for level, value in state["noisy"].items()}
            counter._label = state["label"]
            counter._charged = set(state["charged"])
            at_least = _whole(state["atLeast"], "atLeast", counter.start, 2 * MOST_USERS)
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            if isinstance(problem, CounterError):
                raise
            raise CounterError(f"the state of the counter can't be read: {problem!r}") from problem
        nodes = {level for level in range(tick.bit_length()) if tick >> level & 1}
        if set(counter._exact) != nodes or set(counter._noisy) != nodes:
            raise CounterError(f"the state of the counter doesn't have the sums of tick {tick}")
        counter._last = UserCount(tick, counter.start + sum(counter._noisy.values()), at_least)
        return counter

    def _check_open(self) -> None:
        if self._file is not None and self._lock is None:
            raise CounterError(f"{self._file} was closed: open it again")

    def _save(self) -> None:
        """Replaces the file by a whole new one, on the disk when this returns."""
        if self._file is None:
            return
        fresh = self._file.with_name(self._file.name + ".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(self.to_json())
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(self._file)
        folder = os.open(self._file.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _whole(value: object, what: str, least: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise CounterError(f"{what}: {value!r} is out of range: write a whole number from {least} to {most}")
    return value


def _is_at_least(have: Any, need: Any) -> bool:
    """Whether a cost at an order, of which `None` is beyond all, is at least another one."""
    return have is None or (need is not None and have >= need)
