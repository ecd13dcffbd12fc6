"""Scores of documents with their own query, block by block."""

import torch
from torch.nn.functional import normalize

from trainer.objectives.scoring.scores import mean_maxsim, mean_maxsim_pairwise


def test_a_documents_score_with_its_query_is_that_of_all_pairs_however_it_is_cut():
    generator = torch.Generator().manual_seed(0)
    queries = normalize(torch.randn(3, 4, 8, generator=generator), dim=-1).requires_grad_()
    documents = normalize(torch.randn(7, 5, 8, generator=generator), dim=-1).requires_grad_()
    query_mask = torch.arange(4) < torch.tensor([[4], [2], [3]])
    document_mask = torch.arange(5) < torch.tensor([[5], [1], [3], [5], [2], [4], [5]])
    owners = torch.tensor([0, 0, 1, 2, 2, 2, 1])
    wanted = mean_maxsim(queries, documents, query_mask, document_mask)[owners, torch.arange(7)]
    expected = torch.autograd.grad(wanted.square().sum(), [queries, documents])
    for most in (2**20, 50, 1):
        found = mean_maxsim_pairwise(queries, documents, query_mask, document_mask, owners, most)
        torch.testing.assert_close(found, wanted)
        for one, other in zip(torch.autograd.grad(found.square().sum(), [queries, documents]), expected, strict=True):
            torch.testing.assert_close(one, other)
