"""Requests to the API server: one method for each, every one with a time limit, and errors as values of one class.

The client for Kubernetes is imported when it is needed, since a pod that only reads its grant needs none.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from ._errors import ClusterError, ClusterForbidden, ClusterUnreachable

GROUP = "privatekube.dev"
API_VERSION = "v1alpha1"
DATASETS = "privatedatasets"
BLOCKS = "privatedatablocks"
CLAIMS = "privacybudgetclaims"
ENTRIES = "privacyledgerentries"
CHECKPOINTS = "privacyledgercheckpoints"
PIECES = "privacyledgercheckpointpieces"

Object = dict[str, Any]
T = TypeVar("T")

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 30.0
"""The API server asks the webhook, which may take 10 s."""
WATCH_SECONDS = 60
"""After which the API server ends a watch, so that it is known that both are there."""
PAGE = 200

_SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass
class ApiFailure(Exception):
    """A request that failed.

    Attributes:
        status: the HTTP status; 0 if there was no answer, so that it isn't known whether it was carried out.
        message: what the API server said.
        causes: fields and what is wrong with each, as the API server lists them.
    """

    status: int
    message: str
    causes: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return self.message

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later, and may have been carried out."""
        return self.status == 0 or self.status >= 500

    @property
    def is_repeatable(self) -> bool:
        """Whether it is worth repeating at once. What a webhook refuses for now isn't: its words say for how long."""
        return self.is_transient or (self.status == 429 and "denied the request" not in self.message)

    def as_error(self) -> ClusterError:
        """The failure as an error for users."""
        if self.status == 403:
            return ClusterForbidden(self.message, self.status)
        if self.is_transient:
            return ClusterUnreachable(self.message, self.status)
        return ClusterError(self.message, self.status)


def child(found: Mapping[str, Any], *path: str) -> Object:
    """An object within an object; empty if it isn't there."""
    for key in path:
        found = cast("Mapping[str, Any]", found.get(key) or {})
    return dict(found)


def children(found: Mapping[str, Any], key: str) -> Sequence[Object]:
    """A list of objects within an object; empty if it isn't there."""
    return cast("Sequence[Object]", found.get(key) or ())


class ClusterApi(Protocol):
    """What this package needs of a cluster."""

    namespace: str

    def get(self, kind: str, namespace: str, name: str) -> Object: ...
    def list(self, kind: str, namespace: str, fields: str = "") -> list[Object]: ...
    def create(self, kind: str, namespace: str, body: Object) -> Object: ...
    def patch(self, kind: str, namespace: str, name: str, body: Object) -> Object: ...
    def delete(self, kind: str, namespace: str, name: str, uid: str) -> None: ...
    def watch(
        self, kind: str, namespace: str, name: str, version: str, seconds: float
    ) -> Iterator[tuple[str, Object]]: ...
    def pause(self, seconds: float) -> None: ...
    def now(self) -> float: ...


def patiently(cluster: ClusterApi, request: Callable[[], T], patience: float) -> T:
    """Repeats a request that changes nothing when it is repeated, while there is no answer, for so many seconds."""
    deadline = cluster.now() + patience
    rest = 0.2
    while True:
        try:
            return request()
        except ApiFailure as failure:
            if not failure.is_repeatable or cluster.now() + rest > deadline:
                raise
        cluster.pause(rest)
        rest = min(2 * rest, 5.0)


class Cluster:
    """A cluster, by a kubeconfig or the service account of a pod.

    Args:
        context: the context of the kubeconfig; the current one if left out.
        kubeconfig: its file; that of the variable KUBECONFIG or ~/.kube/config if left out, and without one the service
            account of the pod.
        namespace: where claims are made; the context's, or the pod's, if left out.
    """

    def __init__(
        self,
        *,
        context: str | None = None,
        kubeconfig: str | os.PathLike[str] | None = None,
        namespace: str | None = None,
    ) -> None:
        from kubernetes import client, config

        configuration: Any = client.Configuration()
        file = None if kubeconfig is None else os.fspath(kubeconfig)
        kube_config = cast("Any", config)
        try:
            if file or context or os.environ.get("KUBECONFIG") or Path("~/.kube/config").expanduser().exists():
                kube_config.load_kube_config(config_file=file, context=context, client_configuration=configuration)
                contexts, active = kube_config.list_kube_config_contexts(config_file=file)
                chosen = next((each for each in contexts if each["name"] == context), active)
                found = chosen["context"].get("namespace")
            else:
                kube_config.load_incluster_config(client_configuration=configuration)
                found = (_SERVICE_ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
        except (kube_config.ConfigException, OSError) as problem:
            raise ClusterError(
                f"no cluster is configured: {problem}. Set KUBECONFIG, or run in a pod with a service account"
            ) from problem
        # What may be repeated is repeated here, where it is known whether that changes anything.
        configuration.retries = False
        self.namespace: str = namespace or found or "default"
        self._client: Any = client.ApiClient(configuration)
        self._api: Any = client.CustomObjectsApi(self._client)

    def get(self, kind: str, namespace: str, name: str) -> Object:
        """Reads an object."""
        return self._call(self._api.get_namespaced_custom_object, kind, namespace, name=name)

    def list(self, kind: str, namespace: str, fields: str = "") -> list[Object]:
        """Lists objects, in pages."""
        items: list[Object] = []
        more: str | None = None
        while True:
            page = self._call(
                self._api.list_namespaced_custom_object,
                kind,
                namespace,
                limit=PAGE,
                **({"field_selector": fields} if fields else {}),
                **({"_continue": more} if more else {}),
            )
            items.extend(page["items"])
            more = page["metadata"].get("continue")
            if not more:
                return items

    def create(self, kind: str, namespace: str, body: Object) -> Object:
        """Creates an object."""
        return self._call(self._api.create_namespaced_custom_object, kind, namespace, body=body)

    def patch(self, kind: str, namespace: str, name: str, body: Object) -> Object:
        """Merges `body` into an object."""
        patch = self._api.patch_namespaced_custom_object
        return self._call(patch, kind, namespace, name=name, body=body, _content_type="application/merge-patch+json")

    def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        """Deletes an object, and none that was created again under its name."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        self._call(self._api.delete_namespaced_custom_object, kind, namespace, name=name, body=body)

    def watch(self, kind: str, namespace: str, name: str, version: str, seconds: float) -> Iterator[tuple[str, Object]]:
        """Gives changes of an object after a version, until the API server ends the watch."""
        from kubernetes import watch

        span = max(1, min(WATCH_SECONDS, int(seconds)))
        stream = (
            cast("Any", watch)
            .Watch()
            .stream(
                self._api.list_namespaced_custom_object,
                GROUP,
                API_VERSION,
                namespace,
                kind,
                field_selector=f"metadata.name={name}",
                resource_version=version,
                timeout_seconds=span,
                # An API server that is gone without a word sends nothing more.
                _request_timeout=(CONNECT_SECONDS, span + 10.0),
            )
        )
        try:
            for event in stream:
                yield event["type"], event["raw_object"]
        except Exception as problem:
            raise _failure(problem) from problem
        finally:
            stream.close()

    def pause(self, seconds: float) -> None:
        """Waits before a request is repeated."""
        time.sleep(seconds)

    def now(self) -> float:
        """A clock that only goes forward, in seconds."""
        return time.monotonic()

    def close(self) -> None:
        """Closes connections."""
        self._client.close()

    def _call(self, function: Any, kind: str, namespace: str, **arguments: Any) -> Object:
        try:
            return function(
                group=GROUP,
                version=API_VERSION,
                namespace=namespace,
                plural=kind,
                _request_timeout=(CONNECT_SECONDS, ANSWER_SECONDS),
                **arguments,
            )
        except Exception as problem:
            raise _failure(problem) from problem


def _failure(problem: Exception) -> Exception:
    """A failed request as an `ApiFailure`; any other error as it is."""
    import urllib3.exceptions
    from kubernetes.client.exceptions import ApiException

    if isinstance(problem, urllib3.exceptions.HTTPError | OSError):
        return ApiFailure(0, f"the API server doesn't answer: {problem}")
    if not isinstance(problem, ApiException):
        return problem
    found = cast("Any", problem)
    message = str(found.reason)
    causes: tuple[tuple[str, str], ...] = ()
    try:
        body = cast("Object", json.loads(found.body or "{}"))
        message = str(body.get("message") or message)
        named = children(child(body, "details"), "causes")
        causes = tuple((str(cause.get("field", "")), str(cause.get("message", ""))) for cause in named)
    except (ValueError, AttributeError):
        # It is no status of Kubernetes: a proxy may answer anything.
        pass
    return ApiFailure(int(found.status or 0), message, causes)
