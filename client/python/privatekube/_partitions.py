"""Blocks from data that is divided by time: manifests of PrivateDataBlocks."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from ._cluster import API_VERSION, GROUP
from ._mechanism import Curve, Guarantee

if TYPE_CHECKING:
    import pandas as pd

EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class BlockManifest:
    """A PrivateDataBlock that can be applied to a cluster by the data's owner.

    Attributes:
        records: how many records it has. A manifest of more records than there are makes claims with a batch size too
            cheap.
        budget: what it may ever spend; the guarantee of its dataset if `None`.
        retires: from when on nothing more is granted on it; a time without a zone is UTC.
    """

    name: str
    dataset: str
    data_source: str | None = None
    dimensions: Mapping[str, int | str] = field(default_factory=dict[str, "int | str"])
    records: int | None = None
    budget: Curve | Guarantee | None = None
    namespace: str | None = None
    retires: datetime | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the object, as the API server takes it."""
        spec: dict[str, Any] = {"dataset": self.dataset}
        if self.data_source is not None:
            spec["dataSource"] = self.data_source
        if self.records is not None:
            spec["records"] = self.records
        if self.dimensions:
            spec["dimensions"] = dict(self.dimensions)
        if self.budget is not None:
            budget = self.budget
            spec["initialBudget"] = {"renyi": budget.to_spec()} if isinstance(budget, Curve) else budget.to_spec()
        if self.retires is not None:
            retires = self.retires if self.retires.tzinfo else self.retires.replace(tzinfo=timezone.utc)
            spec["retires"] = retires.astimezone(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
        metadata = {"name": self.name, **({"namespace": self.namespace} if self.namespace else {})}
        return {"apiVersion": f"{GROUP}/{API_VERSION}", "kind": "PrivateDataBlock", "metadata": metadata, "spec": spec}


def to_yaml(manifests: Iterable[BlockManifest]) -> str:
    """Returns manifests as one YAML text for `kubectl apply`.

    >>> print(to_yaml([BlockManifest("taxi-2026-11-21", "taxi", "s3://lake/taxi/2026-11-21", {"day": 20778})]), end="")
    apiVersion: privatekube.dev/v1alpha1
    kind: PrivateDataBlock
    metadata:
      name: taxi-2026-11-21
    spec:
      dataset: taxi
      dataSource: s3://lake/taxi/2026-11-21
      dimensions:
        day: 20778
    """
    return yaml.safe_dump_all((manifest.to_dict() for manifest in manifests), sort_keys=False)


def blocks_from_frame(
    frame: pd.DataFrame,
    *,
    time: str,
    dataset: str,
    data_source: str | Callable[[date], str],
    by: Iterable[str] = (),
    namespace: str | None = None,
    budget: Curve | Guarantee | None = None,
) -> list[BlockManifest]:
    """Returns a manifest for each day (UTC) of a table's column `time`, and for each value of the columns `by`.

    Each has the dimensions `startTime` and `endTime` in days since 1970, and one for each column of `by`. **How many
    records a block has is public**, as its dimensions are: leave out small groups, or don't divide by them.

    Args:
        frame: the table. Rows without a time are refused, since they would be in no block.
        time: the column with the time; times without a zone are UTC.
        dataset: the dataset's name.
        data_source: where a block's data is: a text in which `{day}` and `{NAME}` for each column of `by` are replaced,
            or a function of the day.
        by: columns with integers or text.
        namespace: of the manifests.
        budget: of each block; the dataset's guarantee if left out.
    """
    import pandas as pd

    table, pandas = cast("Any", frame), cast("Any", pd)
    columns = list(by)
    times = pandas.to_datetime(table[time], utc=True)
    missing = int(times.isna().sum())
    if missing:
        raise ValueError(
            f"{missing} rows have no {time}, so they would be in no block: leave them out, or give them a time"
        )
    days = times.dt.date.rename("day")
    groups = table.groupby([days, *(table[column] for column in columns)], dropna=False, sort=True).size()
    manifests: list[BlockManifest] = []
    for key, records in groups.items():
        day: date
        day, *values = cast("tuple[Any, ...]", key if isinstance(key, tuple) else (key,))
        named = {column: _dimension(column, value) for column, value in zip(columns, values, strict=True)}
        place = data_source(day) if callable(data_source) else data_source.format(day=day.isoformat(), **named)
        manifests.append(_daily(dataset, day, place, named, records=int(records), namespace=namespace, budget=budget))
    return _distinct(manifests)


def blocks_from_directory(
    directory: str | os.PathLike[str],
    *,
    dataset: str,
    time: str = "day",
    data_source: str = "{path}",
    records: Callable[[Path], int] | None = None,
    namespace: str | None = None,
    budget: Curve | Guarantee | None = None,
) -> list[BlockManifest]:
    """Returns a manifest for each partition of a directory, by the names of its folders (`day=2026-11-21/city=nyc`, or
    `2026-11-21`).

    Args:
        directory: the directory whose folders are partitions. A file beside them is refused, since it would be in no
            block.
        dataset: the dataset's name.
        time: the name of the folders' key that is a day; a folder that is called by a day alone is one, too.
        data_source: where a block's data is: `{path}` and `{NAME}` for each key are replaced.
        records: counts the records of a partition; without it, blocks state none.
        namespace: of the manifests.
        budget: of each block; the dataset's guarantee if left out.
    """
    manifests: list[BlockManifest] = []
    for path, keys in _partitions(Path(directory), {}, time):
        if time not in keys:
            raise ValueError(
                f"{path} has no {time}: expected a folder like {time}=2026-11-21 or 2026-11-21 on the way to it"
            )
        day = _day(str(keys[time]), path)
        named = {key: value for key, value in keys.items() if key != time}
        place = data_source.format(path=path, **{**keys, time: day.isoformat()})
        count = None if records is None else records(path)
        manifests.append(_daily(dataset, day, place, named, records=count, namespace=namespace, budget=budget))
    if not manifests:
        raise ValueError(
            f"{os.fspath(directory)} has no partitions: expected folders like {time}=2026-11-21 or 2026-11-21"
        )
    return _distinct(manifests)


def _partitions(path: Path, keys: dict[str, int | str], time: str) -> Iterable[tuple[Path, dict[str, int | str]]]:
    visible = sorted(each for each in path.iterdir() if not each.name.startswith((".", "_")))
    folders = [each for each in visible if each.is_dir()]
    if not folders:
        if keys:
            yield path, keys
        return
    files = [each.name for each in visible if not each.is_dir()]
    if files:
        raise ValueError(f"{path} has files beside its partitions, which would be in no block: {', '.join(files[:5])}")
    for folder in folders:
        key, equals, value = folder.name.partition("=")
        if not equals:
            key, value = time, folder.name
        yield from _partitions(folder, {**keys, key: int(value) if re.fullmatch(r"\d{1,15}", value) else value}, time)


def _day(text: str, path: Path) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{path}: {text!r} is not a day: write one like 2026-11-21") from None


def _dimension(column: str, value: Any) -> int | str:
    if isinstance(value, str):
        return value
    if value != value or value is None:
        raise ValueError(
            f"{column} has rows without a value, which would be in no block: leave them out, or give them one"
        )
    try:
        whole = int(value)
    except (TypeError, ValueError):
        whole = None
    if whole is None or whole != value:
        raise ValueError(f"{column} is {value!r}: a dimension is an integer or a text")
    return whole


def _daily(
    dataset: str,
    day: date,
    data_source: str,
    named: Mapping[str, int | str],
    *,
    records: int | None,
    namespace: str | None,
    budget: Curve | Guarantee | None,
) -> BlockManifest:
    start = (day - EPOCH).days
    parts = [dataset, day.isoformat(), *(_slug(str(value)) for value in named.values())]
    return BlockManifest(
        name="-".join(part for part in parts if part),
        dataset=dataset,
        data_source=data_source,
        dimensions={"startTime": start, "endTime": start + 1, **named},
        records=records or None,
        budget=budget,
        namespace=namespace,
    )


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _distinct(manifests: list[BlockManifest]) -> list[BlockManifest]:
    seen: dict[str, BlockManifest] = {}
    for manifest in manifests:
        other = seen.setdefault(manifest.name, manifest)
        if other is not manifest:
            raise ValueError(
                f"two partitions would be block {manifest.name!r}: {dict(other.dimensions)} and {dict(manifest.dimensions)}"
            )
    return manifests


def days_since_1970(day: date | datetime) -> int:
    """The number that `startTime` has for a day (UTC), for selectors.

    >>> days_since_1970(date(2026, 11, 21))
    20778
    """
    if isinstance(day, datetime):
        day = (day if day.tzinfo else day.replace(tzinfo=timezone.utc)).astimezone(timezone.utc).date()
    return (day - EPOCH) // timedelta(days=1)
