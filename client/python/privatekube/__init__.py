"""Differential-privacy budget from PrivateKube, for pipelines and notebooks.

In a pod that was granted budget, `grant()` says which data it may read. In a notebook, `claim(...)` is a `with`
statement that waits for budget. `Mechanism` and `Curve` say what a program costs, with the numbers that a cluster
charges. `blocks`, `claims` and `ledger` read a cluster; `to_pandas` and `plot` show what they read.
`UserCounter` counts users for
datasets whose blocks are buckets of users. `privatekube.adapters` makes mechanisms of what other libraries account with.
"""

from ._amounts import Amount, OrderLike, round_up
from ._claim import Claim, claim
from ._claim_grant import ClaimGrant
from ._claim_object import ClaimStatus
from ._cluster import Cluster
from ._counter import UserCount, UserCounter
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
    ClusterForbidden,
    ClusterUnreachable,
    CounterError,
    CounterNotCharged,
    GrantError,
    GrantInvalid,
    GrantMissing,
    MechanismError,
    NoCounterpart,
    PrivateKubeError,
    ReleaseRefused,
)
from ._grant import Grant, GrantBudget, GrantClaim, GrantedBlock, grant
from ._ledger import BlockBudget, LedgerEntry, ledger
from ._mechanism import DEFAULT_ORDERS, Conversion, Curve, Guarantee, Mechanism, Proven
from ._objects import Block, ClaimObject, blocks, claims
from ._partitions import BlockManifest, blocks_from_directory, blocks_from_frame, days_since_1970, to_yaml
from ._plots import plot
from ._tables import to_pandas

__all__ = [
    "DEFAULT_ORDERS",
    "Amount",
    "AmountError",
    "Block",
    "BlockBudget",
    "BlockManifest",
    "BlocksElsewhere",
    "Claim",
    "ClaimDenied",
    "ClaimError",
    "ClaimExpired",
    "ClaimGrant",
    "ClaimLeftBehind",
    "ClaimLimited",
    "ClaimNotSettled",
    "ClaimObject",
    "ClaimRefused",
    "ClaimStatus",
    "ClaimWithdrawn",
    "Cluster",
    "ClusterError",
    "ClusterForbidden",
    "ClusterUnreachable",
    "Conversion",
    "CounterError",
    "CounterNotCharged",
    "Curve",
    "Grant",
    "GrantBudget",
    "GrantClaim",
    "GrantError",
    "GrantInvalid",
    "GrantMissing",
    "GrantedBlock",
    "Guarantee",
    "LedgerEntry",
    "Mechanism",
    "MechanismError",
    "NoCounterpart",
    "OrderLike",
    "PrivateKubeError",
    "Proven",
    "ReleaseRefused",
    "UserCount",
    "UserCounter",
    "blocks",
    "blocks_from_directory",
    "blocks_from_frame",
    "claim",
    "claims",
    "days_since_1970",
    "grant",
    "ledger",
    "plot",
    "round_up",
    "to_pandas",
    "to_yaml",
]

# A traceback names an error as programs do.
for _name in __all__:
    _each = globals()[_name]
    if isinstance(_each, type) and issubclass(_each, Exception):
        _each.__module__ = __name__
