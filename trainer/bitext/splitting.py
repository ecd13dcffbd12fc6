"""A held-out part of the bitext that does not leak, and a fingerprint of the training pairs."""

from __future__ import annotations

import hashlib
import os

from datasets import Dataset

from modeling_optical.encoding.normal_forms import comparable


def split_bitext(
    bitext: Dataset, *, held_out: float = 0.02, max_held_out: int = 1000, seed: int = 0
) -> tuple[Dataset, Dataset]:
    """Splits off a held-out part: whole documents where they are known, else pairs with the same source text together.

    Documents (or source texts) are ordered by a seeded hash, so the split does not depend on the order of the files. They are
    taken until `held_out` of the pairs, at most `max_held_out`, are reached. A training pair that repeats a held-out source or
    target text is dropped from training; texts are compared in NFKC.

    Returns:
        The training and the held-out part.

    Raises:
        ValueError: if a part would be empty.
    """
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out is {held_out}; it is a share of the pairs, from 0 to below 1.")
    wanted = min(round(len(bitext) * held_out), max_held_out)
    groups: dict[str, list[int]] = {}
    for index, (document, source, origin) in enumerate(
        zip(bitext["document"], bitext["source"], bitext["origin"], strict=True)
    ):
        name = f"d\0{os.path.basename(origin)}\0{document}" if document else f"s\0{comparable(source)}"
        groups.setdefault(name, []).append(index)

    def order(name: str) -> bytes:
        return hashlib.blake2b(f"{seed}\0{name}".encode(), digest_size=12).digest()

    chosen: list[int] = []
    for name in sorted(groups, key=order):
        if len(chosen) >= wanted:
            break
        # A document that would overshoot by more than half of the wanted size is left to training.
        if len(chosen) + len(groups[name]) <= max(wanted * 1.5, 1):
            chosen += groups[name]
    held = set(chosen)
    sides = [[comparable(text) for text in bitext[name]] for name in ("source", "target")]
    held_texts = [{texts[i] for i in chosen} for texts in sides]
    rest = [
        i
        for i in range(len(bitext))
        if i not in held and not any(texts[i] in taken for texts, taken in zip(sides, held_texts, strict=True))
    ]
    if wanted and not chosen:
        raise ValueError(
            f"no document is small enough to hold out {wanted} of {len(bitext)} pairs: the smallest has "
            f"{min(map(len, groups.values()))}. Raise data.held_out, or set it to 0."
        )
    if not rest:
        raise ValueError(f"nothing is left to train on: {len(bitext)} pairs, {len(held)} held out. Lower data.held_out.")
    return bitext.select(rest), bitext.select(sorted(held))


def fingerprint(bitext: Dataset) -> str:
    """A hash of all pairs in their order, for the record of a run."""
    digest = hashlib.sha256()
    for source, target, language in zip(bitext["source"], bitext["target"], bitext["language"], strict=True):
        digest.update(f"{language}\0{source}\0{target}\n".encode())
    return digest.hexdigest()[:16]
