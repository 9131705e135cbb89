"""What a pod was granted, read without access to the cluster (docs/annotations.md, docs/grant.schema.json)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from ._errors import BlocksElsewhere, GrantInvalid, GrantMissing
from ._mechanism import Curve, Guarantee, Mechanism

VARIABLE = "PRIVATEKUBE_GRANT"
FILE = "/var/run/privatekube/grant.json"
VERSION = 1


@dataclass(frozen=True)
class GrantedBlock:
    """A block that this program may read.

    Attributes:
        name: its name, in the dataset's namespace.
        data_source: where its data is, in the words of the data's owner; `None` if the block states nothing.
        dimensions: what portion of the data it is.
    """

    name: str
    data_source: str | None = None
    dimensions: Mapping[str, int | str] = field(default_factory=dict[str, "int | str"])


@dataclass(frozen=True)
class GrantBudget:
    """A budget, and the blocks on each of which the pod has it.

    Attributes:
        amount: a `Curve` if the dataset has Renyi composition, a `Guarantee` if it has Basic. What was released is not
            in it.
    """

    amount: Curve | Guarantee
    _blocks: tuple[GrantedBlock, ...] | None
    _elsewhere: str | None

    @property
    def blocks(self) -> tuple[GrantedBlock, ...]:
        """The blocks, or raises `BlocksElsewhere`."""
        if self._blocks is None:
            raise BlocksElsewhere(
                "the grant is too long for a pod's annotations, so its blocks stand in the status of "
                f"{self._elsewhere}: read it with a service account that may get it (docs/annotations.md)"
            )
        return self._blocks


@dataclass(frozen=True)
class GrantClaim:
    """One granted claim of a pod.

    Attributes:
        claim: `namespace/name` of the claim.
        dataset: `namespace/name` of the dataset.
        requested: what was asked for on each block; `None` if that was a Renyi curve, or differs from block to block.
        block_count: how many blocks the pod may read.
        budgets: each different budget once, with its blocks.
        privacy_unit: what differs between two sets of data that the budget makes hard to tell apart: `Event`, `User` or
            `UserTime`. The program has to bound what one such unit adds. `None` if the dataset states none.
    """

    claim: str
    dataset: str
    requested: Mechanism | Guarantee | None
    block_count: int
    budgets: tuple[GrantBudget, ...]
    privacy_unit: str | None = None

    @property
    def blocks(self) -> tuple[GrantedBlock, ...]:
        """All blocks of the claim, or raises `BlocksElsewhere`."""
        return tuple(block for budget in self.budgets for block in budget.blocks)

    @property
    def data_sources(self) -> tuple[str, ...]:
        """Where the data of its blocks is; blocks that state nothing are left out."""
        return tuple(block.data_source for block in self.blocks if block.data_source is not None)


@dataclass(frozen=True)
class Grant:
    """All that a pod was granted."""

    claims: tuple[GrantClaim, ...]

    @property
    def blocks(self) -> tuple[GrantedBlock, ...]:
        """The blocks of all claims, or raises `BlocksElsewhere`."""
        return tuple(block for claim in self.claims for block in claim.blocks)

    @property
    def data_sources(self) -> tuple[str, ...]:
        """Where the data is."""
        return tuple(source for claim in self.claims for source in claim.data_sources)


def grant(*, environment: Mapping[str, str] | None = None, file: str | os.PathLike[str] = FILE) -> Grant:
    """Returns what the pod that this program runs in was granted.

    It reads the environment variable `PRIVATEKUBE_GRANT`, and, if that isn't set or names a file, the file. It needs no
    access to the cluster.

    Raises:
        GrantMissing: this is no pod that was granted budget.
        GrantInvalid: what is there is no grant that this version understands.
    """
    text = (os.environ if environment is None else environment).get(VARIABLE)
    if text is None:
        return _from_file(Path(file), f"the environment variable {VARIABLE} isn't set")
    found = _object(text, f"the environment variable {VARIABLE}")
    elsewhere = found.get("file")
    if elsewhere is None:
        return _grant(found, f"the environment variable {VARIABLE}")
    return _from_file(Path(str(elsewhere)), f"the environment variable {VARIABLE} says that the grant is there")


def _from_file(path: Path, why: str) -> Grant:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise GrantMissing(
            f"there is no grant: {why}, and there is no file {path}. A pod finds its grant there if it requests budget by annotations "
            "such as privatekube.dev/dataset, or names a claim in privatekube.dev/claim; outside of a pod, use privatekube.claim"
        ) from None
    except OSError as problem:
        raise GrantInvalid(f"the grant's file {path} can't be read: {problem}") from problem
    if not text.strip():
        raise GrantMissing(f"there is no grant: the file {path} is empty, so the pod was given a node by another way")
    found = _object(text, f"the file {path}")
    return _grant(found, f"the file {path}")


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_float=Decimal)
    except ValueError as problem:
        raise GrantInvalid(f"{where} is not JSON: {problem}") from None
    if not isinstance(found, dict):
        raise GrantInvalid(f"{where} is not an object with version and claims")
    found = cast("dict[str, Any]", found)
    if found.get("version") != VERSION:
        raise GrantInvalid(
            f"{where} has version {found.get('version')!r}, and this package reads version {VERSION}: install a newer privatekube"
        )
    return found


def _grant(found: dict[str, Any], where: str) -> Grant:
    try:
        return Grant(tuple(_claim(claim) for claim in found["claims"]))
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise GrantInvalid(f"{where} is no grant: {type(problem).__name__}: {problem}") from problem


def _claim(found: dict[str, Any]) -> GrantClaim:
    elsewhere = found.get("blocksFrom")
    place = None
    if elsewhere is not None:
        place = f"{elsewhere['kind']} {elsewhere['namespace']}/{elsewhere['name']} ({elsewhere['fieldPath']})"
    requested = found.get("requested")
    return GrantClaim(
        claim=str(found["claim"]),
        dataset=str(found["dataset"]),
        requested=None if requested is None else _requested(requested),
        block_count=int(found["blockCount"]),
        budgets=tuple(_budget(budget, place) for budget in found["budgets"]),
        privacy_unit=found.get("privacyUnit"),
    )


def _requested(found: dict[str, Any]) -> Mechanism | Guarantee:
    if "mechanism" in found:
        return Mechanism.parse(found["mechanism"])
    return Guarantee.of(found["epsilon"], found["delta"])


def _budget(found: dict[str, Any], elsewhere: str | None) -> GrantBudget:
    amount = Curve.from_spec(found["renyi"]) if "renyi" in found else Guarantee.of(found["epsilon"], found["delta"])
    listed = found.get("blocks")
    if listed is None and elsewhere is None:
        raise KeyError("blocks")
    blocks = None if listed is None else tuple(granted_block(block) for block in listed)
    return GrantBudget(amount, blocks, elsewhere)


def granted_block(found: Mapping[str, Any]) -> GrantedBlock:
    """Reads a block of a grant, or of a claim's status."""
    return GrantedBlock(str(found["name"]), found.get("dataSource"), dict(found.get("dimensions") or {}))
