"""Global-MMLU: MMLU in 42 languages, English among them.

Files, as `CohereLabs/Global-MMLU` holds them on the Hub (`CohereForAI/Global-MMLU` is its old name):

    <language>/<split>-00000-of-00001.parquet      split: test (14,042 questions), dev (285)

Columns that are read: `sample_id` (`SUBJECT/SPLIT/NUMBER`, the same in every language), `subject`, `question`, `option_a` to
`option_d`, `answer` (A to D). A row with an empty cell is left out and counted. Languages: am ar bn cs de el en es fa fil fr ha
he hi id ig it ja ko ky lt mg ms ne nl ny pl pt ro ru si sn so sr sv sw te tr uk vi yo zh. `CohereLabs/Global-MMLU-Lite` has the
same layout. Licence: Apache-2.0. Documented at https://huggingface.co/datasets/CohereLabs/Global-MMLU and in arXiv 2412.03304.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from ..collections.files import no_queries
from .question import CompleteRows, Question, QuestionLayout, QuestionRequest, QuestionSet, question_set

_FILE = re.compile(r"(?:^|/)([a-z]{2,3})/(test|dev)-\d{5}-of-\d{5}\.parquet$")
_OPTIONS = ("option_a", "option_b", "option_c", "option_d")
_COLUMNS = ("sample_id", "subject", "question", *_OPTIONS, "answer")


def read(request: QuestionRequest) -> QuestionSet:
    """Reads one language of Global-MMLU."""
    language, split = "en" if request.in_english else request.language, request.split or "test"
    there = [(found[1], found[2], name) for name in request.files.names if (found := _FILE.search(name))]
    names = sorted(name for code, own, name in there if (code, own) == (language, split))
    if not names:
        raise no_queries(request.files, f"{language}, split {split}", (f"{code} ({own})" for code, own, _ in there))
    rows = CompleteRows((row for name in names for row in _rows(request.files.path(name))), _COLUMNS)
    questions = [_question(place, row) for place, row in rows]
    return question_set(f"global-mmlu-{split}", request.language, questions, language, rows.notes)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str | None]]]:
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import read_table

    try:
        table = read_table(path)
    except ArrowInvalid as error:
        raise ValueError(f"{path} is no Parquet file ({error}). Fetch it again.") from None
    missing = [name for name in _COLUMNS if name not in table.column_names]
    if missing:
        raise ValueError(f"{path}: the column {missing[0]!r} is missing. There are: {', '.join(table.column_names)}.")
    yield from ((f"{path}, row {number}", row) for number, row in enumerate(table.select(list(_COLUMNS)).to_pylist(), 1))


def _question(place: str, row: dict[str, str]) -> Question:
    identifier, answer = row["sample_id"], row["answer"].strip().upper()
    if identifier.partition("/")[0] != row["subject"]:
        raise ValueError(f"{place}: the id {identifier!r} does not begin with the subject {row['subject']!r}.")
    if answer not in ("A", "B", "C", "D"):
        raise ValueError(f"{place}: the answer is {row['answer']!r}; it must be A, B, C or D.")
    return Question(identifier, row["question"], tuple(row[name] for name in _OPTIONS), "ABCD".index(answer))


LAYOUT = QuestionLayout(
    "global-mmlu",
    "LANGUAGE/test-00000-of-00001.parquet",
    lambda names: any(_FILE.search(name) for name in names),
    read,
    hub_ids=(
        "CohereLabs/Global-MMLU",
        "CohereForAI/Global-MMLU",
        "CohereLabs/Global-MMLU-Lite",
        "CohereForAI/Global-MMLU-Lite",
    ),
)
