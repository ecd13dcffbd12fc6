"""Random unit vectors, and MaxSim by its definition as the oracle."""

import numpy as np
import pytest

from modeling_optical.encoding.encoded_corpus import Encoder

DIM = 8


def unit_vectors(counts, seed: int = 0, dim: int = DIM) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    arrays = [generator.normal(size=(count, dim)).astype(np.float32) for count in counts]
    return [array / np.maximum(np.linalg.norm(array, axis=1, keepdims=True), 1e-9) for array in arrays]


def brute_force(queries, documents: dict[str, np.ndarray], k: int) -> tuple[list[list[str]], list[list[float]]]:
    """Every query against every document; among equals, the one that stands first in the mapping."""
    ids, scores = [], []
    for query in queries:
        scored = {name: float((query @ d.T).max(1).sum()) if len(d) else 0.0 for name, d in documents.items()}
        best = sorted(scored, key=lambda name: -scored[name])[:k]
        ids.append(best)
        scores.append([scored[name] for name in best])
    return ids, scores


@pytest.fixture
def encoder() -> Encoder:
    return Encoder("teacher", DIM, "f" * 64)


@pytest.fixture
def collection() -> dict[str, np.ndarray]:
    """300 documents of 0 to 12 tokens."""
    lengths = np.random.default_rng(1).integers(0, 13, 300).tolist()
    return {f"d{number}": array for number, array in enumerate(unit_vectors(lengths, seed=2))}


@pytest.fixture
def queries() -> list[np.ndarray]:
    return unit_vectors([4, 1, 6, 3], seed=3)
