"""Gathers ragged batches on several processes and writes what came out; run by torchrun."""

import sys

import torch
import torch.distributed as distributed

from trainer.objectives.scoring.gathering import gather_rows, gather_vectors

distributed.init_process_group("gloo")
rank = distributed.get_rank()
texts, tokens = (3, 4) if rank == 0 else (2, 6)
vectors = torch.arange(texts * tokens * 2, dtype=torch.float32).view(texts, tokens, 2) + 100 * rank
vectors.requires_grad_()
mask = torch.arange(tokens) < torch.tensor([[tokens - 1]] * texts)
gathered = gather_vectors(vectors, mask)
# Every process says something else about every value; its owner receives the sum.
weights = torch.arange(gathered.vectors.numel(), dtype=torch.float32).view_as(gathered.vectors) * (rank + 1)
(gathered.vectors * weights).sum().backward()
keys = gather_rows(torch.arange(texts) + 10 * rank)
result = {"vectors": gathered.vectors.detach(), "mask": gathered.mask, "first": gathered.first, "own": vectors.detach()}
torch.save(result | {"gradient": vectors.grad, "keys": keys}, f"{sys.argv[1]}/{rank}.pt")
distributed.destroy_process_group()
