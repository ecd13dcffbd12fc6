"""MaxSim against a loop that spells out its definition."""

import numpy as np
import pytest
import torch

from modeling_optical import maxsim, maxsim_pairwise, search


def vectors(counts: list[int], dim: int = 6, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    arrays = [generator.normal(size=(count, dim)).astype(np.float32) for count in counts]
    return [a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), 1e-9) for a in arrays]


def by_definition(query: np.ndarray, document: np.ndarray) -> float:
    if not len(document):
        return 0.0
    return float(sum(max(float(q @ d) for d in document) for q in query))


def padded(arrays: list[np.ndarray], fill: float) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(a) for a in arrays) + 2
    values = torch.full((len(arrays), longest, 6), fill)
    mask = torch.zeros(len(arrays), longest, dtype=torch.bool)
    for row, array in enumerate(arrays):
        values[row, : len(array)] = torch.from_numpy(array)
        mask[row, : len(array)] = True
    return values, mask


@pytest.mark.parametrize("fill", [0.0, 100.0, float("nan")])
def test_scores_equal_the_definition_whatever_stands_in_the_padding(fill):
    queries, documents = vectors([3, 1, 5]), vectors([4, 0, 2, 7], seed=1)
    (q, q_mask), (d, d_mask) = padded(queries, fill), padded(documents, fill)
    scores = maxsim(q, d, q_mask, d_mask)
    expected = [[by_definition(query, document) for document in documents] for query in queries]
    np.testing.assert_allclose(scores.numpy(), expected, atol=1e-5)
    pairs = maxsim_pairwise(q, d[:3], q_mask, d_mask[:3])
    np.testing.assert_allclose(pairs.numpy(), np.diag(np.array(expected)[:, :3]), atol=1e-5)


def test_a_padded_document_token_never_wins_over_a_negative_similarity():
    query, document = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[-1.0, 0.0], [0.0, 0.0]]])
    score = maxsim(query, document, torch.tensor([[True]]), torch.tensor([[True, False]]))
    assert float(score) == -1.0


@pytest.mark.parametrize("max_elements", [1, 200, 10_000_000])
def test_search_equals_brute_force_under_any_memory_bound(max_elements):
    generator = np.random.default_rng(3)
    queries = vectors(generator.integers(1, 9, 13).tolist())
    documents = vectors(generator.integers(0, 40, 57).tolist(), seed=5)
    positions, scores = search(queries, documents, k=10, max_elements=max_elements)
    brute = np.array([[by_definition(q, d) for d in documents] for q in queries])
    order = np.argsort(-brute, axis=1, kind="stable")[:, :10]
    np.testing.assert_allclose(scores.numpy(), np.take_along_axis(brute, order, 1), atol=1e-5)
    assert (positions.numpy() == order).mean() > 0.99


def test_ties_go_to_the_earlier_document_and_k_is_bounded_by_the_collection():
    document = vectors([2])[0]
    positions, _ = search(vectors([3], seed=9), [document, document, document], k=10)
    assert positions.tolist() == [[0, 1, 2]]


def test_models_that_do_not_share_a_dimension_are_refused():
    with pytest.raises(ValueError, match="do not share a space"):
        search([np.ones((2, 3), np.float32)], [np.ones((2, 4), np.float32)])
    with pytest.raises(ValueError, match="at least one"):
        search([], [np.ones((2, 4), np.float32)])
