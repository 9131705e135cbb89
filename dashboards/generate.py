"""Writes the dashboards, or with --check compares them with what is written: `make generate` and `make drift`."""

import argparse
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

import budget
import machinery
import queue_and_fairness
from panels import models

FOLDER = Path(__file__).parent


def dashboards() -> dict[Path, models.Dashboard]:
    """Each dashboard by its file. The files' names are also names in the folder of Grafana's sidecar, so they say whose
    they are.
    """
    made = {
        "privatekube-budget.json": budget.dashboard(),
        "privatekube-queue-and-fairness.json": queue_and_fairness.dashboard(),
        "privatekube-machinery.json": machinery.dashboard(),
    }
    return {FOLDER / name: dashboard for name, dashboard in made.items()}


def text(dashboard: models.Dashboard) -> str:
    """A dashboard as JSON, the same each time."""
    return JSONEncoder(sort_keys=True, indent=1, ensure_ascii=False).encode(dashboard) + "\n"


def main() -> int:
    """Writes or checks the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if a file is out of date")
    check = parser.parse_args().check
    wanted = {path: text(dashboard) for path, dashboard in dashboards().items()}
    wrong = []
    for path, content in wanted.items():
        if not path.exists() or path.read_text(encoding="utf-8") != content:
            wrong.append(f"{path.name} is out of date")
            if not check:
                path.write_text(content, encoding="utf-8")
    for path in sorted(FOLDER.glob("*.json")):
        if path not in wanted:
            wrong.append(f"{path.name} is made by nothing")
            if not check:
                path.unlink()
    if check and wrong:
        print(f"dashboards: {'; '.join(wrong)}: run make generate", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
