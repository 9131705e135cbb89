"""A claim as a `with` statement: it waits for the grant, and leaves nothing behind whatever happens.

What is safe is decided by one question: could the budget have been used? It could from the moment on at which this
program was told where the data is. Until then a grant is given back when the statement ends; from then on it is
consumed.
"""

from __future__ import annotations

import re
import secrets
import signal
import sys
import threading
import uuid
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType, TracebackType
from typing import Any, Final

from ._amounts import (
    DELTA_DECIMALS,
    EPSILON_DECIMALS,
    Amount,
    OrderLike,
    delta_text,
    delta_units,
    epsilon_text,
    epsilon_units,
    from_units,
    plain,
)
from ._cluster import (
    API_VERSION,
    BLOCKS,
    CLAIMS,
    GROUP,
    ApiFailure,
    Cluster,
    ClusterApi,
    Object,
    child,
    children,
    patiently,
)
from ._errors import (
    AmountError,
    BlocksElsewhere,
    ClaimDenied,
    ClaimError,
    ClaimExpired,
    ClaimLeftBehind,
    ClaimLimited,
    ClaimNotSettled,
    ClaimRefused,
    ClaimWithdrawn,
    ClusterError,
    ReleaseRefused,
)
from ._grant import GrantedBlock
from ._mechanism import Curve, Guarantee, Mechanism

REQUEST_ANNOTATION: Final = "client.privatekube.dev/request"
"""Tells the claim that this program made from another one of the same name."""

PATIENCE: Final = 60.0
"""Seconds for which a request is repeated while the API server doesn't answer."""
CLEANUP_PATIENCE: Final = 20.0
"""The same while it is cleaned up, which Ctrl-C doesn't interrupt."""
LATE_LOOKS: Final = 4
"""How often a claim is looked for whose creation wasn't answered: it may come late."""
SETTLE_SECONDS: Final = 60.0
"""How long a consumption or a release may take until it is in the ledger."""
GRACE_SECONDS: Final = 30.0
"""How long after its timeout a claim is withdrawn, if nobody lets it expire."""

AmountOnBlock = Curve | Guarantee


@dataclass(frozen=True)
class ClaimStatus:
    """Where a claim is in its life.

    Attributes:
        phase: `Waiting`, `Granted`, `Consumed`, `Released`, `Denied`, `Expired` or `Withdrawn`; `Waiting` before the
            extender has seen it.
        reason: why, in one word.
        message: why, which block lacks how much, and what would change that.
        block_count: how many blocks it has.
        sequence: the number of the ledger entry that this is of.
    """

    phase: str
    reason: str
    message: str
    block_count: int
    sequence: int

    @classmethod
    def of(cls, found: Object) -> ClaimStatus:
        """Reads the status of a claim's object."""
        status = child(found, "status")
        return cls(
            phase=status.get("phase") or "Waiting",
            reason=status.get("reason") or "",
            message=status.get("message") or "",
            block_count=int(status.get("blockCount") or 0),
            sequence=int(status.get("sequence") or 0),
        )


Progress = Callable[[str, ClaimStatus], None]
"""Called with the claim's `namespace/name` whenever its status says something new while it waits."""


def claim(
    *,
    dataset: str,
    mechanism: Mechanism | str | None = None,
    epsilon: Amount | None = None,
    delta: Amount | None = None,
    renyi: Curve | Mapping[OrderLike, Amount | None] | None = None,
    blocks: str | None = None,
    min_blocks: int | None = None,
    max_blocks: int | None = None,
    timeout: str | float | timedelta | None = None,
    priority: int = 0,
    name: str | None = None,
    namespace: str | None = None,
    cluster: ClusterApi | None = None,
    progress: bool | Progress = True,
) -> Claim:
    """Claims budget for as long as a `with` statement lasts.

        with privatekube.claim(dataset="taxi", mechanism="gaussian(sigma=20)", max_blocks=7) as grant:
            total = sum(count(source) for source in grant.data_sources)
            result = total + random.gauss(0, 20)
            grant.consume()
            publish(result)

    What happens to the budget when the statement ends:

    | what the body did | and then |
    |---|---|
    | `grant.consume()` | it is consumed |
    | it never asked for `grant.blocks` or `grant.data_sources` | it is released: nothing can have been used |
    | it asked for them, and consumed nothing | it is consumed, also after an exception |
    | `grant.release(unused=True)` | it is released: you state that nothing was used |

    A claim that isn't granted is deleted, whatever ends the waiting: an error, Ctrl-C, the timeout.

    Args:
        dataset: its name, or `namespace/name`.
        mechanism: what the program does, by name. Exactly one of `mechanism`, `epsilon` with `delta`, and `renyi`.
        epsilon: the cost on each block, with `delta`.
        delta: the cost on each block, with `epsilon`.
        renyi: the cost on each block, as a Renyi curve at each of the dataset's orders.
        blocks: a CEL expression such as `block.city == "nyc"`, or `all`. Needed without `max_blocks`.
        min_blocks: how many blocks it needs at least.
        max_blocks: how many blocks it takes at most, the newest.
        timeout: how long it waits at most: text such as `1h30m`, seconds, or a timedelta; the dataset's own if left
            out.
        priority: higher is granted first.
        name: of the claim's object; made of the dataset and something random if left out.
        namespace: of the claim's object; the cluster's own if left out.
        cluster: a `Cluster`; that of KUBECONFIG or of the pod if left out.
        progress: whether a line on stderr says why it waits, or a function that is called instead.

    Raises (when the statement begins):
        ClaimRefused: something in it is wrong, and its `field` says what. ClaimLimited: for now.
        ClaimDenied: it can never be granted.
        ClaimExpired: it waited for its whole timeout.
        ClaimWithdrawn: somebody deleted it.
        ClusterUnreachable, ClusterForbidden: of the API server.
    """
    spec: Object = {"dataset": dataset, "budget": _budget(mechanism, epsilon, delta, renyi)}
    if blocks == "all":
        if max_blocks is not None:
            raise ValueError("blocks='all' takes every block: leave out max_blocks, or blocks")
        spec["blocks"] = {"which": "all"}
    elif blocks is not None:
        spec["selector"] = blocks
    elif max_blocks is None:
        raise ValueError(
            "say on which blocks: by blocks with an expression like 'block.city == \"nyc\"', by max_blocks, or by blocks='all'"
        )
    counts = {"min": min_blocks, "max": max_blocks}
    given = {key: value for key, value in counts.items() if value is not None}
    if given:
        spec["blocks"] = {**spec.get("blocks", {}), **given}
    if timeout is not None:
        spec["timeout"] = _duration(timeout)
    if priority:
        spec["priority"] = priority
    own_dataset = dataset.rpartition("/")[2]
    return Claim(
        spec,
        name=name or f"{own_dataset[:40]}-{secrets.token_hex(5)}",
        namespace=namespace,
        cluster=cluster,
        progress=_printed if progress is True else progress or None,
    )


class Claim:
    """A claim that is made when a `with` statement begins. See `claim`."""

    def __init__(
        self, spec: Object, *, name: str, namespace: str | None, cluster: ClusterApi | None, progress: Progress | None
    ) -> None:
        self.name = name
        self.spec = spec
        self._namespace = namespace
        self._cluster = cluster
        self._progress = progress
        self._token = uuid.uuid4().hex
        self._is_asked = False
        self._may_exist = False
        self._told: ClaimStatus | None = None
        self._uid: str | None = None
        self._grant: ClaimGrant | None = None

    def __enter__(self) -> ClaimGrant:
        if self._is_asked:
            raise RuntimeError("a claim is made once: call privatekube.claim again")
        cluster = self._cluster = self._cluster or Cluster()
        namespace = self._namespace = self._namespace or cluster.namespace
        try:
            found = self._create(cluster, namespace)
            granted = self._wait(cluster, namespace, found)
        except BaseException:
            with _uninterrupted():
                self._clean_up(cluster, namespace)
            raise
        self._grant = ClaimGrant(cluster, namespace, granted)
        return self._grant

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._grant is not None:
            with _uninterrupted():
                self._grant._end(problem)  # pyright: ignore[reportPrivateUsage]

    def _create(self, cluster: ClusterApi, namespace: str) -> Object:
        body: Object = {
            "apiVersion": f"{GROUP}/{API_VERSION}",
            "kind": "PrivacyBudgetClaim",
            "metadata": {
                "name": self.name,
                "namespace": namespace,
                "annotations": {REQUEST_ANNOTATION: self._token},
            },
            "spec": self.spec,
        }
        self._is_asked = self._may_exist = True
        is_unanswered = False

        def create() -> Object:
            nonlocal is_unanswered
            try:
                return cluster.create(CLAIMS, namespace, body)
            except ApiFailure as failure:
                is_unanswered = is_unanswered or failure.is_transient
                # An attempt whose answer was lost may have created it. Its name was chosen before, so it can be found.
                if failure.status != 409 and not failure.is_transient:
                    raise
                if failure.is_transient:
                    self._tell(namespace, ClaimStatus("Waiting", "NotCreated", failure.message, 0, 0))
                found = self._find(cluster, namespace)
                if found is None:
                    raise
                return found

        try:
            found = patiently(cluster, create, PATIENCE)
        except ApiFailure as failure:
            # Whatever was answered clearly was not created.
            self._may_exist = is_unanswered
            raise self._refusal(namespace, failure) from failure
        self._uid = found["metadata"]["uid"]
        return found

    def _find(self, cluster: ClusterApi, namespace: str) -> Object | None:
        """Our claim, if it is there."""
        try:
            found = cluster.get(CLAIMS, namespace, self.name)
        except ApiFailure as failure:
            if failure.status == 404:
                return None
            raise
        return found if child(found, "metadata", "annotations").get(REQUEST_ANNOTATION) == self._token else None

    def _refusal(self, namespace: str, failure: ApiFailure) -> Exception:
        words = failure.message.partition("denied the request: ")[2]
        if failure.status == 409:
            problem = "there is a claim of this name: choose another one, or leave out name"
            return ClaimRefused(self.name, namespace, problem, ("metadata.name",))
        if failure.status == 429:
            return ClaimLimited(self.name, namespace, (words or failure.message).removeprefix("PrivateKube: "))
        if words:
            words = words.removeprefix("PrivateKube: ")
            return ClaimRefused(self.name, namespace, words, _fields(words))
        if failure.status in (400, 422):
            fields = tuple(field for field, _ in failure.causes if field)
            return ClaimRefused(self.name, namespace, failure.message, fields)
        return failure.as_error()

    def _wait(self, cluster: ClusterApi, namespace: str, found: Object) -> Object:
        span = _seconds(self.spec.get("timeout"))
        deadline = None if span is None else cluster.now() + span + GRACE_SECONDS
        for version in _versions(cluster, namespace, self.name, self._uid, found, deadline):
            status = ClaimStatus.of(version)
            self._tell(namespace, status)
            if self._is_granted(namespace, status):
                return version
        raise ClaimExpired(
            self.name, namespace, "it is still waiting after its timeout, so it was withdrawn; nothing was charged"
        )

    def _tell(self, namespace: str, status: ClaimStatus) -> None:
        """Says what is new."""
        if self._progress is None or status == self._told or not (status.message or self._told is None):
            return
        if self._told is None or (status.phase, status.message) != (self._told.phase, self._told.message):
            self._progress(f"{namespace}/{self.name}", status)
        self._told = status

    def _is_granted(self, namespace: str, status: ClaimStatus) -> bool:
        if status.phase == "Denied":
            raise ClaimDenied(self.name, namespace, status.message, status.reason)
        if status.phase == "Expired":
            raise ClaimExpired(self.name, namespace, status.message)
        if status.phase in ("Withdrawn", "Consumed", "Released"):
            raise ClaimWithdrawn(self.name, namespace, f"somebody else used or withdrew it: {status.message}")
        return status.phase == "Granted"

    def _clean_up(self, cluster: ClusterApi, namespace: str) -> None:
        """Deletes the claim, of which nothing was used: the extender withdraws it, or releases what was granted
        meanwhile."""
        if not self._may_exist:
            return
        try:
            for attempt in range(LATE_LOOKS):
                if self._uid is not None:
                    break
                if attempt:
                    cluster.pause(0.5)
                found = patiently(cluster, lambda: self._find(cluster, namespace), CLEANUP_PATIENCE)
                self._uid = None if found is None else found["metadata"]["uid"]
            if self._uid is not None:
                _delete(cluster, namespace, self.name, self._uid)
        except ApiFailure as failure:
            _left_behind(namespace, self.name, failure, may_be_used=False)


class ClaimGrant:
    """A granted claim: the blocks that may be read, and what becomes of the budget."""

    def __init__(self, cluster: ClusterApi, namespace: str, found: Object) -> None:
        self._cluster = cluster
        self._object = found
        self._uid: str = found["metadata"]["uid"]
        self._is_handed_out = False
        self._is_consume_asked = False
        self._is_over = False
        self._blocks: tuple[GrantedBlock, ...] | None = None
        self.name: str = found["metadata"]["name"]
        """The name of the claim's object."""
        self.namespace = namespace
        """Its namespace."""
        home, _, own = str(found["spec"]["dataset"]).rpartition("/")
        self.dataset = f"{home or namespace}/{own}"
        """The dataset, `namespace/name`."""

    @property
    def status(self) -> ClaimStatus:
        """The last status that was seen."""
        return ClaimStatus.of(self._object)

    @property
    def block_count(self) -> int:
        """How many blocks were granted. To ask for this uses nothing."""
        return self.status.block_count

    @property
    def may_be_used(self) -> bool:
        """Whether this program was told where the data is, or consumed anything, so that the budget counts as used."""
        return self._is_handed_out or self._is_consume_asked

    @property
    def blocks(self) -> tuple[GrantedBlock, ...]:
        """The blocks, with their data sources. From now on the budget counts as used."""
        self._check_held("there is no budget left to read its data with")
        if self._blocks is None:
            self._blocks = self._read_blocks()
        self._is_handed_out = True
        return self._blocks

    @property
    def data_sources(self) -> tuple[str, ...]:
        """Where the data is, for blocks that state it. From now on the budget counts as used."""
        return tuple(block.data_source for block in self.blocks if block.data_source is not None)

    def consume(self, blocks: Mapping[str, AmountOnBlock] | None = None) -> None:
        """Consumes the budget, durably when this returns. Publish what it pays for after that.

        Args:
            blocks: how much on each block, in addition to what was consumed before; everything that is left if not
                given. With Renyi composition an amount is a `Curve` at each of the dataset's orders, or a `Guarantee`,
                which stands for Gaussian noise.

        Raises:
            ClaimNotSettled: it isn't known whether it is consumed: publish nothing.
            ClaimWithdrawn: it was deleted or released, so that there is nothing to consume.
        """
        self._check_held("there is nothing left to consume")
        # Whoever consumes has used the data, however it was found, also if the request fails.
        self._is_consume_asked = True
        if blocks is None and self.status.phase == "Consumed":
            return
        self._settle("consume", blocks)

    def release(self, blocks: Mapping[str, AmountOnBlock] | None = None, *, unused: bool = False) -> None:
        """Gives budget back without consuming it.

        Args:
            blocks: how much on each block, in addition to what was released before; everything that is left if not
                given.
            unused: after this program was told where the data is, your statement that nothing that depends on the data
                was published, or seen by anybody who decides what is.

        Raises:
            ReleaseRefused: the data was handed out, and `unused` isn't stated.
        """
        if self._is_over:
            self._check_held("there is nothing left to release")
        if self.may_be_used and not unused:
            raise ReleaseRefused(
                f"claim {self.namespace}/{self.name}: its data was handed out, so its budget may have been used. If nothing that "
                "depends on the data was published or seen, say so by release(unused=True); else consume it"
            )
        if blocks is None and self.status.phase in ("Consumed", "Released"):
            return
        self._settle("release", blocks)

    def _check_held(self, consequence: str) -> None:
        if self._is_over:
            raise ClaimWithdrawn(self.name, self.namespace, f"its `with` statement has ended, so {consequence}")
        if self.status.phase == "Released":
            raise ClaimWithdrawn(self.name, self.namespace, f"it was released, so {consequence}")

    def _read_blocks(self) -> tuple[GrantedBlock, ...]:
        status = child(self._object, "status")
        listed = children(status, "blocks")
        if len(listed) < self.status.block_count:
            raise BlocksElsewhere(
                f"claim {self.namespace}/{self.name} has {self.status.block_count} blocks, of which its status lists "
                f"{len(listed)}: the ledger entry in which it was matched has all"
            )
        home, _, own = self.dataset.partition("/")
        try:
            read = self._cluster.list(BLOCKS, home, f"spec.dataset={own}")
        except ApiFailure as failure:
            if failure.status != 403:
                raise failure.as_error() from failure
            # Dimensions are a comfort; where the data is stands in the status.
            read = []
        specs: dict[str, Mapping[str, Any]] = {block["metadata"]["name"]: block["spec"] for block in read}

        def block(found: Mapping[str, Any]) -> GrantedBlock:
            spec = specs.get(found["name"], {})
            return GrantedBlock(
                found["name"], found.get("dataSource", spec.get("dataSource")), dict(spec.get("dimensions") or {})
            )

        return tuple(block(found) for found in listed)

    def _settle(self, verb: str, blocks: Mapping[str, AmountOnBlock] | None) -> None:
        before = self._object
        stated: Mapping[str, Any] = before["spec"].get(verb) or {}
        wanted: Object = {"all": True}
        if blocks is not None:
            if stated.get("all"):
                raise ClaimWithdrawn(self.name, self.namespace, f"all of it was asked to {verb} before")
            totals: dict[str, Any] = dict(stated.get("perBlock") or {})
            for block, amount in blocks.items():
                totals[block] = _total(totals.get(block), amount)
            wanted = {"perBlock": totals}
        elif stated.get("perBlock"):
            # A merge patch removes a field by null.
            wanted = {"all": True, "perBlock": None}
        body: Object = {"metadata": {"uid": self._uid}, "spec": {verb: wanted}}
        try:
            found = patiently(
                self._cluster, lambda: self._cluster.patch(CLAIMS, self.namespace, self.name, body), PATIENCE
            )
        except ApiFailure as failure:
            raise self._unsettled(verb, failure) from failure
        self._object = found
        deadline = self._cluster.now() + SETTLE_SECONDS
        sequence = ClaimStatus.of(before).sequence
        for version in _versions(self._cluster, self.namespace, self.name, self._uid, found, deadline):
            self._object = version
            status = ClaimStatus.of(version)
            if status.phase == "Released" and verb == "consume":
                raise ClaimWithdrawn(self.name, self.namespace, "it was released before it was consumed")
            if status.phase in ("Consumed", "Released"):
                return
            if blocks is not None and status.sequence > sequence and _has_condition(version, verb):
                return
        raise ClaimNotSettled(
            self.name,
            self.namespace,
            f"the ledger didn't confirm within {SETTLE_SECONDS:.0f} s that it is {verb}d. Is more asked than is left, or the "
            "extender down? kubectl describe pbc has the Events",
        )

    def _unsettled(self, verb: str, failure: ApiFailure) -> Exception:
        if failure.status in (404, 409):
            return ClaimWithdrawn(self.name, self.namespace, f"somebody deleted it before all of it was {verb}d")
        if failure.is_transient:
            return ClaimNotSettled(
                self.name, self.namespace, f"it isn't known whether it will be {verb}d: {failure.message}"
            )
        if failure.status in (400, 422) or "denied the request" in failure.message:
            fields = tuple(field for field, _ in failure.causes if field) or _fields(failure.message)
            return ClaimRefused(self.name, self.namespace, failure.message, fields)
        return failure.as_error()

    def _end(self, problem: BaseException | None) -> None:
        """What becomes of the budget when the `with` statement ends."""
        self._is_over = True
        phase = self.status.phase
        try:
            if phase == "Consumed":
                return
            if phase == "Released" or not self.may_be_used:
                # Deleting it releases what is left: nothing was used.
                _delete(self._cluster, self.namespace, self.name, self._uid)
            elif problem is None or not child(self._object, "spec", "consume").get("all"):
                self._settle("consume", None)
            # Else the object states it, and the extender does it as soon as it can: the error in flight says that.
        except (ApiFailure, ClaimError, ClusterError) as failure:
            if problem is None and self.may_be_used:
                raise
            _left_behind(self.namespace, self.name, failure, may_be_used=self.may_be_used)


def _versions(
    cluster: ClusterApi, namespace: str, name: str, uid: str | None, found: Object, deadline: float | None
) -> Iterator[Object]:
    """Gives an object each time it changes, beginning with `found`, until the deadline.

    A watch that ends or breaks is followed by reading the object again, so that nothing is missed.
    """
    silent_since: float | None = None
    rest = 0.2
    while True:
        yield found
        try:
            left = 1e9 if deadline is None else deadline - cluster.now()
            if left <= 0:
                return
            version = str(found["metadata"]["resourceVersion"])
            for change, changed in cluster.watch(CLAIMS, namespace, name, version, left):
                silent_since, rest = None, 0.2
                if change == "DELETED":
                    raise ClaimWithdrawn(name, namespace, "somebody deleted it")
                if change in ("ADDED", "MODIFIED"):
                    found = changed
                    yield found
            # However fast watches end, the API server isn't asked all the time.
            cluster.pause(0.2)
            fresh = cluster.get(CLAIMS, namespace, name)
            silent_since, rest = None, 0.2
        except ApiFailure as failure:
            if failure.status == 404:
                raise ClaimWithdrawn(name, namespace, "somebody deleted it") from failure
            if failure.status == 410:
                # The version is too old to be watched from: the object as it is now has another.
                found = {**found, "metadata": {**found["metadata"], "resourceVersion": "0"}}
            elif failure.is_repeatable:
                now = cluster.now()
                silent_since = now if silent_since is None else silent_since
                if now - silent_since >= PATIENCE:
                    raise failure.as_error() from failure
                cluster.pause(rest)
                rest = min(2 * rest, 5.0)
            else:
                raise failure.as_error() from failure
            continue
        if uid is not None and fresh["metadata"]["uid"] != uid:
            raise ClaimWithdrawn(name, namespace, "somebody deleted it and created another one under its name")
        found = fresh


def _delete(cluster: ClusterApi, namespace: str, name: str, uid: str) -> None:
    def delete() -> None:
        try:
            cluster.delete(CLAIMS, namespace, name, uid)
        except ApiFailure as failure:
            # It is gone, and maybe there is another one of its name.
            if failure.status not in (404, 409):
                raise

    patiently(cluster, delete, CLEANUP_PATIENCE)


def _left_behind(namespace: str, name: str, problem: Exception, *, may_be_used: bool) -> None:
    used, command = "nothing of it was used", f"kubectl delete pbc {name} -n {namespace}"
    if may_be_used:
        used = "its data was handed out, so its budget has to be consumed"
        command = f'kubectl patch pbc {name} -n {namespace} --type merge -p \'{{"spec":{{"consume":{{"all":true}}}}}}\''
    text = f"claim {namespace}/{name} may be left behind ({used}): {problem}. When the cluster answers again: {command}"
    warnings.warn(ClaimLeftBehind(text), stacklevel=4)


def _has_condition(found: Object, verb: str) -> bool:
    type_ = "Consumed" if verb == "consume" else "Released"
    conditions = children(child(found, "status"), "conditions")
    return any(condition["type"] == type_ and condition["status"] == "True" for condition in conditions)


def _total(before: Mapping[str, Any] | None, amount: AmountOnBlock) -> Object:
    """What was stated on a block before, and `amount`, as a total."""
    if isinstance(amount, Curve):
        if before is not None and "renyi" not in before:
            raise AmountError(
                "what was stated on this block before is an epsilon and delta, to which no curve can be added"
            )
        total = amount if before is None else Curve.from_spec(before["renyi"]) + amount
        return {"renyi": total.to_spec()}
    if before is None:
        return amount.to_spec()
    if "renyi" in before:
        raise AmountError("what was stated on this block before is a curve, to which no epsilon and delta can be added")
    # In units, since a sum of decimals is rounded to the precision of their context.
    epsilon = epsilon_units(amount.epsilon) + epsilon_units(str(before["epsilon"]))
    delta = delta_units(amount.delta) + delta_units(str(before["delta"]))
    return {"epsilon": plain(from_units(epsilon, EPSILON_DECIMALS)), "delta": plain(from_units(delta, DELTA_DECIMALS))}


def _budget(
    mechanism: Mechanism | str | None,
    epsilon: Amount | None,
    delta: Amount | None,
    renyi: Curve | Mapping[OrderLike, Amount | None] | None,
) -> Object:
    given = [mechanism is not None, epsilon is not None or delta is not None, renyi is not None]
    if given.count(True) != 1:
        raise ValueError("give exactly one of: mechanism, epsilon with delta, renyi")
    if mechanism is not None:
        return {"mechanism": str(mechanism if isinstance(mechanism, Mechanism) else Mechanism.parse(mechanism))}
    if renyi is not None:
        return {"renyi": (renyi if isinstance(renyi, Curve) else Curve(renyi)).to_spec()}
    if epsilon is None or delta is None:
        raise ValueError("epsilon and delta go together: write both (delta may be 0)")
    return {"epsilon": epsilon_text(epsilon), "delta": delta_text(delta)}


_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _duration(timeout: str | float | timedelta) -> str:
    if isinstance(timeout, str):
        return timeout
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    milliseconds = round(seconds * 1000)
    if milliseconds <= 0:
        raise ValueError(f"timeout is {timeout!r}: it must be above 0, like 90 (seconds) or '1h30m'")
    return f"{milliseconds}ms" if milliseconds % 1000 else f"{milliseconds // 1000}s"


def _seconds(duration: str | None) -> float | None:
    """A duration in seconds; `None` if there is none. What isn't one is refused by the API server."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", duration or "")
    return sum(float(number) * _UNITS[unit] for number, unit in parts) if parts else None


def _fields(words: str) -> tuple[str, ...]:
    return tuple(re.findall(r"(?:^|; |: )((?:spec|metadata)[\w.\[\]-]*): ", words))


def _printed(claim: str, status: ClaimStatus) -> None:
    what = status.phase if not status.reason or status.reason == status.phase else f"{status.phase} ({status.reason})"
    print(f"claim {claim}: {what}{': ' if status.message else ''}{status.message}", file=sys.stderr, flush=True)


@contextmanager
def _uninterrupted() -> Generator[None, None, None]:
    """Keeps Ctrl-C until what is inside is done. All that is inside has time limits."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGINT)
    if previous is None:
        yield
        return
    seen: list[tuple[int, FrameType | None]] = []

    def keep(number: int, frame: FrameType | None) -> None:
        seen.append((number, frame))

    signal.signal(signal.SIGINT, keep)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if seen and callable(previous):
            previous(*seen[-1])
