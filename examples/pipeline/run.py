"""Runs the pipeline in a cluster with PrivateKube.

It makes the data and its blocks, runs one Job after the other, and compares what the ledger has with what the steps' own
accountants say.

    python3 run.py --root /tmp/pipeline

kubectl has to be on the PATH, and reach the cluster. --root is a folder of the node on which the pods run; it is made by this
program, so node and program share a machine. --python is what runs the steps there.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from string import Template
from typing import Any

import privatekube

import reviews

HERE = Path(__file__).parent
NAMESPACE = "reviews"
STEPS = ["preprocess", "train", "evaluate"]
LONGEST = 600
"""Seconds until a step has ended."""


def kubectl(*arguments: str, input: str | None = None) -> str:
    done = subprocess.run(["kubectl", *arguments], input=input, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def blocks(data: Path) -> str:
    """The manifests of the blocks: one for each folder of the data."""
    manifests = privatekube.blocks_from_directory(data, dataset="reviews", namespace=NAMESPACE)
    return privatekube.to_yaml(manifests)


def wait(step: str) -> None:
    """Waits until a step's Job has succeeded. Says meanwhile why its pod doesn't run."""
    said = None
    end = time.monotonic() + LONGEST
    while time.monotonic() < end:
        job = json.loads(kubectl("get", "job", step, "-n", NAMESPACE, "-o", "json"))
        conditions = {found["type"] for found in job["status"].get("conditions", []) if found["status"] == "True"}
        if "Complete" in conditions:
            return
        if "Failed" in conditions:
            raise SystemExit(f"{step} failed:\n{kubectl('logs', f'job/{step}', '-n', NAMESPACE)}")
        for claim in json.loads(kubectl("get", "pbc", "-n", NAMESPACE, "-o", "json"))["items"]:
            status = claim.get("status", {})
            message = f"{status.get('phase')}: {status.get('message')}"
            if claim["metadata"]["name"].startswith(f"{step}-") and message != said:
                said = message
                print(f"  {step}: {message}", flush=True)
        time.sleep(0.5)
    raise SystemExit(f"{step} did not end within {LONGEST} s; last: {said}")


def spent(results: Path) -> dict[str, dict[str, float]]:
    """What the steps' accountants say: of each block, epsilon at each Renyi order."""
    sums: dict[str, dict[str, float]] = {}
    for step in STEPS:
        found = json.loads((results / f"{step}.spent.json").read_text())
        for block in found["blocks"]:
            of_block = sums.setdefault(block, {})
            for order, epsilon in found["rdp"].items():
                of_block[order] = of_block.get(order, 0.0) + epsilon
    return sums


def compare(results: Path) -> None:
    """Compares the ledger with the accountants. The ledger rounds up, and must never have less than they say."""
    found = json.loads(kubectl("get", "pb", "-n", NAMESPACE, "-o", "json"))["items"]
    said = spent(results)
    if {block["metadata"]["name"] for block in found} != set(said):
        raise SystemExit("the steps have not used the blocks that there are")
    print(f"{'block':24} {'order':>5} {'ledger':>16} {'accountants':>16}")
    for block in found:
        name = block["metadata"]["name"]
        consumed: list[dict[str, Any]] = block["status"]["consumed"]["renyi"]
        ledger = {amount["order"]: float(amount["epsilon"]) for amount in consumed if amount["epsilon"] is not None}
        for order, epsilon in said[name].items():
            if order not in ledger:
                continue
            if not epsilon * (1 - 1e-9) <= ledger[order] <= epsilon * (1 + 1e-6) + 1e-9:
                raise SystemExit(f"block {name}, order {order}: the ledger has {ledger[order]}, the accountants {epsilon}")
        print(f"{name:24} {'8':>5} {ledger['8']:16.9f} {said[name]['8']:16.9f}")
    print("The ledger has what the accountants of the steps say, at every whole Renyi order of every block.")


def main() -> None:
    parser = argparse.ArgumentParser(description="Runs the pipeline in a cluster with PrivateKube.")
    parser.add_argument("--root", type=Path, required=True, help="a folder for the data, the program and the results")
    parser.add_argument("--python", default=sys.executable, help="the Python of the steps (default: this one)")
    parser.add_argument("--image", default="privatekube.dev/pipeline:1", help="the image of the steps")
    options = parser.parse_args()
    root: Path = options.root.resolve()
    shutil.rmtree(root / "results", ignore_errors=True)
    shutil.copytree(HERE, root / "program", dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    print("The data: reviews of six days, by two buckets of users, with a block for each folder", flush=True)
    reviews.generate(root / "data")
    kubectl("apply", "-f", str(HERE / "dataset.yaml"))
    kubectl("apply", "-f", "-", input=blocks(root / "data"))
    for step in STEPS:
        print(f"{step}: a Job whose pod pays before it runs", flush=True)
        job = Template((HERE / "jobs" / f"{step}.yaml").read_text())
        kubectl("delete", "job", step, "-n", NAMESPACE, "--ignore-not-found")
        kubectl("apply", "-f", "-", input=job.substitute(ROOT=root, PYTHON=options.python, IMAGE=options.image))
        wait(step)
        print("  " + json.dumps(json.loads((root / "results" / f"{step}.json").read_text())), flush=True)
    compare(root / "results")


if __name__ == "__main__":
    main()
