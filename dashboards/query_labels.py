"""Which metrics and labels there are, and which labels the result of a PromQL query has.

It reads docs/metrics.md, and follows a query from its selectors outwards, so that a wrong name, label or value is found
without a Prometheus.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import promql_parser as promql

TARGET = frozenset({"job", "instance"})
"""Labels that Prometheus adds to everything that it scrapes."""

HISTOGRAM = {"_bucket": {"le"}, "_sum": set(), "_count": set()}
"""The series of a histogram, with the labels that they have beside the metric's."""

SET_OPERATORS = {"and", "or", "unless"}
ADDS_LABEL = {"label_replace": 1, "label_join": 1}
KEEPS_ONE_OF_EACH = {"topk", "bottomk", "limitk"}


class QueryError(ValueError):
    """What is wrong with a query."""


@dataclass(frozen=True)
class Metric:
    """A metric's kind and labels, each with the words that explain its values."""

    kind: str
    labels: dict[str, str] = field(default_factory=dict)


Metrics = dict[str, Metric]


def documented(page: Path) -> Metrics:
    """The metrics of docs/metrics.md."""
    metrics = {}
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        name = re.fullmatch(r"`(\w+)`", cells[0])
        if name:
            labels = re.findall(r"`(\w+)`(?: \(((?:[^()]|\([^()]*\))*)\))?", cells[3])
            metrics[name[1]] = Metric(cells[1], dict(labels))
    return metrics


def series(metrics: Metrics) -> dict[str, dict[str, str]]:
    """The labels of each series, those of histograms included."""
    found: dict[str, dict[str, str]] = {}
    for name, metric in metrics.items():
        if metric.kind == "histogram":
            for suffix, more in HISTOGRAM.items():
                found[name + suffix] = {**metric.labels, **dict.fromkeys(more, "")}
        else:
            found[name] = metric.labels
    return found


def result_labels(query: str, known: dict[str, dict[str, str]]) -> frozenset[str]:
    """The labels of a query's result. Those of `TARGET` are among them unless the query drops them."""
    plain = query.replace("$__rate_interval", "5m").replace("$__range", "6h")
    try:
        tree = promql.parse(plain)
    except ValueError as error:
        message = f"{query}: {error}"
        raise QueryError(message) from error
    return _labels(tree, known)


def _labels(tree: Any, known: dict[str, dict[str, str]]) -> frozenset[str]:  # noqa: ANN401
    match tree:
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return _labels(tree.expr, known)
        case promql.NumberLiteral() | promql.StringLiteral():
            return frozenset()
        case promql.MatrixSelector():
            return _labels(tree.vector_selector, known)
        case promql.VectorSelector():
            return _selected(tree, known)
        case promql.Call():
            return _called(tree, known)
        case promql.AggregateExpr():
            return _aggregated(tree, known)
        case promql.BinaryExpr():
            return _joined(tree, known)
    message = f"{type(tree).__name__} is not handled"
    raise QueryError(message)


def _selected(tree: promql.VectorSelector, known: dict[str, dict[str, str]]) -> frozenset[str]:
    if tree.name not in known:
        message = f"there is no metric {tree.name}"
        raise QueryError(message)
    labels = known[tree.name]
    for matcher in tree.matchers.matchers:
        if matcher.name not in labels.keys() | TARGET:
            message = f"{tree.name} has no label {matcher.name}"
            raise QueryError(message)
        words = re.findall(r"\w+", labels.get(matcher.name, ""))
        for value in matcher.value.split("|"):
            # A label without an explanation has values of the users, and a variable's value is one that exists.
            if words and not value.startswith("$") and value not in words:
                message = f"{matcher.name} of {tree.name} is never {value}: {labels[matcher.name]}"
                raise QueryError(message)
    return frozenset(labels) | TARGET


def _called(tree: promql.Call, known: dict[str, dict[str, str]]) -> frozenset[str]:
    name = tree.func.name
    labels: frozenset[str] = frozenset().union(*(_labels(argument, known) for argument in tree.args))
    if name == "histogram_quantile":
        _need(labels, ["le"], "histogram_quantile")
        return labels - {"le"}
    if name in ADDS_LABEL:
        return labels | {tree.args[ADDS_LABEL[name]].val}
    return labels


def _aggregated(tree: promql.AggregateExpr, known: dict[str, dict[str, str]]) -> frozenset[str]:
    labels = _labels(tree.expr, known)
    if str(tree.op) in KEEPS_ONE_OF_EACH and tree.modifier is None:
        return labels
    if tree.modifier is None:
        return frozenset()
    _need(labels, tree.modifier.labels, f"{tree.op} by")
    if tree.modifier.type == promql.AggModifierType.By:
        return frozenset(tree.modifier.labels)
    return labels - frozenset(tree.modifier.labels)


def _joined(tree: promql.BinaryExpr, known: dict[str, dict[str, str]]) -> frozenset[str]:
    left, right = _labels(tree.lhs, known), _labels(tree.rhs, known)
    if _is_scalar(tree.lhs) or _is_scalar(tree.rhs):
        return left | right
    modifier = tree.modifier
    matching = modifier.matching if modifier else None
    operator = str(tree.op)
    if operator == "or":
        # Each side's elements keep their labels; 0 in place of nothing has none.
        return left | right
    if matching is None:
        if left != right:
            message = f"{operator} never finds a partner: {sorted(left)} beside {sorted(right)}"
            raise QueryError(message)
        return left
    _need(left, matching.labels, f"the left side of {operator}")
    _need(right, matching.labels, f"the right side of {operator}")
    if operator in SET_OPERATORS or (modifier and modifier.card == promql.VectorMatchCardinality.ManyToOne):
        return left | frozenset((modifier.group_labels if modifier else None) or [])
    if matching.type == promql.LabelModifierType.Include:
        return frozenset(matching.labels)
    return left - frozenset(matching.labels)


def _is_scalar(tree: Any) -> bool:  # noqa: ANN401
    if isinstance(tree, promql.ParenExpr):
        return _is_scalar(tree.expr)
    if isinstance(tree, promql.BinaryExpr):
        return _is_scalar(tree.lhs) and _is_scalar(tree.rhs)
    return isinstance(tree, promql.NumberLiteral) or (isinstance(tree, promql.Call) and tree.func.name == "time")


def _need(labels: frozenset[str], needed: list[str], where: str) -> None:
    missing = sorted(set(needed) - labels)
    if missing:
        message = f"{where} {', '.join(needed)}: there is no label {', '.join(missing)} among {sorted(labels)}"
        raise QueryError(message)
