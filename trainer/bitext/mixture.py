"""A training set of a fixed size from groups of sources by shares: how much of a domain, how much of the rest."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from datasets import Dataset

from .sources import BitextSource


@dataclass
class MixtureOptions:
    """The composition of a training set of a fixed size.

    Args:
        total: pairs.
        shares: group of sources (`BitextSource.group`) to its share, from 0 to 1. One may be null and gets the rest.
    """

    total: int
    shares: dict[str, float | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.total, bool) or self.total < 1:
            raise ValueError(f"total is {self.total!r}; it must be a whole number of at least 1.")
        given = {group: share for group, share in self.shares.items() if share is not None}
        for group, share in given.items():
            if not 0 <= share <= 1:
                raise ValueError(f"shares.{group} is {share!r}; it is a share from 0 to 1.")
        rest = len(self.shares) - len(given)
        if rest > 1:
            raise ValueError("only one of the shares may be null and get the rest.")
        whole = sum(given.values())
        if whole > 1 + 1e-9 or (not rest and abs(whole - 1) > 1e-9):
            raise ValueError(f"the shares add up to {whole:g}; they must add up to 1 (or one of them is null).")

    @property
    def counts(self) -> dict[str, int]:
        """Group to the number of its pairs; they add up to `total`, the last group takes what rounding leaves."""
        whole = sum(share for share in self.shares.values() if share is not None)
        wanted = {group: 1 - whole if share is None else share for group, share in self.shares.items()}
        counts = {group: round(self.total * share) for group, share in wanted.items()}
        counts[list(counts)[-1]] += self.total - sum(counts.values())
        return counts


def check_groups(options: MixtureOptions, sources: Sequence[BitextSource]) -> None:
    """Checks that every group has a source and every source is in a group.

    Raises:
        ValueError: naming group or source.
    """
    groups = {source.group for source in sources}
    for group in options.shares:
        if group not in groups:
            raise ValueError(f"mixture.shares.{group}: no source of data.bitext has `group: {group}`.")
    for source in sources:
        if source.group not in options.shares:
            raise ValueError(
                f"data.bitext: {source.label} is in the group {source.group!r}, which mixture.shares does not have."
            )
        other = next(one.group for one in sources if one.label == source.label)
        if other != source.group:
            raise ValueError(f"data.bitext: {source.label} is in two groups, {other!r} and {source.group!r}.")


def draw_mixture(pairs: Dataset, options: MixtureOptions, sources: Sequence[BitextSource], *, seed: int) -> Dataset:
    """The training set.

    Every group is drawn at random by the seed and its name: with the same seed a smaller share is a subset of a larger one.

    Args:
        pairs: clean pairs with the column `origin`, a source's label.
        options: groups and their shares.
        sources: where the pairs are from.
        seed: of the draw.

    Raises:
        ValueError: if a group has too few pairs; the message says how many it has.
    """
    check_groups(options, sources)
    group_of = {source.label: source.group for source in sources}
    rows: dict[str, list[int]] = {group: [] for group in options.shares}
    for index, origin in enumerate(pairs["origin"]):
        rows[group_of[origin]].append(index)
    chosen: list[int] = []
    for group, count in options.counts.items():
        if count > len(rows[group]):
            raise ValueError(
                f"the mixture wants {count:,} pairs of the group {group!r}, but its sources have {len(rows[group]):,} after "
                "cleaning and without the held-out ones. Lower data.mixture.total, or give more sources."
            )
        key = hashlib.blake2b(f"{seed}\0{group}".encode(), digest_size=8).digest()
        chosen += random.Random(int.from_bytes(key)).sample(rows[group], len(rows[group]))[:count]
    return pairs.select(sorted(chosen))
