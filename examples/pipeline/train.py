"""A small text classifier, good or bad, trained by DP-SGD with JAX Privacy.

Each step draws reviews at random, clips the gradient of each, and adds Gaussian noise to their sum.
"""

import json
import os
import zlib

import dp_accounting
import jax
import jax.numpy as jnp
import numpy as np
from jax_privacy import batch_selection, clipping, noise_addition

from reviews import Review, bounded
from step import ROOT, Step

NOISE_MULTIPLIER = 1.5
SAMPLE_RATE = 0.05
STEPS = 150
CLIP = 1.0
RATE = 4.0
WORDS = 64


def features(reviews: list[Review]) -> tuple[np.ndarray, np.ndarray]:
    """How often each word is in each review, words hashed to a fixed number of columns, and whether the review is good."""
    counts = np.zeros((len(reviews), WORDS + 1), dtype=np.float32)
    for row, review in enumerate(reviews):
        for word in review.words:
            counts[row, zlib.crc32(word.encode()) % WORDS] += 1.0
    norms = np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1.0)
    counts /= norms
    counts[:, WORDS] = 1.0
    return counts, np.array([review.stars > 3 for review in reviews], dtype=np.float32)


def loss(weights: jax.Array, row: jax.Array, good: jax.Array) -> jax.Array:
    """The logistic loss of one review."""
    logit = row @ weights
    return jnp.mean(jnp.logaddexp(0.0, jnp.where(good > 0.5, -logit, logit)))


def main() -> None:
    sampled = dp_accounting.PoissonSampledDpEvent(SAMPLE_RATE, dp_accounting.GaussianDpEvent(NOISE_MULTIPLIER))
    step = Step("train", dp_accounting.SelfComposedDpEvent(sampled, STEPS))
    rows, good = features(bounded(step.data_sources))
    clipped = jax.jit(clipping.clipped_grad(loss, l2_clip_norm=CLIP, batch_argnums=(1, 2)))
    # Noise must not be guessed: its seed comes from the system.
    privatizer = noise_addition.gaussian_privatizer(
        stddev=NOISE_MULTIPLIER * CLIP, prng_key=jax.random.key(int.from_bytes(os.urandom(4)))
    )
    weights = jnp.zeros(WORDS + 1)
    state = privatizer.init(weights)
    batches = batch_selection.CyclicPoissonSampling(sampling_prob=SAMPLE_RATE, iterations=STEPS)
    expected = SAMPLE_RATE * len(rows)
    for chosen in batches.batch_iterator(len(rows), rng=np.random.default_rng(int.from_bytes(os.urandom(8)))):
        # The number of reviews in a batch is as private as they are, so sums are divided by the expected one.
        total = clipped(weights, *_padded(rows[chosen], good[chosen]))
        noisy, state = privatizer.update(total, state)
        weights = weights - RATE * noisy / expected
    (ROOT / "results").mkdir(parents=True, exist_ok=True)
    (ROOT / "results" / "model.json").write_text(json.dumps([float(weight) for weight in weights]))
    step.publish({"steps": STEPS, "norm": float(jnp.linalg.norm(weights))})


def _padded(rows: np.ndarray, good: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A batch with rows of zeros up to a multiple of 128, so that few sizes are compiled. They have no gradient."""
    more = -len(rows) % 128
    return np.pad(rows, ((0, more), (0, 0))), np.pad(good, (0, more))


if __name__ == "__main__":
    main()
