"""A granted claim: the blocks that may be read, and what becomes of the budget."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ._amounts import DELTA_DECIMALS, EPSILON_DECIMALS, delta_units, epsilon_units, from_units, plain
from ._claim_object import PATIENCE, ClaimStatus, delete, fields, left_behind, versions
from ._cluster import BLOCKS, CLAIMS, ApiFailure, ClusterApi, Object, child, children, patiently
from ._errors import (
    AmountError,
    BlocksElsewhere,
    ClaimError,
    ClaimNotSettled,
    ClaimRefused,
    ClaimWithdrawn,
    ClusterError,
    ReleaseRefused,
)
from ._grant import GrantedBlock
from ._mechanism import Curve, Guarantee

SETTLE_SECONDS: Final = 60.0
"""How long a consumption or a release may take until it is in the ledger."""

AmountOnBlock = Curve | Guarantee


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
        for version in versions(self._cluster, self.namespace, self.name, self._uid, found, deadline):
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
            named = tuple(field for field, _ in failure.causes if field) or fields(failure.message)
            return ClaimRefused(self.name, self.namespace, failure.message, named)
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
                delete(self._cluster, self.namespace, self.name, self._uid)
            elif problem is None or not child(self._object, "spec", "consume").get("all"):
                self._settle("consume", None)
            # Else the object states it, and the extender does it as soon as it can: the error in flight says that.
        except (ApiFailure, ClaimError, ClusterError) as failure:
            if problem is None and self.may_be_used:
                raise
            left_behind(self.namespace, self.name, failure, may_be_used=self.may_be_used)


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
