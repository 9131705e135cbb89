"""How often the model is right on the newest day, with noise."""

import json

import dp_accounting
import numpy as np
import opendp.prelude as dp

from reviews import bounded
from step import ROOT, Step
from train import features

SCALE = 20.0


def main() -> None:
    step = Step("evaluate", dp_accounting.SelfComposedDpEvent(dp_accounting.LaplaceDpEvent(SCALE), 2))
    weights = np.array(json.loads((ROOT / "results" / "model.json").read_text()))
    rows, good = features(bounded(step.data_sources))
    right = float(np.sum((rows @ weights > 0) == (good > 0.5)))
    dp.enable_features("contrib")
    laplace = dp.m.make_laplace(dp.atom_domain(T=float, nan=False), dp.absolute_distance(T=float), scale=SCALE)
    correct, count = laplace(right), laplace(float(len(rows)))
    step.publish({"accuracy": round(correct / count, 3), "reviews": round(count)})


if __name__ == "__main__":
    main()
