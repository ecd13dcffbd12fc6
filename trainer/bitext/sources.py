"""Where bitext comes from."""

from __future__ import annotations

import glob
import os
from dataclasses import dataclass, field

from ..distillation.symmetric import KINDS
from .languages import check_scripts


@dataclass
class BitextSource:
    """Where pairs come from.

    Args:
        path: a file, or two files (source language first) with a line each (Moses). Known endings: `.jsonl` / `.json` (one
            object a line), `.tsv`, `.csv`, `.tmx`, each also with `.gz` behind it, and `.zip` (a Moses pair, as OPUS publishes
            it). A `*` in the name matches anything: all matching files are read, in the order of their names. Exactly one of
            `path` and `hub` is given.
        hub: a data set id on the Hub, or a local folder that `datasets.load_dataset` reads.
        source: field of the teacher's language; for a TSV without a header line, a column number from 0; for TMX and zip, its
            language code.
        target: field of the student's language, likewise. A dotted name reaches into nested objects (`translation.sw`).
        language: language code of the targets; the name of `target` if None.
        scripts: ISO 15924 codes of the scripts that the targets may be in (`[Cyrl, Latn]`); the usual ones of the language if
            None.
        name, split, revision: for `hub`, as for `load_dataset`.
        max_pairs: number of pairs to read, from the first one on.
        kind: of the texts: `query`, `document`, or `both` (each pair appears twice); documents are for students that encode
            documents, too.
        license: of the pairs, for the model card (`cc-by-4.0`); for a source on the Hub, None leaves it to the data set's card.
        group: of the source in a mixture (`domain`, `general`).
        left_out_documents: documents (field `document` of a pair) that are not read, because they are test data.
    """

    path: str | list[str] | None = None
    hub: str | None = None
    source: str | int = "en"
    target: str | int = "target"
    language: str | None = None
    scripts: list[str] | None = None
    name: str | None = None
    split: str = "train"
    revision: str | None = None
    max_pairs: int | None = None
    kind: str = "query"
    license: str | None = None
    group: str = ""
    left_out_documents: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if (self.path is None) == (self.hub is None):
            raise ValueError("a bitext source needs either `path` (one file, or a list of two) or `hub` (a data set id).")
        if isinstance(self.path, list) and len(self.path) != 2:
            raise ValueError(f"bitext path lists {len(self.path)} files; Moses bitext is two: teacher's language, then yours.")
        if self.max_pairs is not None and (isinstance(self.max_pairs, bool) or self.max_pairs < 1):
            raise ValueError(f"max_pairs is {self.max_pairs!r}; it must be a whole number of at least 1, or null for all.")
        if self.kind not in KINDS:
            raise ValueError(f"bitext kind is {self.kind!r}; allowed: {', '.join(map(repr, KINDS))}.")
        if self.scripts is not None:
            check_scripts(self.scripts)
        if self.language is None:
            self.language = str(self.target)

    def files(self) -> list[str]:
        """The files to read; none for a source on the Hub.

        Raises:
            FileNotFoundError: for a missing file, or a pattern that nothing matches.
        """
        if self.path is None:
            return []
        paths = self.path if isinstance(self.path, list) else [self.path]
        if isinstance(self.path, str) and "*" in self.path and not os.path.isfile(self.path):
            pattern = glob.escape(self.path).replace("[*]", "*")  # `[` and `?` are characters of names
            paths = sorted(path for path in glob.glob(pattern) if os.path.isfile(path))
            if not paths:
                raise FileNotFoundError(f"no bitext file matches {self.path!r}.")
        for path in paths:
            if not os.path.isfile(path):
                raise FileNotFoundError(f"bitext file {path!r} does not exist.")
        return paths

    @property
    def label(self) -> str:
        """Short name of the source, for reports."""
        if self.hub is not None:
            return self.hub if self.name is None else f"{self.hub}/{self.name}"
        return " + ".join(self.path) if isinstance(self.path, list) else str(self.path)
