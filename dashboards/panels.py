"""The kinds of panels and the frame that all dashboards share, made with Grafana's foundation SDK.

A function makes each kind of panel, so that panels of a kind look alike, and none lacks a description, a unit or the
variable for the data source. The SDK's builders of version 1 of the dashboards' format are used, although it prefers
version 2: that one can't be read by Grafana before version 12, nor be provisioned from files by the sidecar.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

REPOSITORY = "https://github.com/privatekube/privatekube"
"""Where pages are linked to. It is the repository of Cargo.toml."""

MAY_BE_EMPTY = "Empty when all is well."
"""How the description of a panel ends which has no data in a healthy system."""

EPSILON = "suffix: ε"
DELTA = "suffix: δ"
COLORS = {"consumed": "#5b5bd6", "allocated": "#d9912b", "available": "#2f9e78", "locked": "#8e919c"}
"""The states of a budget, in the colors of the status page."""

_DATASOURCE = common_models.DataSourceRef(type_val="prometheus", uid="${datasource}")

Steps: TypeAlias = Sequence[tuple[float | None, str]]
"""Thresholds: each color, and the value from which on it counts. The first one has none."""

CALM: Steps = [(None, "text")]
ANY_IS_BAD: Steps = [(None, "green"), (1, "red")]
ANY_IS_A_WARNING: Steps = [(None, "green"), (1, "orange")]
NEARLY_SPENT: Steps = [(None, "green"), (0.75, "orange"), (0.9, "red")]
NEARLY_NOTHING_LEFT: Steps = [(None, "red"), (0.1, "orange"), (0.25, "green")]


def _days(number: float) -> float:
    return number * 86_400


SOON_EXHAUSTED: Steps = [(None, "red"), (_days(7), "orange"), (_days(30), "green")]
"""A week is too short to bring in new data, a month is the time to plan it."""


T = TypeVar("T")


class Panel(Protocol):
    """What the builders of all kinds of panels have in common."""

    def id(self, id_val: int) -> Builder[models.Panel]:
        """Numbers the panel."""
        ...


@dataclass(frozen=True)
class Query:
    """A PromQL expression, and the legend of its series."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table: a label, or the value of a query by its letter."""

    field: str
    title: str
    unit: str = ""
    steps: Steps | None = None
    gauge: bool = False
    link: str = ""
    width: int = 0


@dataclass(frozen=True)
class Section:
    """A row of a dashboard with its panels, which fill the width from left to right."""

    title: str
    panels: Sequence[Panel]


def stat_panel(
    title: str,
    description: str,
    unit: str,
    expr: str,
    *,
    steps: Steps = CALM,
    width: int = 3,
    none: str = "",
    names: str = "",
    runbook: str = "",
) -> stat.Panel:
    """One number now. `none` is shown if there is none, and `names` is a label that is shown in place of the number."""
    reduce = common.ReduceDataOptions().calcs(["lastNotNull"])
    panel = (
        stat.Panel()
        .title(title)
        .description(_describe(description, empty=bool(none)))
        .links(_runbook(runbook))
        .datasource(_DATASOURCE)
        .height(4)
        .span(width)
        .unit(unit)
        .thresholds(_thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .graph_mode(common_models.BigValueGraphMode.NONE)
        .color_mode(common_models.BigValueColorMode.VALUE)
        .justify_mode(common_models.BigValueJustifyMode.AUTO)
        .orientation(common_models.VizOrientation.AUTO)
        .text_mode(common_models.BigValueTextMode.NAME if names else common_models.BigValueTextMode.VALUE)
        .reduce_options(reduce)
        .with_target(_instant(Query(expr, f"{{{{{names}}}}}" if names else ""), "A"))
    )
    return panel.no_value(none) if none else panel


def lines(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: int = 12,
    height: int = 8,
    empty: bool = False,
    stacked: bool = False,
    bars: bool = False,
    steps: Steps | None = None,
    largest: float | None = None,
    logarithmic: bool = False,
    colors: dict[str, str] | None = None,
    runbook: str = "",
) -> timeseries.Panel:
    """Series over time. With `steps`, thresholds are drawn as lines."""
    logarithm = common.ScaleDistributionConfig().type(common_models.ScaleDistribution.LOG).log(10)
    panel = (
        timeseries.Panel()
        .title(title)
        .description(_describe(description, empty=empty))
        .links(_runbook(runbook))
        .datasource(_DATASOURCE)
        .height(height)
        .span(width)
        .unit(unit)
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.PALETTE_CLASSIC))
        .line_width(1)
        .fill_opacity(60 if bars else 25 if stacked else 5)
        .show_points(common_models.VisibilityMode.NEVER if bars else common_models.VisibilityMode.AUTO)
        .draw_style(common_models.GraphDrawStyle.BARS if bars else common_models.GraphDrawStyle.LINE)
        .legend(_legend())
        .tooltip(_tooltip())
    )
    if logarithmic:
        panel.scale_distribution(logarithm)
    else:
        panel.min(0)
    if largest is not None:
        panel.max(largest)
    if stacked:
        panel.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL).group("A"))
    if steps is not None:
        dashed = common.GraphThresholdsStyleConfig().mode(common_models.GraphThresholdsStyleMode.DASHED)
        panel.thresholds(_thresholds(steps)).thresholds_style(dashed)
    for name, color in (colors or {}).items():
        panel.override_by_name(name, [_fixed_color(color)])
    for query, letter in zip(queries, _letters(), strict=False):
        panel.with_target(_range(query, letter))
    return panel


def bar_list(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    steps: Steps = CALM,
    width: int = 12,
    height: int = 8,
    empty: bool = False,
    largest: float | None = None,
) -> bargauge.Panel:
    """A horizontal bar for each series now."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(_describe(description, empty=empty))
        .datasource(_DATASOURCE)
        .height(height)
        .span(width)
        .unit(unit)
        .min(0)
        .thresholds(_thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .orientation(common_models.VizOrientation.HORIZONTAL)
        .display_mode(common_models.BarGaugeDisplayMode.BASIC)
        .value_mode(common_models.BarGaugeValueMode.COLOR)
        .name_placement(common_models.BarGaugeNamePlacement.LEFT)
        .show_unfilled(True)
        .sizing(common_models.BarGaugeSizing.MANUAL)
        .min_viz_height(16)
        .max_viz_height(32)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )
    if largest is not None:
        panel.max(largest)
    for query, letter in zip(queries, _letters(), strict=False):
        panel.with_target(_instant(query, letter))
    return panel


def stacked_bars(
    title: str,
    description: str,
    unit: str,
    name: str,
    parts: dict[str, str],
    sort: str,
    colors: dict[str, str],
    *,
    width: int = 12,
    height: int = 8,
) -> barchart.Panel:
    """A horizontal bar for each value of the label `name`, made of parts, each an expression; the largest first."""
    renamed = {f"Value #{letter}": part for part, letter in zip(parts, _letters(), strict=False)}
    panel = (
        barchart.Panel()
        .title(title)
        .description(_describe(description, empty=False))
        .datasource(_DATASOURCE)
        .height(height)
        .span(width)
        .unit(unit)
        .min(0)
        .max(1)
        .x_field(name)
        .orientation(common_models.VizOrientation.HORIZONTAL)
        .stacking(common_models.StackingMode.NORMAL)
        .show_value(common_models.VisibilityMode.NEVER)
        .bar_width(0.9)
        .group_width(0.9)
        .fill_opacity(90)
        .x_tick_label_max_length(32)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common_models.LegendDisplayMode.LIST)
            .placement(common_models.LegendPlacement.BOTTOM)
            .calcs([])
        )
        .tooltip(_tooltip())
        .with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
        .with_transformation(_organize(renamed, [name, *renamed]))
        .with_transformation(
            models.DataTransformerConfig(
                id_val="sortBy", options={"fields": {}, "sort": [{"field": sort, "desc": True}]}
            )
        )
    )
    for part, color in colors.items():
        panel.override_by_name(part, [_fixed_color(color)])
    for expr, letter in zip(parts.values(), _letters(), strict=False):
        panel.with_target(_rows(expr, letter))
    return panel


def table_panel(
    title: str,
    description: str,
    columns: Sequence[Column],
    *exprs: str,
    sort: str,
    ascending: bool = False,
    width: int = 24,
    height: int = 10,
    empty: bool = False,
    runbook: str = "",
) -> table.Panel:
    """A row for each set of labels now. The first expression's value is column A, the second one's B, and so on."""
    # Grafana calls the value of a single query Value.
    fields = [column.field for column in columns]
    if len(exprs) == 1:
        fields = ["Value" if field == "A" else field for field in fields]
    else:
        fields = [f"Value #{field}" if len(field) == 1 else field for field in fields]
    hidden = {
        letter: f"Value #{letter}" if len(exprs) > 1 else "Value"
        for _, letter in zip(exprs, _letters(), strict=False)
        if letter not in {column.field for column in columns}
    }
    panel = (
        table.Panel()
        .title(title)
        .description(_describe(description, empty=empty))
        .links(_runbook(runbook))
        .datasource(_DATASOURCE)
        .height(height)
        .span(width)
        .show_header(True)
        .cell_height(common_models.TableCellHeight.SM)
        .filterable(True)
        .sort_by([common.TableSortByFieldState().display_name(sort).desc(not ascending)])
    )
    if len(exprs) > 1:
        panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    renamed = {field: column.title for field, column in zip(fields, columns, strict=True)}
    panel.with_transformation(_organize(renamed, fields, list(hidden.values())))
    for column in columns:
        properties = _column(column)
        if properties:
            panel.override_by_name(column.title, properties)
    for expr, letter in zip(exprs, _letters(), strict=False):
        panel.with_target(_rows(expr, letter))
    return panel


def heat(title: str, description: str, unit: str, buckets: str, *, width: int = 12, height: int = 8) -> heatmap.Panel:
    """A histogram over time: how many observations each bucket got."""
    color = heatmap_models.HeatmapColorOptions(
        mode=heatmap_models.HeatmapColorMode.SCHEME,
        scheme="Oranges",
        fill="dark-orange",
        scale=heatmap_models.HeatmapColorScale.EXPONENTIAL,
        exponent=0.5,
        steps=64,
    )
    return (
        heatmap.Panel()
        .title(title)
        .description(_describe(description, empty=True))
        .datasource(_DATASOURCE)
        .height(height)
        .span(width)
        .unit("short")
        .calculate(False)
        .color(_Built(color))
        .y_axis(heatmap.YAxisConfig().unit(unit).axis_placement(common_models.AxisPlacement.LEFT))
        .cell_values(heatmap.CellValues().unit("short"))
        .rows_frame(heatmap.RowsHeatmapOptions().layout(common_models.HeatmapCellLayout.AUTO))
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .tooltip(heatmap.HeatmapTooltip().mode(common_models.TooltipDisplayMode.SINGLE).show_color_scale(True))
        .show_legend()
        .with_target(_range(Query(buckets, "{{le}}"), "A").format(PromQueryFormat.HEATMAP))
    )


def states(
    title: str,
    description: str,
    expr: str,
    legend: str,
    words: dict[str, tuple[str, str]],
    *,
    width: int = 12,
    height: int = 4,
    empty: bool = False,
    runbook: str = "",
) -> statetimeline.Panel:
    """When which state was. `words` has the word and the color for each value."""
    results = {
        value: models.ValueMappingResult(text=text, color=color, index=index)
        for index, (value, (text, color)) in enumerate(words.items())
    }
    return (
        statetimeline.Panel()
        .title(title)
        .description(_describe(description, empty=empty))
        .links(_runbook(runbook))
        .datasource(_DATASOURCE)
        .height(height)
        .span(width)
        .unit("none")
        .mappings([models.ValueMap(options=results)])
        .color_scheme(dashboard.FieldColor().mode(models.FieldColorModeId.THRESHOLDS))
        .thresholds(_thresholds(CALM))
        .show_value(common_models.VisibilityMode.AUTO)
        .merge_values(True)
        .row_height(0.8)
        .legend(_legend_hidden())
        .tooltip(_tooltip())
        .with_target(_range(Query(expr, legend), "A"))
    )


def build(
    uid: str,
    title: str,
    description: str,
    variables: Sequence[Builder[models.VariableModel]],
    sections: Sequence[Section],
    *,
    period: str,
    refresh: str,
    pages: dict[str, str],
) -> models.Dashboard:
    """A dashboard of rows, with links to the other dashboards and to pages of the repository (by their titles)."""
    result = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["privatekube"])
        .time(f"now-{period}", "now")
        .refresh(refresh)
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .editable()
        .variables(list(variables))
        .link(_to_dashboards())
    )
    for name, path in pages.items():
        result.link(_to_page(name, f"blob/main/{path}"))
    result.link(_to_page("Runbooks", "tree/main/docs/runbooks"))
    number = 0
    for section in sections:
        number += 1
        result.with_row(dashboard.Row(section.title).id(number))
        for panel in section.panels:
            number += 1
            result.with_panel(panel.id(number))
    return result.build()


def datasource_variable() -> dashboard.DatasourceVariable:
    """The Prometheus that is asked."""
    return (
        dashboard.DatasourceVariable("datasource")
        .label("Prometheus")
        .description("The Prometheus that scrapes the extender.")
        .type("prometheus")
    )


def label_variable(name: str, label: str, description: str, selector: str) -> dashboard.QueryVariable:
    """The values of a label of the series that a selector selects. All of them are chosen at first."""
    query = f"label_values({selector}, {name})"
    everything = models.VariableOption(selected=True, text=["All"], value=["$__all"])
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(_DATASOURCE)
        .query({"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery", "qryType": 1})
        .definition(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.NATURAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".*")
        .current(everything)
    )


class _Built(Builder[T], Generic[T]):
    """What is built already, for methods that take a builder."""

    def __init__(self, value: T) -> None:
        self._value = value

    def build(self) -> T:
        return self._value


def _describe(description: str, *, empty: bool) -> str:
    return f"{description} {MAY_BE_EMPTY}" if empty else description


def _letters() -> str:
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _range(query: Query, letter: str) -> prometheus.Dataquery:
    return _query(query, letter).range().format(PromQueryFormat.TIME_SERIES)


def _instant(query: Query, letter: str) -> prometheus.Dataquery:
    return _query(query, letter).instant().format(PromQueryFormat.TIME_SERIES)


def _rows(expr: str, letter: str) -> prometheus.Dataquery:
    return _query(Query(expr), letter).instant().format(PromQueryFormat.TABLE)


def _query(query: Query, letter: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(query.expr).legend_format(query.legend or "__auto").ref_id(letter)


def _thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    built = [models.Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(built)


def _fixed_color(color: str) -> models.DynamicConfigValue:
    return models.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": color})


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(common_models.LegendDisplayMode.TABLE)
        .placement(common_models.LegendPlacement.RIGHT)
        .calcs(["lastNotNull", "max"])
        .sort_by("Last *")
        .sort_desc(True)
    )


def _legend_hidden() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .show_legend(False)
        .display_mode(common_models.LegendDisplayMode.LIST)
        .placement(common_models.LegendPlacement.BOTTOM)
        .calcs([])
    )


def _tooltip() -> common.VizTooltipOptions:
    return (
        common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI).sort(common_models.SortOrder.DESCENDING)
    )


def _organize(
    renamed: dict[str, str], order: Sequence[str], hidden: Sequence[str] = ()
) -> models.DataTransformerConfig:
    return models.DataTransformerConfig(
        id_val="organize",
        options={
            "excludeByName": dict.fromkeys(["Time", *hidden], True),
            "indexByName": {field: index for index, field in enumerate(order)},
            "renameByName": renamed,
        },
    )


def _column(column: Column) -> list[models.DynamicConfigValue]:
    properties = []
    if column.unit:
        properties.append(models.DynamicConfigValue(id_val="unit", value=column.unit))
    if column.steps is not None:
        steps = [{"value": value, "color": color} for value, color in column.steps]
        properties.append(models.DynamicConfigValue(id_val="thresholds", value={"mode": "absolute", "steps": steps}))
        properties.append(models.DynamicConfigValue(id_val="color", value={"mode": "thresholds"}))
        cell: dict[str, object] = {"type": "color-text"}
        if column.gauge:
            cell = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"}
            properties.append(models.DynamicConfigValue(id_val="min", value=0))
            properties.append(models.DynamicConfigValue(id_val="max", value=1))
        properties.append(models.DynamicConfigValue(id_val="custom.cellOptions", value=cell))
    if column.link:
        link = {"title": "Show this one", "url": column.link}
        properties.append(models.DynamicConfigValue(id_val="links", value=[link]))
    if column.width:
        properties.append(models.DynamicConfigValue(id_val="custom.width", value=column.width))
    return properties


class _Link(dashboard.DashboardLink):
    """A link above the panels. The SDK hides each in a menu."""

    def build(self) -> models.DashboardLink:
        """The link, without the place that the SDK gives it."""
        link = super().build()
        vars(link)["placement"] = None
        return link


def _runbook(name: str) -> list[Builder[models.DashboardLink]]:
    """The link of a panel to what to do when it shows trouble, if there is a runbook."""
    return [_to_page("Runbook", f"blob/main/docs/runbooks/{name}.md")] if name else []


def _to_dashboards() -> dashboard.DashboardLink:
    return (
        _Link("PrivateKube")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tooltip("The other dashboards, with the same variables and time")
        .icon("external link")
        .tags(["privatekube"])
        .as_dropdown(False)
        .include_vars(True)
        .keep_time(True)
        .target_blank(False)
    )


def _to_page(title: str, path: str) -> dashboard.DashboardLink:
    return (
        _Link(title)
        .type(models.DashboardLinkType.LINK)
        .tooltip("A page of PrivateKube's documentation")
        .icon("doc")
        .url(f"{REPOSITORY}/{path}")
        .as_dropdown(False)
        .include_vars(False)
        .keep_time(False)
        .target_blank(True)
    )
