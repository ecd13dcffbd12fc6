"""Bitext that is larger than memory: a sample of it to hold out and to learn a vocabulary from, and a stream to train on."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, Features, IterableDataset, Value, interleave_datasets

from .loading import COLUMNS, Cleaning, clean_pairs
from .mixing import check_temperature, language_shares
from .report import BitextReport
from .shortening import KeptOut, ShorteningOptions, short_rows
from .sources import BitextSource

_FEATURES = Features({**{name: Value("string") for name in COLUMNS}, "length": Value("int64")})


@dataclass
class StreamingOptions:
    """How bitext is streamed.

    Args:
        sample: pairs kept in memory, drawn evenly from all: the held-out part and the vocabulary's training texts.
        buffer: pairs among which the order is random.
        remembered: number of previous pairs that repeats are searched in.
    """

    sample: int = 100_000
    buffer: int = 10_000
    remembered: int = 1_000_000

    def __post_init__(self) -> None:
        for name in ("sample", "buffer", "remembered"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"streaming.{name} is {value!r}; it must be a whole number of at least 1.")


def sample_bitext(
    sources: Sequence[BitextSource], cleaning: Cleaning, size: int, *, seed: int = 0
) -> tuple[Dataset, BitextReport, dict[str, int]]:
    """Reads everything once and keeps an even, seeded sample of the clean pairs (Vitter 1985, algorithm R).

    Returns:
        At most `size` pairs in the order of the files, the report on all pairs, and the number of clean pairs per language.
    """
    report = BitextReport()
    generator = random.Random(seed)
    kept: list[tuple[int, dict[str, str]]] = []
    counts: Counter = Counter()
    for number, row in enumerate(clean_pairs(sources, cleaning, report)):
        counts[row["language"]] += 1
        if number < size:
            kept.append((number, row))
        elif (place := generator.randrange(number + 1)) < size:
            kept[place] = (number, row)
    rows = [row for _, row in sorted(kept, key=lambda item: item[0])]
    return Dataset.from_list(rows), report, dict(counts)


def stream_bitext(
    sources: Sequence[BitextSource],
    cleaning: Cleaning,
    counts: Mapping[str, int],
    *,
    options: StreamingOptions | None = None,
    held_out: Dataset | None = None,
    temperature: float = 1.0,
    shortened: ShorteningOptions | None = None,
    seed: int = 0,
) -> IterableDataset:
    """Clean pairs, read while training goes on; nothing but a buffer is in memory.

    The languages are interleaved at random with the shares of `language_shares`. The seed makes two iterations of the same
    epoch give the same order, so the Trainer finds its place again when it resumes. Pairs that share a text with a held-out one
    are left out. Train with `max_steps`; with several processes, every process reads everything.

    Args:
        sources: as for `load_bitext`.
        cleaning: as for `sample_bitext`.
        counts: clean pairs per language, as `sample_bitext` has counted them.
        options: see `StreamingOptions`.
        held_out: pairs that are not trained on.
        temperature: see `language_shares`.
        shortened: short pairs to add, each right behind its long one; none that repeats a held-out or a test text.
        seed: of order and choice.

    Returns:
        A streaming data set with the columns of `load_bitext` and `length` (characters of the target).
    """
    check_temperature(temperature)
    options = options or StreamingOptions()
    if cleaning.remembered is None:
        cleaning = dataclasses.replace(cleaning, remembered=options.remembered)
    kept_out = KeptOut(held_out, cleaning.near_duplicates)
    streams = []
    for language in counts:
        own = [source for source in sources if source.language == language]
        arguments = {"sources": [own], "cleaning": cleaning, "kept_out": kept_out, "shortened": shortened, "seed": seed}
        stream = IterableDataset.from_generator(_rows, features=_FEATURES, gen_kwargs=arguments)
        streams.append(stream.shuffle(seed=seed, buffer_size=options.buffer))
    if len(streams) == 1:
        return streams[0]
    shares = language_shares(counts, temperature)
    return interleave_datasets(
        streams, probabilities=[shares[language] for language in counts], seed=seed, stopping_strategy="all_exhausted"
    )


def _rows(
    sources: list[list[BitextSource]],
    cleaning: Cleaning,
    kept_out: KeptOut,
    shortened: ShorteningOptions | None,
    seed: int,
) -> Iterator[dict[str, Any]]:
    # `datasets` takes a list for shards and may hand out a part of it; the sources of a language are one shard.
    for group in sources:
        for row in clean_pairs(group, cleaning, BitextReport()):
            if kept_out.holds_out(row["source"]) or kept_out.holds_out(row["target"]):
                continue
            short = [] if shortened is None else short_rows([row], shortened, seed=seed, kept_out=kept_out)
            for each in [row, *short]:
                yield each | {"length": len(each["target"])}
