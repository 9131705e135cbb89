"""A claim's object: its status, how it changes, and how it is deleted."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ._cluster import CLAIMS, ApiFailure, ClusterApi, Object, child, patiently
from ._errors import ClaimLeftBehind, ClaimWithdrawn

PATIENCE: Final = 60.0
"""Seconds for which a request is repeated while the API server doesn't answer."""
CLEANUP_PATIENCE: Final = 20.0
"""The same while it is cleaned up, which Ctrl-C doesn't interrupt."""


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


def versions(
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


def delete(cluster: ClusterApi, namespace: str, name: str, uid: str) -> None:
    def request() -> None:
        try:
            cluster.delete(CLAIMS, namespace, name, uid)
        except ApiFailure as failure:
            # It is gone, and maybe there is another one of its name.
            if failure.status not in (404, 409):
                raise

    patiently(cluster, request, CLEANUP_PATIENCE)


def left_behind(namespace: str, name: str, problem: Exception, *, may_be_used: bool) -> None:
    used, command = "nothing of it was used", f"kubectl delete pbc {name} -n {namespace}"
    if may_be_used:
        used = "its data was handed out, so its budget has to be consumed"
        command = f'kubectl patch pbc {name} -n {namespace} --type merge -p \'{{"spec":{{"consume":{{"all":true}}}}}}\''
    text = f"claim {namespace}/{name} may be left behind ({used}): {problem}. When the cluster answers again: {command}"
    warnings.warn(ClaimLeftBehind(text), stacklevel=4)


def fields(words: str) -> tuple[str, ...]:
    """The fields that the extender's words name."""
    return tuple(re.findall(r"(?:^|; |: )((?:spec|metadata)[\w.\[\]-]*): ", words))
