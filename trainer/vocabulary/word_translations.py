"""A dictionary from bitext: words with the word that most surely translates them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import regex

from modeling_optical.encoding.words import words

from .alignment import agreed_translations, ibm_model_1

_WORD = regex.compile(r"[\p{L}\p{M}\u200c\u200d]+(?:['’\-][\p{L}\p{M}\u200c\u200d]+)*")


def word_translations(
    targets: Sequence[str],
    sources: Sequence[str],
    *,
    fewest: int = 3,
    least: float = 0.05,
    iterations: int = 5,
) -> dict[str, str]:
    """Learns which word of the sources translates each word of the targets, by IBM model 1 in both directions.

    Args:
        targets, sources: (pairs,) texts, line by line each other's translation.
        fewest: words that occur less often on either side are left out: any word beside them would pass for a translation.
        least: smallest product of the two directions' probabilities, `p(source | target) p(target | source)`. One direction
            alone gives function words and rare words too much.
        iterations: rounds of expectation maximisation.

    Returns:
        Target word to source word, both in small letters. Languages written without spaces have hardly any.
    """
    target_words, source_words = _words(targets, fewest), _words(sources, fewest)
    target_ids = _ids(targets, target_words)
    source_ids = _ids(sources, source_words)
    if not target_words or not source_words:
        return {}
    sizes = len(target_words), len(source_words)
    forward = ibm_model_1(target_ids, source_ids, *sizes, iterations)
    backward = ibm_model_1(source_ids, target_ids, *sizes[::-1], iterations)
    both = forward.multiply(backward.T).tocsr()
    targets_by_id, sources_by_id = list(target_words), list(source_words)
    found = {}
    for row, word in enumerate(targets_by_id):
        start, end = both.indptr[row], both.indptr[row + 1]
        if end > start:
            best = start + int(np.argmax(both.data[start:end]))
            if both.data[best] >= least:
                found[word] = sources_by_id[both.indices[best]]
    return found


def word_translation_table(
    targets: Sequence[str],
    sources: Sequence[str],
    *,
    fewest: int = 2,
    share: float = 0.95,
    iterations: int = 5,
) -> dict[str, dict[str, float]]:
    """Learns `p(source word | target word)` for `structured_queries`, by two IBM models 1 that agree.

    Args:
        targets, sources: (pairs,) texts, line by line each other's translation.
        fewest: words that occur less often on either side are left out.
        share: the most probable translations that together have this probability are kept, and add up to 1.
        iterations: rounds of expectation maximisation.

    Returns:
        Target word to {source word: probability}, words as `modeling_optical.encoding.words.words` finds them.
    """
    sides = [[words(text) for text in texts] for texts in (targets, sources)]
    known = []
    for side in sides:
        counts = Counter(word for text in side for word in text)
        known.append({word: number for number, word in enumerate(sorted(w for w, count in counts.items() if count >= fewest))})
    if not all(known):
        return {}
    ours, theirs = (
        [[own[word] for word in text if word in own] for text in side] for side, own in zip(sides, known, strict=True)
    )
    table = agreed_translations(ours, theirs, len(known[0]), len(known[1]), iterations)
    names = list(known[1])
    found = {}
    for row, word in enumerate(known[0]):
        part = slice(*table.indptr[row : row + 2])
        order = np.argsort(-table.data[part])
        probabilities = table.data[part][order]
        kept = int(np.searchsorted(np.cumsum(probabilities), share * probabilities.sum())) + 1
        if len(probabilities):
            chosen = zip(table.indices[part][order][:kept], probabilities[:kept] / probabilities[:kept].sum(), strict=True)
            found[word] = {names[index]: float(p) for index, p in chosen}
    return found


def _words(texts: Sequence[str], fewest: int) -> dict[str, int]:
    counts = Counter(word for text in texts for word in _WORD.findall(text.lower()))
    return {word: number for number, word in enumerate(sorted(w for w, count in counts.items() if count >= fewest))}


def _ids(texts: Sequence[str], known: dict[str, int]) -> list[list[int]]:
    return [[known[word] for word in _WORD.findall(text.lower()) if word in known] for text in texts]
