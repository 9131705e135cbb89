"""Reviews what the pipeline would be as an Argo Workflow, and as a compiled Kubeflow pipeline.

The API server and PrivateKube's webhooks see the pods that these would make, and none is created. The dataset and its blocks
must be there.

    python3 check_workflows.py argo.yaml pipeline.yaml
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

NAMESPACE = "reviews"


def argo(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, str], dict[str, Any]]]:
    """The name, annotations and container of each pod of a Workflow."""
    for template in document["spec"]["templates"]:
        if "container" in template:
            yield template["name"], template["metadata"]["annotations"], template["container"]


def kubeflow(documents: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, str], dict[str, Any]]]:
    """The name, annotations and container of each step of a compiled pipeline."""
    pipeline, platform = documents
    stated = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, executor in pipeline["deploymentSpec"]["executors"].items():
        yield name.removeprefix("exec-"), stated[name]["podMetadata"]["annotations"], executor["container"]


def review(step: str, annotations: dict[str, str], container: dict[str, Any]) -> None:
    """Creates a pod in a dry run, and prints what it was given."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": step, "namespace": NAMESPACE, "annotations": annotations},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": container["image"], "command": container["command"]}],
        },
    }
    command = ["kubectl", "create", "--dry-run=server", "-o", "json", "-f", "-"]
    done = subprocess.run(command, input=json.dumps(pod), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{step}: {done.stderr.strip()}")
    reviewed = json.loads(done.stdout)
    gates = [gate["name"] for gate in reviewed["spec"].get("schedulingGates", [])]
    if gates != ["privatekube.dev/budget"] or reviewed["metadata"]["labels"].get("privatekube.dev/managed") != "true":
        raise SystemExit(f"{step} would run without budget: {reviewed}")
    print(f"  {step}: would wait for {annotations['privatekube.dev/mechanism']}")


def main() -> None:
    workflow, pipeline = (list(yaml.safe_load_all(Path(path).read_text())) for path in sys.argv[1:])
    for kind, pods in [("Argo Workflow", list(argo(workflow[0]))), ("Kubeflow pipeline", list(kubeflow(pipeline)))]:
        print(f"{kind}: {len(pods)} pods")
        if len(pods) != 3:
            raise SystemExit(f"expected 3 pods in the {kind}, found {len(pods)}")
        for step, stated, container in pods:
            review(step, stated, container)


if __name__ == "__main__":
    main()
