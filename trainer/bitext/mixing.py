"""Many languages in one student: how often each is seen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
from datasets import Dataset


def language_shares(counts: Mapping[str, int], temperature: float) -> dict[str, float]:
    """`p_l ∝ n_l^(1/T)`: 1 keeps the languages as they are, infinity makes them equal (Arivazhagan et al., 1907.05019).

    Raises:
        ValueError: for a temperature below 1, or a language without pairs.
    """
    check_temperature(temperature)
    if empty := [language for language, count in counts.items() if count < 1]:
        raise ValueError(f"the language {empty[0]!r} has no pairs to sample from.")
    weights = {language: count ** (1.0 / temperature) for language, count in counts.items()}
    total = sum(weights.values())
    return {language: weight / total for language, weight in weights.items()}


def check_temperature(temperature: float) -> None:
    """Raises a ValueError for a temperature below 1."""
    if isinstance(temperature, bool) or not temperature >= 1:
        raise ValueError(f"temperature is {temperature!r}; it is a number of at least 1 (1: languages as they come).")


def mix_languages(bitext: Dataset, temperature: float, *, seed: int = 0) -> Dataset:
    """An epoch in which language l has a share of `p_l ∝ n_l^(1/T)`.

    No pair is left out: the largest language appears once, the others are repeated, whole and then in part (a seeded choice).
    The rows stay in the order of the languages; the Trainer shuffles them with its seed, so that a resumed run has the same
    batches.

    Args:
        bitext: pairs with the column `language`.
        temperature: T, at least 1.
        seed: of the choice of repeated pairs.

    Returns:
        The same pairs, with repetitions; `bitext` itself if there is one language only or `temperature` is 1.
    """
    check_temperature(temperature)
    rows: dict[str, list[int]] = {}
    for index, language in enumerate(bitext["language"]):
        rows.setdefault(language, []).append(index)
    if len(rows) < 2 or temperature == 1:
        return bitext
    shares = language_shares({language: len(indices) for language, indices in rows.items()}, temperature)
    largest = max(rows, key=lambda language: len(rows[language]))
    chosen: list[int] = []
    for language, indices in rows.items():
        wanted = max(round(len(rows[largest]) * shares[language] / shares[largest]), len(indices))
        copies, rest = divmod(wanted, len(indices))
        # One generator per language: another language does not change the choice.
        key = hashlib.blake2b(f"{seed}\0{language}".encode(), digest_size=8).digest()
        generator = np.random.default_rng(int.from_bytes(key))
        extra = sorted(generator.choice(len(indices), size=rest, replace=False).tolist())
        chosen += indices * copies + [indices[i] for i in extra]
    return bitext.select(chosen)
