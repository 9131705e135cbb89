"""Statistics of the reviews: how many there are, how many of each rating, and how long they are, with noise by OpenDP."""

import dp_accounting
import opendp.prelude as dp

from reviews import LONGEST, bounded
from step import Step

SCALE = 50.0
"""Of the noise of each of the three statistics, in units of what one user can change on a day."""


def main() -> None:
    step = Step("preprocess", dp_accounting.SelfComposedDpEvent(dp_accounting.LaplaceDpEvent(SCALE), 3))
    reviews = bounded(step.data_sources)
    dp.enable_features("contrib")

    def noisy(values: list[float], changes: float) -> list[float]:
        """The values with Laplace noise. One user changes their sum of absolute values by at most `changes`."""
        space = dp.vector_domain(dp.atom_domain(T=float, nan=False)), dp.l1_distance(T=float)
        laplace = dp.m.make_laplace(*space, scale=SCALE * changes)
        # OpenDP's own accountant agrees that a unit costs 1/SCALE here.
        assert laplace.map(d_in=changes) <= 1.0 / SCALE * (1 + 1e-9)
        return laplace(values)

    (count,) = noisy([float(len(reviews))], 1.0)
    stars = noisy([float(sum(review.stars == stars for review in reviews)) for stars in range(1, 6)], 1.0)
    (length,) = noisy([float(sum(len(review.words) for review in reviews))], float(LONGEST))
    step.publish({"count": round(count), "stars": [round(number) for number in stars], "meanLength": length / count})


if __name__ == "__main__":
    main()
