"""The demo's default: emoji search with the quickstart's students."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hub_cards.card_file import CARD_FILE, card_metadata
from hub_cards.space.engine import DemoSettings, languages_of
from modeling_optical.files.atomic_write import write_text

from .checked_yaml import PACKAGE_FOLDER
from .runs.annotations import load_annotations
from .runs.recipe.data import AnnotationsSource

ANNOTATIONS = PACKAGE_FOLDER / "quickstart" / "cldr_annotations_48.2.jsonl"
LICENCE = "Unicode CLDR 48.2 annotations, © Unicode, Inc., under the Unicode License v3."
_EXAMPLES = 8


def quickstart_students(folder: Path = Path("runs")) -> dict[str, str]:
    """Language to folder of the quickstart's students below a folder of runs.

    Raises:
        FileNotFoundError: if there is none; the message has the command that makes one.
    """
    found = {
        path.parent.name.removeprefix("quickstart-"): str(path)
        for path in sorted(folder.glob("quickstart-*/student"))
        if path.is_dir()
    }
    if not found:
        raise FileNotFoundError(
            f"there is no student of the quickstart in {folder}: make one with `optical run recipes/quickstart/swahili.yaml`, "
            "or name a student's folder or Hub id."
        )
    return found


def students_by_language(names: Sequence[str], language: str | None) -> dict[str, str]:
    """Language to student, by what their cards say, or all of one language where it is given.

    Raises:
        ValueError: if a card does not say the language.
    """
    students: dict[str, str] = {}
    for name in names:
        card = Path(name).expanduser() / CARD_FILE
        stated = card_metadata(card) if language is None and card.is_file() else {}
        codes = [language] if language is not None else languages_of(stated)
        if not codes:
            raise ValueError(f"{name} has no card that says its language: give it with --language.")
        students |= {code: name for code in codes if code not in students}
    return students


def emoji_corpus(path: Path) -> Path:
    """Writes the English descriptions of the shipped emoji as a corpus."""
    languages = load_annotations(AnnotationsSource(str(ANNOTATIONS)), "sw").collections[0].corpus
    lines = [json.dumps({"_id": key, "text": text}, ensure_ascii=False) + "\n" for key, text in languages.items()]
    return write_text(path, "".join(lines))


def emoji_settings(students: dict[str, str], corpus: Path, teacher: str | None) -> DemoSettings:
    """The demo over the shipped emoji; examples are names that no student was trained on."""
    examples = {}
    for code in students:
        if code not in annotated_languages():
            continue
        found = load_annotations(AnnotationsSource(str(ANNOTATIONS)), code)
        queries = found.collections[0].queries
        chosen = list(queries)[:: max(len(queries) // _EXAMPLES, 1)][:_EXAMPLES]
        examples[code] = [[found.ceiling.queries[key], queries[key]] for key in chosen]
    return DemoSettings(students, teacher, str(emoji_corpus(corpus)), None, examples)


def annotated_languages() -> set[str]:
    """Codes of the languages of the shipped annotations."""
    with open(ANNOTATIONS, encoding="utf-8") as stream:
        return set(json.loads(stream.readline())) - {"id"}
