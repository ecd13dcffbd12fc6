"""Probabilistic structured queries: BM25 over documents of one language with queries of another and a translation table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.sparse

from ..encoding.words import BM25_B, BM25_K1, words
from .collections import Corpus
from .metrics import ranked

_LEAST = 0.01


def structured_queries(
    queries: Mapping[str, str], corpus: Corpus, translations: Mapping[str, Mapping[str, float]], *, k: int = 100
) -> dict[str, dict[str, float]]:
    """Searches with expected counts: `tf(f, d) = sum_e p(e | f) tf(e, d)`, and likewise for the document frequency.

    Source: Darwish and Oard, Probabilistic Structured Query Methods, SIGIR 2003. BM25 weighs the counts (Lucene's variant, k1
    0.9, b 0.4), as in `bm25`. A word without translations stays as it is: names are often spelt the same.

    Args:
        queries: query id to text.
        corpus: the documents.
        translations: a word of the queries' language to its translations and their probabilities, words as `words` finds them.
        k: documents per query; those without a translated word of the query are left out.

    Returns:
        Query id to {document id: score}, best first; ties go to the earlier document.
    """
    names, counts, vocabulary = _counts(corpus)
    if not vocabulary:
        return {query: {} for query in queries}
    lengths = np.asarray(counts.sum(0)).ravel()
    saturation = BM25_K1 * (1 - BM25_B + BM25_B * lengths / lengths.mean())
    frequencies = np.diff(counts.indptr)
    found = {}
    for query, text in queries.items():
        scores = np.zeros(len(names))
        for word in words(text):
            known = _known(translations.get(word, {word: 1.0}), vocabulary)
            if not known:
                continue
            rows, shares = np.array(list(known)), np.array(list(known.values()))
            expected = np.asarray(shares @ counts[rows].toarray()).ravel()
            documents = float(shares @ frequencies[rows])
            rarity = np.log1p((len(names) - documents + 0.5) / (documents + 0.5))
            scores += rarity * expected / (expected + saturation)
        best = [position for position in np.argsort(-scores, kind="stable")[:k] if scores[position] > 0]
        found[query] = {names[position]: float(scores[position]) for position in best}
    return found


def fused_by_rank(
    runs: Sequence[Mapping[str, Mapping[str, float]]], *, k: int = 100, constant: int = 60
) -> dict[str, dict[str, float]]:
    """Joins runs by reciprocal rank fusion: `score(d) = sum over runs of 1 / (constant + rank of d)`.

    Source: Cormack, Clarke and Büttcher, SIGIR 2009. A document that a run lacks gets nothing from it.

    Args:
        runs: query id to {document id: score} each.
        k: documents per query.
        constant: the larger, the less the first ranks count.
    """
    fused: dict[str, dict[str, float]] = {}
    for query in dict.fromkeys(query for run in runs for query in run):
        scores: dict[str, float] = {}
        for run in runs:
            for rank, document in enumerate(ranked(run.get(query, {})), start=1):
                scores[document] = scores.get(document, 0.0) + 1 / (constant + rank)
        fused[query] = {document: scores[document] for document in ranked(scores)[:k]}
    return fused


def _counts(corpus: Corpus) -> tuple[list[str], scipy.sparse.csr_matrix, dict[str, int]]:
    """Ids, counts (words, documents) and the words' rows."""
    names: list[str] = []
    vocabulary: dict[str, int] = {}
    rows, columns, values = [], [], []
    for identifier, text in corpus.items():
        for word, count in Counter(words(text)).items():
            rows.append(vocabulary.setdefault(word, len(vocabulary)))
            columns.append(len(names))
            values.append(count)
        names.append(identifier)
    shape = (len(vocabulary), len(names))
    return names, scipy.sparse.csr_matrix((np.array(values, float), (rows, columns)), shape=shape), vocabulary


def _known(translations: Mapping[str, float], vocabulary: Mapping[str, int]) -> dict[int, float]:
    return {vocabulary[e]: p for e, p in translations.items() if p >= _LEAST and e in vocabulary}
