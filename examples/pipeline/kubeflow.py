"""The pipeline for Kubeflow: each step is a container with the annotations of its Job.

python3 kubeflow.py pipeline.yaml
"""

import sys
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler, dsl, kubernetes

JOBS = Path(__file__).parent / "jobs"
IMAGE = "privatekube.dev/pipeline:1"
ROOT = "/var/lib/pipeline"


def annotations(step: str) -> dict[str, str]:
    """What a step requests, as its Job states it."""
    job: dict[str, Any] = yaml.safe_load((JOBS / f"{step}.yaml").read_text())
    stated: dict[str, str] = job["spec"]["template"]["metadata"]["annotations"]
    return {key: value for key, value in stated.items() if key.startswith("privatekube.dev/")}


def container(step: str) -> dsl.ContainerSpec:
    return dsl.ContainerSpec(image=IMAGE, command=["python3", f"{ROOT}/program/{step}.py"])


@dsl.container_component
def preprocess() -> dsl.ContainerSpec:
    return container("preprocess")


@dsl.container_component
def train() -> dsl.ContainerSpec:
    return container("train")


@dsl.container_component
def evaluate() -> dsl.ContainerSpec:
    return container("evaluate")


@dsl.pipeline(name="reviews", description="Statistics, a classifier and its evaluation, each paid for before it runs")
def pipeline() -> None:
    before = None
    for step, component in [("preprocess", preprocess), ("train", train), ("evaluate", evaluate)]:
        task = component()
        task.set_env_variable("PIPELINE_ROOT", ROOT)
        # Kubeflow would take the result of an earlier run; here a result that was paid for is meant to be a new one.
        task.set_caching_options(enable_caching=False)
        for key, value in annotations(step).items():
            kubernetes.add_pod_annotation(task, key, value)
        kubernetes.mount_pvc(task, pvc_name="pipeline", mount_path=ROOT)
        if before is not None:
            task.after(before)
        before = task


if __name__ == "__main__":
    compiler.Compiler().compile(pipeline, sys.argv[1])
