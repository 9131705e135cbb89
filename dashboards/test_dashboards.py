"""Checks of the dashboards that are written: `make drift` runs them."""

import json
import re
import subprocess
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog import plugins

from generate import text
from panels import MAY_BE_EMPTY, REPOSITORY, models
from query_labels import TARGET, Metric, QueryError, documented, result_labels, series

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent
WIDTH = 24
MIB = 1 << 20

DATASET = {"namespace": "", "dataset": ""}
RECORDED = {
    "privatekube:dataset_burn_epsilon:rate6h": Metric("gauge", DATASET),
    "privatekube:dataset_exhaustion_seconds": Metric("gauge", DATASET),
}
"""The recording rules of monitoring/ that queries use, with the labels of their results."""

Json = dict[str, Any]


def dashboards() -> dict[str, Json]:
    """Each dashboard by the name of its file."""
    return {path.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def panels() -> Iterator[tuple[str, Json]]:
    """All panels but the rows' titles, each with its name."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            if panel["type"] != "row":
                yield f"{name}: {panel['title']}", panel


def queries() -> Iterator[tuple[str, Json, str]]:
    """All queries of panels, each with the panel's name and the panel."""
    for name, panel in panels():
        for target in panel["targets"]:
            yield name, panel, target["expr"]


class Names(unittest.TestCase):
    """Metrics, labels and values that queries name exist."""

    def setUp(self) -> None:
        """Reads what exists."""
        self.known = series({**documented(ROOT / "docs/metrics.md"), **RECORDED})

    def labels(self, query: str) -> frozenset[str]:
        """The labels of a query's result."""
        try:
            return result_labels(query, self.known)
        except QueryError as error:
            self.fail(f"{query}: {error}")

    def test_the_page_of_the_metrics_is_read(self) -> None:
        """Else there would be nothing to compare with."""
        self.assertGreater(len(self.known), 60)
        self.assertIn("privatekube_block_epsilon", self.known)
        self.assertIn("le", self.known["privatekube_claim_wait_duration_seconds_bucket"])

    def test_recording_rules_are_recorded(self) -> None:
        """A rule that is renamed leaves no panel empty."""
        files = sorted((ROOT / "monitoring").rglob("*.yaml"))
        recorded = {name for file in files for name in re.findall(r"record: (\S+)", file.read_text(encoding="utf-8"))}
        self.assertLessEqual(RECORDED.keys(), recorded)

    def test_queries(self) -> None:
        """A query names what exists, and says which labels it keeps: it works however the extender is scraped."""
        for name, _, query in queries():
            with self.subTest(name):
                self.assertLessEqual(self.labels(query) & TARGET, {"instance"}, query)

    def test_wrong_queries_are_found(self) -> None:
        """Each mistake is told."""
        for query in [
            "sum(privatekube_claims",
            "privatekube_claim",
            "privatekube_claim_wait_duration_seconds",
            'privatekube_claims{claimant="ml"}',
            'privatekube_claims{phase=~"Waiting|Grantd"}',
            "sum by (claimant) (privatekube_claims)",
            "sum by (phase) (sum by (dataset) (privatekube_claims))",
            "privatekube_claims / privatekube_blocks",
            "privatekube_claims / on (phase) privatekube_blocks",
            "histogram_quantile(0.9, sum by (dataset) (rate(privatekube_claim_wait_duration_seconds_bucket[5m])))",
        ]:
            with self.subTest(query), self.assertRaises(QueryError):
                result_labels(query, self.known)

    def test_legends(self) -> None:
        """A legend uses labels of the query's result, and tells its series apart."""
        for name, panel in panels():
            for target in panel["targets"]:
                labels = self.labels(target["expr"])
                shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                with self.subTest(name):
                    self.assertLessEqual(shown, labels)
                    if target["format"] != "table":
                        self.assertEqual(shown, labels, "a legend is the same for several series")

    def test_columns(self) -> None:
        """A table shows every label that tells its rows apart, and every value, and nothing else."""
        for name, panel in panels():
            if panel["type"] not in {"table", "barchart"}:
                continue
            several = len(panel["targets"]) > 1
            there = {"Time"} | {f"Value #{target['refId']}" if several else "Value" for target in panel["targets"]}
            for target in panel["targets"]:
                there |= self.labels(target["expr"])
            options = next(step["options"] for step in panel["transformations"] if step["id"] == "organize")
            with self.subTest(name):
                self.assertEqual(
                    options["renameByName"].keys() | options["excludeByName"].keys() | {"name"}, there | {"name"}
                )
                titles = list(options["renameByName"].values())
                self.assertEqual(len(titles), len(set(titles)))
                for override in panel["fieldConfig"]["overrides"]:
                    self.assertIn(override["matcher"]["options"], titles)

    def test_variables(self) -> None:
        """A variable's values are those of a label that exists."""
        for name, dashboard in dashboards().items():
            for variable in dashboard["templating"]["list"]:
                if variable["type"] == "query":
                    with self.subTest(f"{name}: {variable['name']}"):
                        asked = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["definition"])
                        assert asked
                        self.assertEqual(asked[2], variable["name"])
                        self.assertIn(asked[2], self.labels(asked[1]))

    def test_no_metric_is_forgotten(self) -> None:
        """Every documented metric is on a dashboard, or left out for a reason."""
        left_out = {
            "process_virtual_memory_bytes": "what is reserved says nothing about what is used",
        }
        text = " ".join(query for _, _, query in queries())
        shown = set(re.findall(r"\b(?:privatekube|process)\w+\b", text))
        for metric in documented(ROOT / "docs/metrics.md"):
            with self.subTest(metric):
                self.assertEqual(any(name.startswith(metric) for name in shown), metric not in left_out)


class Panels(unittest.TestCase):
    """Panels can be read without this folder."""

    def test_descriptions(self) -> None:
        """A panel says what it shows in whole sentences, and what to do about it."""
        for name, panel in panels():
            with self.subTest(name):
                self.assertRegex(panel["description"], r"^[A-Z`].{39,}\.$")

    def test_the_sentence_about_empty_panels(self) -> None:
        """Where it is, it is the last one."""
        for name, panel in panels():
            with self.subTest(name):
                self.assertNotIn("mpty when", panel["description"].removesuffix(MAY_BE_EMPTY))

    def test_units(self) -> None:
        """A number has a unit: the panel's, or that of its column."""
        for name, panel in panels():
            with self.subTest(name):
                if panel["type"] != "table":
                    self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                    continue
                renamed = panel["transformations"][-1]["options"]["renameByName"]
                units = {
                    override["matcher"]["options"]
                    for override in panel["fieldConfig"]["overrides"]
                    if any(value["id"] == "unit" for value in override["properties"])
                }
                self.assertEqual({title for field, title in renamed.items() if field.startswith("Value")}, units)

    def test_data_sources(self) -> None:
        """Everything is asked of the chosen Prometheus."""
        for name, panel in panels():
            with self.subTest(name):
                self.assertEqual(panel["datasource"], {"type": "prometheus", "uid": "${datasource}"})
        for name, dashboard in dashboards().items():
            with self.subTest(name):
                variables = dashboard["templating"]["list"]
                self.assertEqual((variables[0]["name"], variables[0]["type"]), ("datasource", "datasource"))
                used = set(re.findall(r"\$(namespace|dataset|block)\b", json.dumps(dashboard["panels"])))
                self.assertEqual(used, {variable["name"] for variable in variables[1:]})
                for variable in variables[1:]:
                    self.assertTrue(variable["multi"] and variable["includeAll"])
                    self.assertEqual(variable["datasource"]["uid"], "${datasource}")

    def test_variables_are_compared_as_patterns(self) -> None:
        """Several values are one pattern."""
        for name, _, query in queries():
            with self.subTest(name):
                self.assertEqual(re.findall(r'(?<!=~")\$(?!__)', query), [])

    def test_no_panel_covers_another(self) -> None:
        """Each cell of the grid has one panel, and a row of panels fills its width."""
        for name, dashboard in dashboards().items():
            with self.subTest(name):
                taken: dict[tuple[int, int], str] = {}
                for panel in dashboard["panels"]:
                    place = panel["gridPos"]
                    self.assertLessEqual(place["x"] + place["w"], WIDTH)
                    for x in range(place["x"], place["x"] + place["w"]):
                        for y in range(place["y"], place["y"] + place["h"]):
                            self.assertNotIn((x, y), taken, panel["title"])
                            taken[x, y] = panel["title"]
                height = 1 + max(y for _, y in taken)
                gaps = [(x, y) for y in range(height) for x in range(WIDTH) if (x, y) not in taken]
                self.assertEqual(gaps, [])


class Files(unittest.TestCase):
    """The files are what Grafana and its sidecar read."""

    def test_identities(self) -> None:
        """Dashboards are told apart by what stays the same."""
        self.assertEqual(
            {name: dashboard["uid"] for name, dashboard in dashboards().items()},
            {
                "privatekube-budget.json": "privatekube-budget",
                "privatekube-machinery.json": "privatekube-machinery",
                "privatekube-queue-and-fairness.json": "privatekube-queue",
            },
        )
        for name, dashboard in dashboards().items():
            with self.subTest(name):
                self.assertEqual(dashboard["tags"], ["privatekube"])
                numbers = [panel["id"] for panel in dashboard["panels"]]
                self.assertEqual(numbers, list(range(1, len(numbers) + 1)))

    def test_size(self) -> None:
        """Each fits into a ConfigMap, and into the annotation of `kubectl apply` without --server-side."""
        for path in FOLDER.glob("*.json"):
            self.assertLess(path.stat().st_size, MIB // 4)

    def test_config_maps(self) -> None:
        """Each is in a ConfigMap."""
        listed = re.findall(r"- (\S+\.json)", (FOLDER / "kustomization.yaml").read_text(encoding="utf-8"))
        self.assertEqual(sorted(listed), sorted(dashboards()))

    def test_links(self) -> None:
        """The other dashboards are found by their tag, and pages of the repository exist."""
        cargo = (ROOT / "Cargo.toml").read_text(encoding="utf-8")
        self.assertIn(f'repository = "{REPOSITORY}"', cargo)
        for name, dashboard in dashboards().items():
            panel_links = [link for panel in dashboard["panels"] for link in panel.get("links", [])]
            for link in dashboard["links"] + panel_links:
                with self.subTest(f"{name}: {link['title']}"):
                    self.assertNotIn("placement", link)
                    if link["type"] == "dashboards":
                        self.assertEqual(link["tags"], ["privatekube"])
                        self.assertTrue(link["includeVars"] and link["keepTime"])
                        continue
                    page = re.fullmatch(REPOSITORY + "/(?:blob|tree)/main/(.*)", link["url"])
                    assert page
                    if (ROOT / "docs/runbooks").exists() or not page[1].startswith("docs/runbooks"):
                        self.assertTrue((ROOT / page[1]).exists(), page[1])

    def test_the_sdk_reads_back_what_it_wrote(self) -> None:
        """Nothing is of a shape that the types of Grafana's schema don't have."""
        plugins.register_default_plugins()
        for name, dashboard in dashboards().items():
            with self.subTest(name):
                read = models.Dashboard.from_json(dashboard)
                again = json.loads(text(read))
                for link in again["links"]:
                    # The SDK puts every link into a menu.
                    del link["placement"]
                self.assertEqual(again, dashboard)

    def test_they_are_up_to_date(self) -> None:
        """`make generate` was run."""
        done = subprocess.run([sys.executable, "-B", FOLDER / "generate.py", "--check"], check=False)
        self.assertEqual(done.returncode, 0)


if __name__ == "__main__":
    unittest.main()
