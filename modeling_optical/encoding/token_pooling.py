"""Fewer vectors per document: tokens that say the same share one vector."""

from __future__ import annotations

import numpy as np
import torch

MAX_POOL_FACTOR = 4


def check_pool_factor(factor: int | None) -> None:
    """Raises ValueError unless the factor is None or a whole number from 2 to 4."""
    if factor is not None and (isinstance(factor, bool) or not isinstance(factor, int) or not 2 <= factor <= MAX_POOL_FACTOR):
        raise ValueError(f"the pool factor is {factor!r}; allowed: 2, 3, 4, or none for every token.")


def pool_tokens(vectors: np.ndarray, factor: int) -> np.ndarray:
    """Hierarchical pooling: Ward clusters of token vectors, each replaced by its mean, made a unit vector again.

    Reducing the footprint of multi-vector retrieval by token pooling (Clavié, Chaffin and Adams, arXiv 2409.14683).

    Args:
        vectors: (tokens, dim) unit vectors.
        factor: 2 to 4; about one vector in `factor` is left.

    Returns:
        (clusters, dim) float32, ordered by each cluster's first token; at most `ceil(tokens / factor)` of them. Texts of fewer
        than three tokens stay as they are.

    Raises:
        ValueError: for a factor outside 2 to 4.
    """
    from scipy.cluster.hierarchy import fcluster, linkage

    check_pool_factor(factor)
    tokens = len(vectors)
    if tokens < 3:
        return vectors.astype(np.float32)
    clusters = fcluster(linkage(vectors, method="ward"), -(-tokens // factor), criterion="maxclust")
    _, first, members = np.unique(clusters, return_index=True, return_inverse=True)
    members = np.argsort(np.argsort(first))[members]  # numbered by first appearance
    sums = np.zeros((len(first), vectors.shape[1]), dtype=np.float32)
    np.add.at(sums, members, vectors)
    return torch.nn.functional.normalize(torch.from_numpy(sums), dim=1).numpy()
