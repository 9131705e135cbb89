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
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType, TracebackType
from typing import Final

from ._amounts import Amount, OrderLike, delta_text, epsilon_text
from ._claim_grant import ClaimGrant
from ._claim_object import CLEANUP_PATIENCE, PATIENCE, ClaimStatus, Progress, delete, fields, left_behind, versions
from ._cluster import API_VERSION, CLAIMS, GROUP, ApiFailure, Cluster, ClusterApi, Object, child, patiently
from ._errors import ClaimDenied, ClaimExpired, ClaimLimited, ClaimRefused, ClaimWithdrawn
from ._mechanism import Curve, Mechanism

REQUEST_ANNOTATION: Final = "client.privatekube.dev/request"
"""Tells the claim that this program made from another one of the same name."""

LATE_LOOKS: Final = 4
"""How often a claim is looked for whose creation wasn't answered: it may come late."""
GRACE_SECONDS: Final = 30.0
"""How long after its timeout a claim is withdrawn, if nobody lets it expire."""


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
    purpose: str | None = None,
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
        purpose: what the budget is for, in one line, which the ledger keeps.
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
    if purpose is not None:
        spec["purpose"] = purpose
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
            return ClaimRefused(self.name, namespace, words, fields(words))
        if failure.status in (400, 422):
            named = tuple(field for field, _ in failure.causes if field)
            return ClaimRefused(self.name, namespace, failure.message, named)
        return failure.as_error()

    def _wait(self, cluster: ClusterApi, namespace: str, found: Object) -> Object:
        span = _seconds(self.spec.get("timeout"))
        deadline = None if span is None else cluster.now() + span + GRACE_SECONDS
        for version in versions(cluster, namespace, self.name, self._uid, found, deadline):
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
                delete(cluster, namespace, self.name, self._uid)
        except ApiFailure as failure:
            left_behind(namespace, self.name, failure, may_be_used=False)


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
