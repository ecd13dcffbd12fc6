"""Batches whose texts are about one topic, so that the texts beside a pair's own are hard to tell from it."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import scipy.cluster.vq
import torch
from datasets import Dataset
from transformers.utils import logging

from modeling_optical.encoding.batching import batched

from ..teachers.teacher import TeacherOfTexts, TeacherVectors

# Texts that the topics are found on; the others join the nearest one.
_MOST_FITTED = 50_000
_ROUNDS = 10
# Texts that a live teacher encodes together.
_ENCODED = 64
# Batches of a topic that are drawn together, to be sorted by length.
_SORTED = 4


def topics_of(bitext: Dataset, teacher: TeacherOfTexts, topics: int, *, seed: int = 0) -> np.ndarray:
    """The topic of every pair: k-means on the mean of the teacher's unit token vectors of its source.

    Args:
        bitext: with the columns `source` and, if texts are also learnt as documents, `kind`.
        teacher: a cache that holds all sources, or a live teacher, which encodes them for this.
        topics: how many there are at most; few different texts have fewer.
        seed: of the centres that the search starts from.

    Returns:
        (pairs,) int64, from 0.
    """
    vectors = _mean_vectors(bitext, teacher)
    distinct = np.unique(vectors, axis=0, return_index=True)[1]
    generator = np.random.default_rng(seed)
    topics = min(topics, len(distinct))
    centres = vectors[generator.choice(distinct, topics, replace=False)]
    fitted = vectors
    if len(vectors) > _MOST_FITTED:
        fitted = vectors[generator.choice(len(vectors), _MOST_FITTED, replace=False)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a topic that no text is nearest to: it has no batches
        centres, _ = scipy.cluster.vq.kmeans2(fitted, centres, iter=_ROUNDS, minit="matrix")
    return scipy.cluster.vq.vq(vectors, centres)[0].astype(np.int64)


def _mean_vectors(bitext: Dataset, teacher: TeacherOfTexts) -> np.ndarray:
    """(pairs, dim) float32 unit vectors; the mean is over content tokens where a text has any."""
    sources = list(bitext["source"])
    kinds = list(bitext["kind"]) if "kind" in bitext.column_names else ["query"] * len(sources)
    rows: list[Any] = [None] * len(sources)
    # A live teacher encodes neighbours of like length together, with little padding.
    order = sorted(range(len(sources)), key=lambda i: len(sources[i]))
    with logging.tqdm(total=len(sources), desc="Topics of the bitext", unit="text") as bar:
        for part in batched(order, _ENCODED):
            entries = teacher.vectors_of([sources[i] for i in part], [kinds[i] for i in part])
            for i, entry in zip(part, entries, strict=True):
                rows[i] = _mean_vector(entry)
            bar.update(len(part))
    return np.stack(rows)


def _mean_vector(entry: TeacherVectors) -> np.ndarray:
    vectors = entry.vectors.float()
    if entry.content_mask.any():
        vectors = vectors[entry.content_mask]
    return torch.nn.functional.normalize(vectors.mean(0), dim=0).numpy()


class TopicSampler(torch.utils.data.Sampler[int]):
    """Positions of a data set in an order whose successive batches are each of one topic (topic-aware sampling).

    Every epoch draws the batches of each topic anew and shuffles the batches of all topics. The rest of a topic, less than a
    batch, shares batches with the rests of others. With lengths, texts of similar length share a batch.
    Source: TAS of Hofstätter et al., SIGIR 2021, arXiv 2104.06967 (there for queries of labelled pairs).

    Args:
        topics: (texts,) the topic of each.
        batch_size: texts of a batch, over all processes and accumulation steps.
        lengths: (texts,) similar within a batch; None: not considered.
        seed: with the epoch, decides the order.
    """

    def __init__(self, topics: np.ndarray, batch_size: int, *, lengths: Sequence[int] | None = None, seed: int = 0):
        self.topics = topics
        self.batch_size = batch_size
        self.lengths = lengths
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.topics)

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose order comes next; the trainer says it."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        generator = random.Random(f"{self.seed} {self.epoch}")
        batches: list[list[int]] = []
        rest: list[int] = []
        for topic in range(int(self.topics.max(initial=-1)) + 1):
            own = np.flatnonzero(self.topics == topic).tolist()
            generator.shuffle(own)
            whole = len(own) - len(own) % self.batch_size
            rest += own[whole:]
            batches += self._cut(own[:whole])
        generator.shuffle(rest)
        *mixed, last = self._cut(rest) or [[]]
        if len(last) == self.batch_size:
            mixed, last = [*mixed, last], []
        batches += mixed
        generator.shuffle(batches)
        for batch in [*batches, last]:
            yield from batch

    def _cut(self, positions: list[int]) -> list[list[int]]:
        """Batches of positions, the last one perhaps short; of like length where lengths are known."""
        if self.lengths is not None:
            lengths, together = self.lengths, self.batch_size * _SORTED
            positions = [
                position
                for start in range(0, len(positions), together)
                for position in sorted(positions[start : start + together], key=lambda p: -lengths[p])
            ]
        return [positions[start : start + self.batch_size] for start in range(0, len(positions), self.batch_size)]
