"""Against a real API server, a real scheduler and the extender. `make python` starts the cluster that these run in."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

import matplotlib as mpl
import nbclient
import nbformat
import pandas as pd
import privatekube
import pytest
import yaml
from privatekube import (
    ClaimDenied,
    ClaimExpired,
    ClaimRefused,
    ClaimWithdrawn,
    Cluster,
    ClusterForbidden,
    Guarantee,
    Mechanism,
)

pytestmark = pytest.mark.cluster

mpl.use("agg")
REPOSITORY = Path(__file__).parents[2]
PATIENCE = 60
ORDERS = [5, 6, 8, 16]
DATASETS = """
apiVersion: v1
kind: Namespace
metadata: {name: data}
---
apiVersion: privatekube.dev/v1alpha1
kind: PrivateDataset
metadata: {name: taxi, namespace: data}
spec:
  policy: DPF
  unlocking: {immediate: true}
  composition: Renyi
  orders: [5, 6, 8, 16]
  guarantee: {epsilon: 10, delta: "1e-7"}
---
apiVersion: privatekube.dev/v1alpha1
kind: PrivateDataset
metadata: {name: slow, namespace: data}
spec:
  policy: DPF
  unlocking: {arrivals: 1000}
  composition: Basic
  guarantee: {epsilon: 10, delta: "1e-7"}
---
apiVersion: privatekube.dev/v1alpha1
kind: PrivateDataBlock
metadata: {name: slow-1, namespace: data}
spec: {dataset: slow, dataSource: "s3://lake/slow", dimensions: {day: 1}}
"""


def kubectl(*arguments, text=None):
    done = subprocess.run(["kubectl", *arguments], input=text, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def until(condition, what):
    deadline = time.monotonic() + PATIENCE
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"after {PATIENCE} s: {what}"
        # A poll of a condition, as `kubectl wait` polls.
        threading.Event().wait(0.05)


@pytest.fixture(scope="module")
def cluster():
    assert os.environ.get("KUBECONFIG"), "run this by make python, which starts a cluster"
    made = Cluster(namespace="data")
    frame = pd.DataFrame(
        {
            "pickup": [datetime(2026, 11, day, 12, tzinfo=timezone.utc) for day in (19, 19, 20, 21)],
            "city": ["nyc", "nyc", "nyc", "sf"],
        }
    )
    manifests = privatekube.blocks_from_frame(
        frame, time="pickup", by=["city"], dataset="taxi", data_source="s3://lake/taxi/{day}/{city}", namespace="data"
    )
    assert [manifest.records for manifest in manifests] == [2, 1, 1]
    kubectl("apply", "-f", "-", text=DATASETS)
    kubectl("apply", "-f", "-", text=privatekube.to_yaml(manifests))
    kubectl("wait", "--for=condition=Ready", "pb", "--all", "-n", "data", f"--timeout={PATIENCE}s")
    yield made
    made.close()


def claim(cluster, **more):
    asked = {"dataset": "taxi", "mechanism": "gaussian(sigma=20)", "max_blocks": 2, "progress": False, **more}
    return privatekube.claim(cluster=cluster, **asked)


def names(cluster):
    return {each.name for each in privatekube.claims(cluster=cluster)}


def block(cluster, name):
    return next(each for each in privatekube.blocks(cluster=cluster) if each.name == name)


def in_ledger(cluster, name, dataset="taxi"):
    """The block's budget after the last entry. Statuses are copies that come later."""
    entries = privatekube.ledger(dataset, cluster=cluster)
    return [budget for entry in entries for budget in entry.blocks if budget.block == name][-1]


def settled(cluster, name, allocated):
    """The block's budget, once so much is allocated on it at order 5."""
    return until(
        lambda: (found := in_ledger(cluster, name)).allocated[5] == allocated and found,  # pyright: ignore[reportIndexIssue]
        f"{allocated} is allocated on {name}",
    )


def test_a_claim_is_granted_and_consumed(cluster):
    before = in_ledger(cluster, "taxi-2026-11-21-sf").consumed
    with claim(cluster, name="weekly") as grant:
        assert grant.dataset == "data/taxi"
        assert set(grant.data_sources) == {"s3://lake/taxi/2026-11-21/sf", "s3://lake/taxi/2026-11-20/nyc"}
        (newest,) = [each for each in grant.blocks if each.name == "taxi-2026-11-21-sf"]
        assert newest.dimensions == {"startTime": 20778, "endTime": 20779, "city": "sf"}
        grant.consume()
        assert grant.status.phase == "Consumed"
    (shown,) = [each for each in privatekube.claims("taxi", cluster=cluster) if each.name == "weekly"]
    assert (shown.status.phase, shown.budget) == ("Consumed", "gaussian(sigma=20)")
    assert shown.arrived_at is not None
    found = settled(cluster, "taxi-2026-11-21-sf", 0)
    # What the cluster charged is what the package says.
    assert found.consumed == before + Mechanism.gaussian(20).curve(ORDERS)  # pyright: ignore[reportOperatorIssue]


def test_what_was_not_looked_at_is_released_and_nothing_is_left(cluster):
    before = in_ledger(cluster, "taxi-2026-11-20-nyc").consumed
    with claim(cluster, name="unused") as grant:
        assert grant.block_count == 2
        settled(cluster, "taxi-2026-11-20-nyc", Mechanism.gaussian(20).curve([5])[5])
    assert settled(cluster, "taxi-2026-11-20-nyc", 0).consumed == before
    assert "unused" not in names(cluster)


def test_what_was_handed_out_is_consumed_after_an_error(cluster):
    with pytest.raises(ZeroDivisionError), claim(cluster, name="broken") as grant:
        _ = grant.data_sources
        1 / 0
    (shown,) = [each for each in privatekube.claims(cluster=cluster) if each.name == "broken"]
    assert shown.status.phase == "Consumed"


def test_a_statement_that_nothing_was_used_releases(cluster):
    with claim(cluster, name="stated") as grant:
        _ = grant.data_sources
        grant.release(unused=True)
        assert grant.status.phase == "Released"
    assert "stated" not in names(cluster)


def test_parts_are_consumed_and_released(cluster):
    part = Mechanism.gaussian(40).curve(ORDERS)
    with claim(
        cluster, name="parts", mechanism="gaussian(sigma=10)", blocks="block.city == 'sf'", max_blocks=1
    ) as grant:
        (found,) = grant.blocks
        before = in_ledger(cluster, found.name).consumed
        grant.consume({found.name: part})
        grant.consume({found.name: part})
        grant.release({found.name: part}, unused=True)
        assert grant.status.phase == "Granted"
        assert in_ledger(cluster, found.name).consumed == before + part + part  # pyright: ignore[reportOperatorIssue]
        grant.release(unused=True)
    assert settled(cluster, found.name, 0).consumed == before + part + part  # pyright: ignore[reportOperatorIssue]


def test_more_than_is_left_is_not_consumed(cluster, monkeypatch):
    monkeypatch.setattr("privatekube._claim_grant.SETTLE_SECONDS", 2.0)
    with claim(cluster, name="greedy", max_blocks=1) as grant:
        (found,) = grant.blocks
        with pytest.raises(privatekube.PrivateKubeError):
            grant.consume({found.name: Mechanism.gaussian(1).curve(ORDERS)})
        grant.release(unused=True)
    assert settled(cluster, found.name, 0)


def test_a_basic_dataset_takes_epsilon_and_delta(cluster):
    with claim(cluster, dataset="data/slow", mechanism=None, epsilon="0.001", delta=0, name="basic") as grant:
        grant.consume()
    assert in_ledger(cluster, "slow-1", "slow").consumed == Guarantee.of("0.001", 0)


def test_a_denial_says_why_and_leaves_nothing(cluster):
    with pytest.raises(ClaimDenied) as caught, claim(cluster, name="huge", mechanism="gaussian(sigma=0.1)"):
        pass
    assert caught.value.reason == "TooLarge"
    assert "taxi-2026-11-2" in caught.value.message
    assert "huge" not in names(cluster)


def test_an_expiry_says_so_and_leaves_nothing(cluster):
    told = []
    asked = {"dataset": "slow", "mechanism": None, "epsilon": 9, "delta": 0, "timeout": "1s", "name": "late"}
    with (
        pytest.raises(ClaimExpired),
        claim(cluster, **asked, progress=lambda name, status: told.append((status.reason, status.message))),
    ):
        pass
    assert any(reason == "TooLittleUnlocked" and "slow-1" in message for reason, message in told)
    assert "late" not in names(cluster)


@pytest.mark.parametrize(
    ("asked", "field", "words"),
    [
        ({"dataset": "taxis"}, "spec.dataset", "taxi"),
        ({"blocks": "block.town == 'nyc'"}, "spec.selector", "town"),
        ({"timeout": "1y"}, "spec.timeout", "1y"),
        ({"max_blocks": 0}, "spec.blocks.max", "1"),
        ({"dataset": "slow"}, "spec.budget", "gaussian"),
        ({"mechanism": "dp-sgd(noise-multiplier=1,sample-rate=0.1,steps=10)"}, "spec.budget.mechanism", "blocks"),
    ],
)
def test_refusals_name_the_field(cluster, asked, field, words):
    with pytest.raises(ClaimRefused) as caught, claim(cluster, name="wrong", **asked):
        pass
    assert caught.value.field is not None, caught.value
    assert caught.value.field.startswith(field)
    assert words in caught.value.message
    assert "wrong" not in names(cluster)


def test_a_claim_that_somebody_deletes_is_said_to_be_deleted(cluster):
    def delete(name, status):
        if status.reason == "TooLittleUnlocked":
            kubectl("delete", "pbc", "deleted", "-n", "data")

    asked = {"dataset": "slow", "mechanism": None, "epsilon": 9, "delta": 0, "name": "deleted"}
    with pytest.raises(ClaimWithdrawn), claim(cluster, **asked, progress=delete):
        pass


def test_ctrl_c_withdraws_a_waiting_claim(cluster):
    program = """
import privatekube
with privatekube.claim(dataset="data/slow", epsilon=9, delta=0, max_blocks=1, name="interrupted", namespace="data"):
    raise SystemExit("it was granted")
"""
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if "TooLittleUnlocked" in line:
                break
        assert "interrupted" in names(cluster)
        running.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in running.stderr.read()
        assert running.wait(PATIENCE) != 0
    assert "interrupted" not in names(cluster)


def shut(*sockets):
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Passes bytes on to the API server, until its connections are cut."""

    def __init__(self, host, port):
        self.target = (host, port)
        self.sockets = []
        self.threads = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self._start(self._accept)

    def _start(self, what, *arguments):
        self.threads.append(threading.Thread(target=what, args=arguments))
        self.threads[-1].start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.create_connection(self.target)
                self.sockets += [near, far]
                self._start(self._copy, near, far)
                self._start(self._copy, far, near)

    @staticmethod
    def _copy(one, other):
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
        shut(one, other)

    def cut(self):
        shut(*self.sockets)
        return len(self.sockets)

    def close(self):
        shut(self.listener)
        self.cut()
        for thread in self.threads:
            thread.join()
        for each in (self.listener, *self.sockets):
            each.close()


@pytest.fixture
def proxy(tmp_path):
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    server = config["clusters"][0]["cluster"]["server"]
    host, _, port = server.removeprefix("https://").rpartition(":")
    made = Proxy(host, int(port))
    config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{made.port}"
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(config))
    made.kubeconfig = file  # pyright: ignore[reportAttributeAccessIssue]
    yield made
    made.close()


def test_a_connection_that_is_cut_while_it_waits_is_made_again(cluster, proxy):
    there = Cluster(kubeconfig=proxy.kubeconfig, namespace="data")
    cuts = []

    def cut(name, status):
        if status.reason == "TooLittleUnlocked" and not cuts:
            cuts.append(proxy.cut())
            kubectl("delete", "pbc", "cut", "-n", "data")

    asked = {"dataset": "slow", "mechanism": None, "epsilon": 9, "delta": 0, "name": "cut"}
    # Only a new connection can tell that the claim is gone.
    with pytest.raises(ClaimWithdrawn), claim(there, **asked, progress=cut):
        pass
    assert cuts
    assert cuts[0] > 0
    there.close()


def test_missing_rights_are_said(cluster, tmp_path):
    """A token that nobody knows, or a user without rights."""
    kubectl("create", "serviceaccount", "nobody", "-n", "data")
    token = kubectl("create", "token", "nobody", "-n", "data").strip()
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    config["users"][0]["user"] = {"token": token}
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(config))
    poor = Cluster(kubeconfig=file, namespace="data")
    with pytest.raises(ClusterForbidden, match="cannot create resource"), claim(poor):
        pass
    with pytest.raises(ClusterForbidden, match="cannot list resource"):
        privatekube.blocks(cluster=poor)
    poor.close()


def test_the_ledger_has_the_budgets_that_blocks_show(cluster):
    entries = privatekube.ledger("taxi", cluster=cluster)
    last = {budget.block: budget for entry in entries for budget in entry.blocks}

    def is_shown(name):
        found, budget = block(cluster, name), last[name]
        amounts = (found.total, found.locked, found.available, found.allocated, found.consumed)
        return amounts == (budget.total, budget.locked, budget.available, budget.allocated, budget.consumed) and found

    for name in last:
        shown = until(lambda name=name: is_shown(name), f"the status of {name} is that of the ledger")
        assert shown.is_ready
        assert shown.order in ORDERS
    assert any("granted claim/data/weekly/" in decision for entry in entries for decision in entry.decisions)
    assert privatekube.ledger("nothing", cluster=cluster) == []
    table = privatekube.to_pandas(entries)
    row = table[(table["block"] == "taxi-2026-11-21-sf") & (table["order"] == Decimal(5))].iloc[-1]
    assert row["consumed"] == last["taxi-2026-11-21-sf"].consumed[5]  # pyright: ignore[reportIndexIssue]
    shown = privatekube.to_pandas(privatekube.claims(cluster=cluster))
    assert set(shown[shown["phase"] == "Consumed"]["claim"]) >= {"weekly", "broken", "basic"}
    basic = privatekube.to_pandas(privatekube.ledger("slow", cluster=cluster))
    assert basic[basic["block"] == "slow-1"].iloc[-1]["total_delta"] == Decimal("1e-7")
    table = privatekube.to_pandas(privatekube.blocks(cluster=cluster))
    assert set(table["dimension.city"].dropna()) == {"nyc", "sf"}


def test_a_pod_is_granted_what_the_package_reads(cluster):
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "mean-fare",
            "namespace": "data",
            "annotations": {
                "privatekube.dev/dataset": "taxi",
                "privatekube.dev/mechanism": "gaussian(sigma=20)",
                "privatekube.dev/max-blocks": "1",
            },
        },
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "python:3.13-slim"}]},
    }
    kubectl("apply", "-f", "-", text=json.dumps(pod))
    annotations = "jsonpath={.metadata.annotations.privatekube\\.dev/grant-variable}"
    text = until(lambda: kubectl("get", "pod", "mean-fare", "-n", "data", "-o", annotations), "the pod has its grant")
    (found,) = privatekube.grant(environment={"PRIVATEKUBE_GRANT": text}).claims
    assert found.data_sources == ("s3://lake/taxi/2026-11-21/sf",)
    assert found.requested == Mechanism.gaussian(20)
    assert found.budgets[0].amount == Mechanism.gaussian(20).curve(ORDERS)


def test_a_program_in_a_pod_reads_its_grant(cluster):
    """The fake kubelet runs the command of a pod as a process here, with the pod's variables and files."""
    program = """
import os, privatekube
by_variable = privatekube.grant()
by_file = privatekube.grant(environment={}, file=os.environ["FAKE_KUBELET_ROOT"] + "/var/run/privatekube/grant.json")
assert by_variable == by_file
print(*by_variable.data_sources)
"""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "reader",
            "namespace": "data",
            "annotations": {
                "privatekube.dev/dataset": "taxi",
                "privatekube.dev/mechanism": "gaussian(sigma=20)",
                "privatekube.dev/max-blocks": "2",
                "fake-kubelet.privatekube.dev/run": "true",
            },
        },
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "python", "command": [sys.executable, "-c", program]}],
        },
    }
    kubectl("apply", "-f", "-", text=json.dumps(pod))
    phase = until(
        lambda: (
            (found := kubectl("get", "pod", "reader", "-n", "data", "-o", "jsonpath={.status.phase}"))
            in ("Succeeded", "Failed")
            and found
        ),
        "the program ends",
    )
    printed = kubectl("logs", "reader", "-n", "data")
    assert phase == "Succeeded", printed
    assert set(printed.split()) == {"s3://lake/taxi/2026-11-21/sf", "s3://lake/taxi/2026-11-20/nyc"}


def test_the_examples_of_the_page_run(cluster, monkeypatch, tmp_path, capsys):
    page = (REPOSITORY / "docs" / "python.md").read_text()
    examples = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(examples) == 3
    monkeypatch.chdir(tmp_path)
    kubectl(
        "apply",
        "-f",
        "-",
        text=privatekube.to_yaml(
            [
                privatekube.BlockManifest(
                    "taxi-2026-11-21", "taxi", "s3://x", {"startTime": 20778, "endTime": 20779}, namespace="data"
                )
            ]
        ),
    )
    names = {}
    for example in examples:
        exec(compile(example, "docs/python.md", "exec"), names)  # noqa: S102 - it is our own page
    assert (tmp_path / "taxi-2026-11-21.png").stat().st_size > 1000
    assert "name: taxi-2026-11-22-nyc" in capsys.readouterr().out


def test_users_are_counted_with_noise_and_their_blocks_come(cluster, tmp_path):
    example = REPOSITORY / "examples" / "user-level"
    kubectl("apply", "-f", str(example / "00-dataset.yaml"))
    until(lambda: len(privatekube.blocks(namespace="shop", cluster=cluster)) == 2, "two buckets are full")
    state = tmp_path / "users.json"

    def count(new_users, label):
        script = [sys.executable, str(example / "03-count.py"), str(state), str(new_users), label]
        done = subprocess.run(script, capture_output=True, text=True, check=True, timeout=120)
        return int(re.search(r"at least (\d+) users", done.stdout)[1])  # pyright: ignore[reportOptionalSubscript]

    first = count(8000, "2026-11-30")
    assert 4000 < first < 10_250
    assert count(8000, "2026-11-30") == first
    until(
        lambda: len(privatekube.blocks(namespace="shop", cluster=cluster)) == first // 1000,
        "blocks of full buckets come",
    )
    # A block that was made by hand, of users whom this counter counted, pays by a claim, and nothing is published before.
    by_hand = {"dataset": "orders", "dimensions": {"bucket": 99}, "portion": {"firstUser": 99_000, "endUser": 99_999}}
    metadata = {"name": "by-hand", "namespace": "shop"}
    manifest = {
        "apiVersion": "privatekube.dev/v1alpha1",
        "kind": "PrivateDataBlock",
        "metadata": metadata,
        "spec": by_hand,
    }
    kubectl("apply", "-f", "-", text=yaml.safe_dump(manifest))
    # What arrives unlocks a tenth of each block's budget, which is more than the count costs.
    with privatekube.UserCounter.open(state, horizon=65536, epsilon="0.01") as counter:
        counter.tick(5000, label="2026-12-01")
        published = counter.publish("shop/orders", blocks="block.bucket == 99", cluster=cluster, progress=False)
        assert published == counter.count.at_least >= first
        mechanism = counter.mechanism
    [paid] = privatekube.claims(namespace="shop", cluster=cluster)
    assert (paid.status.phase, paid.budget) == ("Consumed", str(mechanism))
    kubectl("delete", "namespace", "shop", "--wait=false")


def test_the_notebook_runs(cluster, tmp_path):
    notebook = nbformat.read(REPOSITORY / "examples" / "notebook" / "budget.ipynb", as_version=4)
    kubectl("apply", "-f", str(REPOSITORY / "examples" / "notebook" / "dataset.yaml"))
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = [
        output.get("text", "")
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if output["output_type"] == "stream"
    ]
    assert any("Granted" in text for text in printed)
    assert any("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", ()))
    phases = {each.status.phase for each in privatekube.claims(namespace="notebook", cluster=cluster)}
    assert phases == {"Consumed"}
