"""The private data: product reviews by day, each of one user, as files of one block each.

The privacy unit is what one user writes on one day. So that one unit changes a block by one record at most, whoever reads a
block keeps the first review of each user in it (`bounded`).
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

FIRST_DAY = date(2026, 11, 2)
DAYS = 6
BUCKETS = 2
USERS = 4000
LONGEST = 40
"""Words of a review that are looked at."""

GOOD = [
    "great",
    "love",
    "perfect",
    "easy",
    "works",
    "recommend",
    "happy",
    "excellent",
    "sturdy",
    "fast",
    "quiet",
    "comfortable",
]
BAD = ["broken", "returned", "poor", "waste", "stopped", "disappointed", "flimsy", "slow", "loud", "refund", "useless", "cheap"]
PLAIN = [
    "the",
    "it",
    "was",
    "and",
    "bought",
    "for",
    "my",
    "with",
    "this",
    "product",
    "week",
    "after",
    "box",
    "color",
    "size",
    "price",
    "daughter",
    "kitchen",
]


@dataclass(frozen=True)
class Review:
    """What a user wrote of a product."""

    user: int
    stars: int
    """From 1 to 5."""
    words: list[str]


def days() -> Iterator[date]:
    """The days of which there are reviews."""
    return (FIRST_DAY + timedelta(days=number) for number in range(DAYS))


def generate(root: Path, seed: int = 7) -> None:
    """Writes reviews below `root`, as `day=YYYY-MM-DD/bucket=N/reviews.csv`. One seed gives one set of reviews."""
    draw = random.Random(seed)
    for day in days():
        rows: dict[int, list[list[object]]] = {bucket: [] for bucket in range(BUCKETS)}
        for user in draw.sample(range(USERS), USERS // 2):
            for _ in range(draw.choice([1, 1, 1, 2, 3])):
                likes = draw.random() < 0.6
                stars = draw.choice([4, 5] if likes else [1, 2, 3])
                said = [
                    draw.choice(PLAIN if draw.random() < 0.7 else GOOD if likes == (draw.random() < 0.92) else BAD)
                    for _ in range(draw.randint(5, LONGEST))
                ]
                rows[user % BUCKETS].append([user, stars, " ".join(said)])
        for bucket, of_bucket in rows.items():
            folder = root / f"day={day}" / f"bucket={bucket}"
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "reviews.csv").open("w", newline="") as file:
                csv.writer(file).writerows(of_bucket)


def bounded(sources: Iterable[str]) -> list[Review]:
    """The reviews of some blocks, at most one of each user in each block."""
    reviews = []
    for source in sources:
        seen = set()
        with (Path(source) / "reviews.csv").open(newline="") as file:
            for user, stars, text in csv.reader(file):
                if user not in seen:
                    seen.add(user)
                    reviews.append(Review(int(user), int(stars), text.split()[:LONGEST]))
    return reviews
