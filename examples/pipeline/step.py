"""What each step of the pipeline does around its computation: it reads its grant, checks that it pays for what the step is
about to do, and writes down what the step's own accountant says that it has spent."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import dp_accounting
import privatekube
from dp_accounting import rdp
from privatekube import Mechanism
from privatekube.adapters import dp_accounting as adapter

ROOT = Path(os.environ["PIPELINE_ROOT"])
"""Where results are written, each once it is paid for."""


class Step:
    """One step, run as a pod of its own."""

    def __init__(self, name: str, event: dp_accounting.DpEvent) -> None:
        """Reads the grant of the pod. `event` is what the step is about to do to one unit of its data, in the words of Google's
        accounting library.

        The pod runs, so its budget is consumed already. It must be the budget of what this program does: parameters that
        were changed here and not in the Job, or there and not here, end the step before it reads anything.
        """
        self.name = name
        self.event = event
        (claim,) = privatekube.grant().claims
        does = adapter.from_event(event)
        if claim.privacy_unit != "UserTime":
            raise SystemExit(f"{name} bounds what a user adds to a day, and the dataset is about {claim.privacy_unit}")
        if not isinstance(claim.requested, Mechanism) or claim.requested.curve() != does.curve():
            raise SystemExit(f"{name} would do {does}, and its pod has paid for {claim.requested}")
        self.blocks = claim.blocks
        print(f"{name}: {does} on {len(self.blocks)} blocks", flush=True)

    @property
    def data_sources(self) -> list[str]:
        """Where the data of its blocks is."""
        return [block.data_source for block in self.blocks if block.data_source]

    def publish(self, result: dict[str, Any]) -> None:
        """Writes the result, and what the accountant says about each block."""
        folder = ROOT / "results"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_text(json.dumps(result, indent=2))
        orders = [float(order) for order in privatekube.DEFAULT_ORDERS if float(order).is_integer()]
        accountant = rdp.RdpAccountant(orders).compose(self.event)
        spent = {
            "blocks": [block.name for block in self.blocks],
            "rdp": {f"{order:g}": float(epsilon) for order, epsilon in zip(orders, accountant._rdp, strict=True)},
        }
        (folder / f"{self.name}.spent.json").write_text(json.dumps(spent, indent=2))
        print(f"{self.name}: {json.dumps(result)[:200]}", flush=True)
