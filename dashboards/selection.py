"""What the queries of several dashboards select, and the variables that select it."""

from panels import Builder, datasource_variable, label_variable, models

DATASETS = 'namespace=~"$namespace",dataset=~"$dataset"'
"""The matchers of the chosen datasets."""

BLOCKS = f'{DATASETS},block=~"$block"'
"""The matchers of the chosen blocks, and of the sum of those beyond the bound."""

DATASET = "namespace, dataset"
"""The labels that name a dataset."""

DATASET_LEGEND = "{{namespace}}/{{dataset}}"
PER_DAY = "86400"


def of_datasets(metric: str, *matchers: str, by: str = DATASET) -> str:
    """A gauge of the chosen datasets. While two extenders are scraped, it is the larger value."""
    return f"max by ({by}) ({metric}{{{','.join([DATASETS, *matchers])}}})"


def rate_of_datasets(metric: str, *matchers: str, by: str) -> str:
    """By how much a counter of the chosen datasets rises in a second."""
    return f"sum by ({by}) (rate({metric}{{{','.join([DATASETS, *matchers])}}}[$__rate_interval]))"


def or_zero(expr: str) -> str:
    """0 where there is nothing."""
    return f"{expr} or vector(0)"


def quantile(of: float, metric: str, by: str = "", matchers: str = DATASETS) -> str:
    """A quantile of a histogram, told apart by some labels."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({of}, sum by ({labels}) (rate({metric}_bucket{{{matchers}}}[$__rate_interval])))"


def variables(*, blocks: bool = False) -> list[Builder[models.VariableModel]]:
    """The variables of a dashboard."""
    chosen: list[Builder[models.VariableModel]] = [
        datasource_variable(),
        label_variable("namespace", "Namespace", "The namespace of the datasets.", "privatekube_dataset_info"),
        label_variable(
            "dataset", "Dataset", "The datasets that are shown.", 'privatekube_dataset_info{namespace=~"$namespace"}'
        ),
    ]
    if blocks:
        chosen.append(
            label_variable(
                "block",
                "Block",
                "The blocks that are shown one by one; _other is the sum of those beyond --metrics-most-blocks.",
                f"privatekube_block_epsilon{{{DATASETS}}}",
            )
        )
    return chosen
