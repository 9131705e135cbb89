"""All errors of this package. Each says what is wrong and what would be right, in the words of the extender where it
refused something."""

from __future__ import annotations


class PrivateKubeError(Exception):
    """Any error of this package."""


class AmountError(PrivateKubeError, ValueError):
    """An epsilon, a delta or a Renyi order that isn't exact, or is out of its range."""


class MechanismError(PrivateKubeError, ValueError):
    """A text that is not a mechanism, or a mechanism that can't be charged as it was asked."""


class NoCounterpart(PrivateKubeError, ValueError):
    """Something of another library that no mechanism of PrivateKube covers, so that nothing honest can be claimed for
    it.

    Attributes:
        what: its name in that library.
    """

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.what = what


class GrantError(PrivateKubeError):
    """A pod's grant can't be read."""


class GrantMissing(GrantError):
    """This program runs in no pod that was granted budget."""


class GrantInvalid(GrantError):
    """There is a grant that this version doesn't understand."""


class BlocksElsewhere(GrantError):
    """A grant doesn't list its blocks: they stand in an object of the cluster, which the message names."""


class ClusterError(PrivateKubeError):
    """A request to the API server failed.

    Attributes:
        status: the HTTP status, 0 if there was no answer.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class ClusterUnreachable(ClusterError):
    """The API server doesn't answer, or only with errors of its own."""


class ClusterForbidden(ClusterError):
    """The API server doesn't allow it (RBAC). The message says which right is missing."""


class ClaimError(PrivateKubeError):
    """A claim wasn't granted, or isn't any more.

    Attributes:
        name: the name of the claim's object.
        namespace: its namespace.
        message: the words of the extender.
    """

    def __init__(self, name: str, namespace: str, message: str) -> None:
        super().__init__(f"claim {namespace}/{name}: {message}")
        self.name = name
        self.namespace = namespace
        self.message = message


class ClaimRefused(ClaimError):
    """The claim was not created, since something in it is wrong.

    Attributes:
        fields: the paths of the fields that are wrong, such as `spec.budget.mechanism`; empty if none is to blame.
    """

    def __init__(self, name: str, namespace: str, message: str, fields: tuple[str, ...] = ()) -> None:
        super().__init__(name, namespace, message)
        self.fields = fields

    @property
    def field(self) -> str | None:
        """The first field that is wrong."""
        return self.fields[0] if self.fields else None


class ClaimLimited(ClaimRefused):
    """The claim was not created for now: its namespace has too many claims that wait, or made too many within a
    minute."""


class ClaimDenied(ClaimError):
    """The claim can never be granted.

    Attributes:
        reason: why, in one word, such as `TooLarge` or `NotAllowed`.
    """

    def __init__(self, name: str, namespace: str, message: str, reason: str) -> None:
        super().__init__(name, namespace, f"denied ({reason}): {message}")
        self.reason = reason
        self.message = message


class ClaimExpired(ClaimError):
    """The claim waited for its whole timeout. Nothing was charged."""


class ClaimWithdrawn(ClaimError):
    """Somebody deleted the claim, or consumed or released it, while this program relied on it."""


class ClaimNotSettled(ClaimError):
    """It isn't known whether budget was consumed or released: the cluster didn't confirm it in time.

    Publish nothing that this budget is to pay for. What was asked stays in the claim's object, so the extender does it
    as soon as it can.
    """


class ReleaseRefused(PrivateKubeError):
    """A release of budget of which data was handed out, without the statement that it wasn't used."""


class CounterError(PrivateKubeError, ValueError):
    """A counter of users that can't count: a parameter, a state or a file is wrong, or its horizon has ended."""


class CounterNotCharged(PrivateKubeError):
    """A count of users would be published for which its users haven't paid."""


class ClaimLeftBehind(UserWarning):
    """A claim could not be cleaned up. The message says how to do it by hand."""
