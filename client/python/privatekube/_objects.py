"""Blocks and claims of a cluster, to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from ._claim_object import ClaimStatus
from ._cluster import BLOCKS, CLAIMS, ApiFailure, Cluster, ClusterApi, Object
from ._mechanism import Curve, Guarantee

Amounts = Curve | Guarantee


@dataclass(frozen=True)
class Block:
    """A block, and its budget after the ledger entry `ledger_sequence`.

    Amounts are `None` while the block isn't in its dataset's ledger. With Renyi composition they are a `Curve`, of
    which `order` is the order that `kubectl get pb` shows.
    """

    name: str
    namespace: str
    dataset: str
    data_source: str | None
    dimensions: Mapping[str, int | str]
    records: int | None
    is_ready: bool
    order: Decimal | None
    total: Amounts | None
    locked: Amounts | None
    available: Amounts | None
    allocated: Amounts | None
    consumed: Amounts | None
    ledger_sequence: int
    message: str


@dataclass(frozen=True)
class ClaimObject:
    """A claim as its object shows it."""

    name: str
    namespace: str
    dataset: str
    budget: str
    status: ClaimStatus
    dominant_share: Decimal | None
    arrived_at: datetime | None
    decided_at: datetime | None
    pod: str | None


def blocks(
    dataset: str | None = None, *, namespace: str | None = None, cluster: ClusterApi | None = None
) -> list[Block]:
    """Returns the blocks of a dataset (`name` or `namespace/name`), or of all datasets of a namespace, by name."""
    found, _ = listed(BLOCKS, dataset, namespace, cluster)
    return sorted((_block(each) for each in found), key=lambda block: (block.dataset, block.name))


def claims(
    dataset: str | None = None, *, namespace: str | None = None, cluster: ClusterApi | None = None
) -> list[ClaimObject]:
    """Returns the claims of a namespace in the order in which they arrived, those on one dataset if it is given.

    The dataset is `name` or `namespace/name`; `namespace` is where the claims are.
    """
    cluster = cluster or Cluster()
    home = namespace or cluster.namespace
    try:
        found = cluster.list(CLAIMS, home)
    except ApiFailure as failure:
        raise failure.as_error() from failure

    def key(name: str) -> str:
        return name if "/" in name else f"{home}/{name}"

    read = (_claim(each) for each in found if dataset is None or key(each["spec"]["dataset"]) == key(dataset))
    return sorted(read, key=lambda claim: (claim.arrived_at is None, str(claim.arrived_at), claim.name))


def listed(
    kind: str, dataset: str | None, namespace: str | None, cluster: ClusterApi | None
) -> tuple[list[Object], str]:
    """The objects of a kind of a dataset (`name` or `namespace/name`), and the dataset's own name."""
    cluster = cluster or Cluster()
    home, _, own = (dataset or "").rpartition("/")
    try:
        return cluster.list(kind, home or namespace or cluster.namespace, f"spec.dataset={own}" if own else ""), own
    except ApiFailure as failure:
        raise failure.as_error() from failure


def _amounts(found: Mapping[str, Any] | None) -> Amounts | None:
    if found is None:
        return None
    if found.get("renyi") is not None:
        return Curve.from_spec(found["renyi"])
    return Guarantee(Decimal(found["epsilon"]), Decimal(found.get("delta") or "0"))


def _block(found: Object) -> Block:
    spec: Mapping[str, Any] = found["spec"]
    status: Mapping[str, Any] = found.get("status") or {}
    ready = [each for each in status.get("conditions") or () if each["type"] == "Ready"]
    return Block(
        name=found["metadata"]["name"],
        namespace=found["metadata"]["namespace"],
        dataset=spec["dataset"],
        data_source=spec.get("dataSource"),
        dimensions=dict(spec.get("dimensions") or {}),
        records=spec.get("records"),
        is_ready=any(each["status"] == "True" for each in ready),
        order=Decimal(status["order"]) if status.get("order") else None,
        total=_amounts(status.get("total")),
        locked=_amounts(status.get("locked")),
        available=_amounts(status.get("available")),
        allocated=_amounts(status.get("allocated")),
        consumed=_amounts(status.get("consumed")),
        ledger_sequence=int(status.get("ledgerSequence") or 0),
        message=status.get("summary") or "",
    )


def _claim(found: Object) -> ClaimObject:
    spec: Mapping[str, Any] = found["spec"]
    status: Mapping[str, Any] = found.get("status") or {}
    budget: Mapping[str, Any] = spec.get("budget") or {}
    if "mechanism" in budget:
        asked = str(budget["mechanism"])
    elif "epsilon" in budget:
        asked = f"epsilon={budget['epsilon']}, delta={budget['delta']}"
    else:
        asked = "curve" if "renyi" in budget else "for each block"
    pod: Mapping[str, Any] = spec.get("pod") or {}
    share = status.get("dominantShare")
    return ClaimObject(
        name=found["metadata"]["name"],
        namespace=found["metadata"]["namespace"],
        dataset=spec["dataset"],
        budget=asked,
        status=ClaimStatus.of(found),
        dominant_share=None if share is None else Decimal(share),
        arrived_at=_time(status.get("arrivedAt")),
        decided_at=_time(status.get("decidedAt")),
        pod=pod.get("name"),
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00"))
