"""A cluster in memory, with an extender whose decisions a test scripts. Its clock moves only when somebody pauses or watches."""

import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from privatekube._cluster import BLOCKS, CLAIMS, ApiFailure

Decide = Callable[["FakeCluster", dict[str, Any]], None]


class FakeCluster:
    namespace = "data"

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.requests: list[str] = []
        self.faults: dict[str, list[Any]] = {}
        """What happens to the next requests of a kind: an ApiFailure before it is carried out, or (ApiFailure, "after")."""
        self.script: list[Any] = []
        """What happens at each watch: a dict is merged into the claim's status, an exception is raised, "end" ends the watch."""
        self.time = 0.0
        self._versions = itertools.count(1)
        self._uids = itertools.count(1)

    # What the package needs.

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        self._request("get", kind)
        return copy.deepcopy(self._object(kind, namespace, name))

    def list(self, kind: str, namespace: str, fields: str = "") -> list[dict[str, Any]]:
        self._request("list", kind)
        found = [each for (of, home, _), each in self.objects.items() if (of, home) == (kind, namespace)]
        return copy.deepcopy(found)

    def create(self, kind: str, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        def carry_out() -> dict[str, Any]:
            key = (kind, namespace, body["metadata"]["name"])
            if key in self.objects:
                raise ApiFailure(409, f'{kind} "{key[2]}" already exists')
            made = copy.deepcopy(body)
            made["metadata"] |= {"uid": f"uid-{next(self._uids)}", "resourceVersion": str(next(self._versions))}
            self.objects[key] = made
            return copy.deepcopy(made)

        return self._request("create", kind, carry_out)

    def patch(self, kind: str, namespace: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        def carry_out() -> dict[str, Any]:
            found = self._object(kind, namespace, name)
            if body["metadata"].get("uid", found["metadata"]["uid"]) != found["metadata"]["uid"]:
                raise ApiFailure(409, "the UID in the precondition does not match")
            merge(found, body)
            self._changed(found)
            return copy.deepcopy(found)

        return self._request("patch", kind, carry_out)

    def delete(self, kind: str, namespace: str, name: str, uid: str) -> None:
        def carry_out() -> None:
            if self._object(kind, namespace, name)["metadata"]["uid"] != uid:
                raise ApiFailure(409, "the UID in the precondition does not match")
            del self.objects[kind, namespace, name]

        self._request("delete", kind, carry_out)

    def watch(
        self, kind: str, namespace: str, name: str, version: str, seconds: float
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        self._request("watch", kind)
        self.time += 1
        while True:
            step = self.script.pop(0) if self.script else "end"
            if step == "end":
                self.time += min(seconds, 60.0)
                return
            if step == "deleted":
                yield "DELETED", self.objects.pop((kind, namespace, name))
                continue
            if isinstance(step, BaseException):
                raise step
            found = self._object(kind, namespace, name)
            found.setdefault("status", {}).update(step)
            self._changed(found)
            yield "MODIFIED", copy.deepcopy(found)

    def pause(self, seconds: float) -> None:
        self.time += seconds

    def now(self) -> float:
        return self.time

    # What tests ask.

    def claims(self) -> dict[str, dict[str, Any]]:
        return {name: each for (kind, _, name), each in self.objects.items() if kind == CLAIMS}

    def add_block(self, name: str, data_source: str, **dimensions: Any) -> None:
        spec = {"dataset": "taxi", "dataSource": data_source, "dimensions": dimensions}
        self.objects[BLOCKS, "data", name] = {"metadata": {"name": name, "namespace": "data"}, "spec": spec}

    def _object(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        try:
            return self.objects[kind, namespace, name]
        except KeyError:
            raise ApiFailure(404, f'{kind} "{name}" not found') from None

    def _changed(self, found: dict[str, Any]) -> None:
        found["metadata"]["resourceVersion"] = str(next(self._versions))

    def _request(self, verb: str, kind: str, carry_out: Callable[[], Any] = lambda: None) -> Any:
        self.requests.append(verb)
        fault = self.faults.get(verb, []).pop(0) if self.faults.get(verb) else None
        if isinstance(fault, tuple):
            carry_out()
            raise fault[0]
        if fault is not None:
            raise fault
        return carry_out()


def merge(found: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, dict):
            merge(found.setdefault(key, {}), value)
        else:
            found[key] = value
