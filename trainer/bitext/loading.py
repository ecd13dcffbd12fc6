"""From sources to clean pairs: a data set in memory, or one pair after the other."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from datasets import Dataset

from modeling_optical.encoding.normal_forms import comparable, is_blank

from .languages import LanguageDetector, expected_scripts, script_share
from .near_duplicates import NearDuplicateIndex
from .readers import Pair, read_pairs
from .report import BitextReport
from .sources import BitextSource

COLUMNS = ("source", "target", "language", "document", "origin", "kind")


@dataclass
class Cleaning:
    """Which pairs are dropped.

    Args:
        max_length_ratio: lengths in characters may differ by this factor; shorter texts get 10 characters of grace.
        max_characters: longer texts are dropped with their pair.
        script_share: the least share of a text's letters that are in a script of its language (CLDR, or the source's
            `scripts`); 0 checks nothing. A language that CLDR does not know is not checked, and the report says so.
        source_language: code of the teacher's language, for the script and the detector.
        detector: drops texts that are surely in another language; None detects nothing.
        near_duplicates: test texts; a pair that repeats one on either side is dropped.
        remembered: number of previous pairs that repeats are searched in; None: all (100 bytes each).
    """

    max_length_ratio: float = 4.0
    max_characters: int = 2000
    script_share: float = 0.3
    source_language: str = "en"
    detector: LanguageDetector | None = None
    near_duplicates: NearDuplicateIndex | None = None
    remembered: int | None = None

    def __post_init__(self) -> None:
        if self.max_length_ratio < 1:
            raise ValueError(f"max_length_ratio is {self.max_length_ratio!r}; it must be at least 1.")
        if self.max_characters < 1:
            raise ValueError(f"max_characters is {self.max_characters!r}; it must be at least 1.")
        if not 0 <= self.script_share <= 1:
            raise ValueError(f"script_share is {self.script_share!r}; it is a share from 0 to 1.")

    def problem(self, pair: Pair, source: BitextSource) -> tuple[str, str] | None:
        """Why a pair is dropped, and details for its place; None if it is kept."""
        problem = self._shape(pair, both_sides=source.source == source.target)
        if problem is not None:
            return problem, ""
        return self._language(pair, source) or self._repeats_test(pair)

    def _shape(self, pair: Pair, *, both_sides: bool) -> str | None:
        source, target, _ = pair
        try:
            "".join(pair).encode("utf-8")
        except UnicodeEncodeError:
            return "not UTF-8"
        if "\0" in source or "\0" in target:
            return "a NUL character"
        if is_blank(source) or is_blank(target):
            return "empty"
        if not both_sides and comparable(source) == comparable(target):
            return "identical"
        if max(len(source), len(target)) > self.max_characters:
            return "too long"
        shorter, longer = sorted((len(source), len(target)))
        if longer > self.max_length_ratio * (shorter + 10):
            return "length ratio"
        return None

    def _language(self, pair: Pair, source: BitextSource) -> tuple[str, str] | None:
        target_language = str(source.language)
        sides = (
            (pair[0], self.source_language, expected_scripts(self.source_language)),
            (pair[1], target_language, tuple(source.scripts or ()) or expected_scripts(target_language)),
        )
        for text, language, scripts in sides:
            if scripts and self.script_share > 0 and script_share(text, scripts) < self.script_share:
                return f"{language} text not in {' or '.join(scripts)}", ""
            if self.detector is not None and (other := self.detector.other_language(text, language)) is not None:
                return f"{language} text in another language", f" ({other})"
        return None

    def _repeats_test(self, pair: Pair) -> tuple[str, str] | None:
        if self.near_duplicates is None:
            return None
        name = self.near_duplicates.find(pair[0]) or self.near_duplicates.find(pair[1])
        return None if name is None else ("repeats a test text", f" (like {name})")

    def note_unchecked(self, source: BitextSource, report: BitextReport) -> None:
        """Notes the languages whose script is not known."""
        for language, scripts in ((self.source_language, None), (str(source.language), source.scripts)):
            if self.script_share > 0 and not scripts and not expected_scripts(language):
                report.note(f"no script is known for the language {language!r}: its texts are not checked by script.")


def clean_pairs(sources: Sequence[BitextSource], cleaning: Cleaning, report: BitextReport) -> Iterator[dict[str, str]]:
    """Yields clean pairs as rows with the columns of `COLUMNS`, one after the other, and counts in the report.

    Raises:
        ValueError: if a source has no usable pair.
    """
    seen: dict[bytes, None] = {}
    for source in sources:
        label = source.label
        report.read.setdefault(label, 0)  # a file of many languages is a source of each
        report.kept.setdefault(label, 0)
        read = kept = 0
        cleaning.note_unchecked(source, report)
        left_out: set[str] = set()
        for place, pair, unreadable in read_pairs(source):
            if source.max_pairs is not None and read >= source.max_pairs:
                break
            read += 1
            report.read[label] += 1
            if pair is None:
                report.drop(label, str(unreadable), place)
                continue
            if pair[2] in source.left_out_documents:
                left_out.add(pair[2])
                report.drop(label, "left-out document", place)
                continue
            problem = cleaning.problem(pair, source)
            if problem is None and _repeated(pair, source, seen, cleaning.remembered):
                problem = "repeated", ""
            if problem is not None:
                report.drop(label, problem[0], place + problem[1], pair)
                continue
            kept += 1
            report.kept[label] += 1
            yield dict(zip(COLUMNS, (pair[0], pair[1], str(source.language), pair[2], label, source.kind), strict=True))
        _check_left_out(source, left_out)
        if kept == 0:
            raise ValueError(
                f"no usable pair in {label} (fields {source.source!r} and {source.target!r}; {read} lines read).\n{report}"
            )


def _check_left_out(source: BitextSource, found: set[str]) -> None:
    """A left-out document that does not exist is a typo, and a typo would train on test data."""
    missing = [document for document in source.left_out_documents if document not in found]
    if missing and source.max_pairs is None:
        raise ValueError(
            f"left_out_documents: {source.label} has no pair of the document {missing[0]!r} (field `document`). "
            "Check its name, or leave it out of the list."
        )


def _repeated(pair: Pair, source: BitextSource, seen: dict[bytes, None], remembered: int | None) -> bool:
    key = hashlib.blake2b(f"{source.language}\0{comparable(pair[0])}\0{comparable(pair[1])}".encode(), digest_size=12).digest()
    if key in seen:
        return True
    seen[key] = None
    if remembered is not None and len(seen) > remembered:
        del seen[next(iter(seen))]
    return False


def load_bitext(sources: Sequence[BitextSource], cleaning: Cleaning | None = None) -> tuple[Dataset, BitextReport]:
    """Reads and cleans bitext.

    Dropped and counted: lines that are not JSON or lack a field, empty sides, identical sides, length ratios beyond
    `max_length_ratio`, texts over `max_characters`, texts not in a script of their language, texts surely in another language
    (with a detector), pairs that repeat a test text (with an index), repeated pairs. Texts are compared in NFKC.

    Args:
        sources: where the pairs come from, one after the other.
        cleaning: which pairs are dropped; the defaults of `Cleaning` if None.

    Returns:
        A data set with the columns `source`, `target`, `language`, `document` (empty where unknown), `origin` and `kind`, and
        a report.

    Raises:
        FileNotFoundError: for a missing file. ValueError: if nothing usable is left, or a field is missing everywhere; the
            message names file, line and field.
    """
    if not sources:
        raise ValueError("no bitext source is given.")
    report = BitextReport()
    columns: dict[str, list[str]] = {name: [] for name in COLUMNS}
    for row in clean_pairs(sources, cleaning or Cleaning(), report):
        for name, value in row.items():
            columns[name].append(value)
    return Dataset.from_dict(columns), report
