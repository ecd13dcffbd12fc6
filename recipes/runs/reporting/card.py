"""The content of the card of a run's student: sources, licences, cost, recipe."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled
from transformers.utils import logging
from transformers.utils.hub import cached_file, extract_commit_hash

from hub_cards.card_file import CARD_FILE, card_metadata
from hub_cards.licences import CardInput
from hub_cards.markdown import one_line
from hub_cards.model_card import CardData, Cost, write_model_card
from hub_cards.results import CollectionReference
from modeling_optical.checkpoints import resolve_model_path
from modeling_optical.checkpoints.files import CheckpointFiles
from modeling_optical.checkpoints.names import PACKAGE_PREFIX, is_hub_id, shown_name
from modeling_optical.evaluation import UNJUDGED, ResultRow
from trainer.bitext import BitextSource
from trainer.distillation.selection import FILE as SELECTION_FILE
from trainer.objectives import describe_objectives

from ...checked_yaml import write_values
from ..data import FEW_PAIRS, DataReport
from ..recipe.distillation import Recipe
from ..recipe.evaluation import REFERENCES, CollectionSource
from ..run_folder import student_of
from .rivals import describe_rivals

logger = logging.get_logger(__name__)

_LONGEST_LICENCE = 100
SYSTEMS = {
    "floor": "the teacher as it comes, reading the new language",
    "start": "the student before training, its vocabulary adapted where the recipe asks for it",
    "prealigned": "the student before any bitext, trained on text of the teacher's language alone",
    "optical": "the student",
    "ceiling": "the teacher, with the queries in its language",
    "bm25": REFERENCES["bm25"],
    "dense": "the same models, one averaged vector per text",
    "translation": "the teacher, with the queries translated by a machine",
}
BASELINE = "the same start, vocabulary and updates, another objective"


def student_card(
    recipe: Recipe,
    record: dict[str, Any],
    *,
    rows: Sequence[ResultRow] = (),
    training_log: Sequence[dict[str, Any]] = (),
    selection: Sequence[str] = (),
) -> CardData:
    """The card of a run's student.

    Args:
        recipe: the recipe.
        record: as `provenance` gives it.
        rows: results, none before the evaluation.
        training_log: the trainer's log history.
        selection: how its weights were chosen, in sentences.
    """
    data = DataReport.from_dict(record["data"])
    pairs = data.training_pairs_by_language or {recipe.language: data.training_pairs}
    known = SYSTEMS | dict.fromkeys(recipe.baselines, BASELINE) | describe_rivals(recipe.evaluation)
    # What `optical evaluate` measured later, beside the references that it knows.
    later = [name for name in dict.fromkeys(row.system for row in rows) if name not in known]
    usable = {*describe_rivals(recipe.evaluation), *later, "bm25", "translation"}
    return CardData(
        name=recipe.name,
        languages=recipe.languages,
        teacher_language=recipe.teacher.language,
        inputs=card_inputs(recipe, record),
        objectives=describe_objectives(recipe.objectives),
        transport=recipe.transport.to_dict(),
        pairs=pairs,
        rows=[row for row in rows if row.metric != UNJUDGED],
        systems=known | dict.fromkeys(later, "measured later, by `optical evaluate`"),
        versions=record["versions"],
        recipe=recipe_of_card(recipe),
        cost=_cost(recipe, record, training_log),
        license=recipe.license,
        collections={name: _reference(CollectionSource(**source)) for name, source in data.collections.items()},
        date=record.get("date"),
        symmetric=any(source.kind != "query" for source in recipe.data.bitext),
        rivals=[name for name in dict.fromkeys(row.system for row in rows) if name in usable],
        training_notes=[*_in_words(recipe, data, training_log, selection), *selection],
        # Annotations are short names of one kind: their number says nothing of other texts.
        fewest_pairs=FEW_PAIRS if recipe.data.bitext else 0,
    )


def _in_words(recipe: Recipe, data: DataReport, training_log: Sequence[dict[str, Any]], selection: Sequence[str]) -> list[str]:
    """The training data and the origin of the weights, for readers who do not know our options."""
    notes = []
    epochs = max((entry["epoch"] for entry in training_log if "epoch" in entry), default=0.0)
    if data.training_pairs_in_updates is not None:  # what the trainer takes for an epoch
        epochs *= data.training_pairs_in_updates / (data.training_pairs_with_repetitions or data.training_pairs)
    if 0 < epochs < 0.95:
        notes.append(f"Length: {epochs:.2g} epochs, so training saw {epochs:.0%} of the pairs, each once")
    elif epochs:
        times = "once" if epochs < 1.5 else f"about {epochs:.0f} times"
        notes.append(f"Length: {epochs:.2g} epochs, so training saw each pair {times}")
    if (share := recipe.training.get("start_share")) and not selection:
        notes.append(f"Weights: a mean of the model before training ({share:.0%}) and of the trained one ({1 - share:.0%})")
    return notes


def card_inputs(recipe: Recipe, record: dict[str, Any]) -> list[CardInput]:
    """Teacher, start and all texts that a run trained on, with revisions, licences and sizes."""
    teacher, own, data = recipe.teacher, recipe.student, recipe.data
    inputs = [_model("teacher", teacher.model, teacher.revision, teacher.license)]
    if own.start != "teacher":
        inputs.append(_model("start", own.start, own.revision, own.license))
    if data.annotations is not None:
        report = record["data"]["annotations"]
        inputs.append(
            CardInput(
                "bitext",
                Path(data.annotations.path).name,
                license=data.annotations.license,
                read=sum(report[key] for key in report if key.startswith("training pairs")),
                kept=report["training pairs"],
            )
        )
    counts = record["data"].get("bitext", {})
    # A file of many languages is a source of each, and one row here.
    inputs += [_texts("bitext", source, counts) for source in {source.label: source for source in data.bitext}.values()]
    if own.prealign is not None:
        inputs += [_texts("text", source, {}) for source in own.prealign.texts]
    return inputs + [CardInput("passages", Path(file).name, local=True) for file in recipe.passage_files]


def _texts(role: str, source: BitextSource, counts: Mapping[str, Any]) -> CardInput:
    name = source.hub or " + ".join(Path(part).name for part in source.label.split(" + "))
    licence = source.license or (_dataset_licence(source.hub, source.revision) if source.hub else None)
    read, kept = (counts.get(key, {}).get(source.label) for key in ("read", "kept"))
    local = source.hub is None or not is_hub_id(source.hub)
    return CardInput(role, Path(name).name if local else name, source.revision, licence, read, kept, local)


def recipe_of_card(recipe: Recipe) -> str:
    """The settings that differ from the defaults, as YAML that `optical run` takes; folders of this machine are left out."""
    values = _differing(recipe)
    for key in ("output", "paths"):
        values.pop(key, None)
    return write_values(values)


def _differing(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kept = {}
        for field in dataclasses.fields(value):
            own = getattr(value, field.name)
            default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
            if own != default:
                kept[field.name] = _differing(own)
        return kept
    if isinstance(value, dict):
        return {key: _differing(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_differing(one) for one in value]
    if isinstance(value, str) and Path(value).is_absolute():
        return Path(value).name
    return value


def _reference(source: CollectionSource) -> CollectionReference:
    dataset = source.path if "/" in source.path and is_hub_id(source.path) else None
    return CollectionReference(dataset, source.split, source.revision)


def _cost(recipe: Recipe, record: dict[str, Any], training_log: Sequence[dict[str, Any]]) -> Cost:
    # From the training's own log: it may have been another day's run.
    seconds = next((entry["train_runtime"] for entry in reversed(training_log) if "train_runtime" in entry), None)
    machine = record["machine"]
    threads = f", {machine['threads']} threads" if machine["device"] == "cpu" and machine["threads"] > 1 else ""
    return Cost(
        training_seconds=seconds,
        total_seconds=record["seconds"].get("total"),
        device=machine["device"] + threads,
        processes=record["processes"],
        precision=recipe.training.get("precision", record["precision"]),
        updates=max((entry["step"] for entry in training_log if "step" in entry), default=None),
    )


def _model(role: str, name: str, revision: str | None, licence: str | None) -> CardInput:
    """A model with its revision (or its package's version) and the licence that its card names."""
    on_hub = is_hub_id(name)
    try:
        path = resolve_model_path(name)
    except FileNotFoundError:  # a folder that was moved since; what the recipe says of it still holds
        return CardInput(role, shown_name(name), revision, licence, local=True)
    if name.startswith(PACKAGE_PREFIX):
        module = name.removeprefix(PACKAGE_PREFIX).partition("/")[0]
        package = metadata.packages_distributions().get(module, [module])[0]
        revision = f"{package} {metadata.version(package)}"
    elif on_hub:
        revision = _commit(path, revision) or revision
    licence = licence or _model_licence(name, path, revision if on_hub else None)
    return CardInput(role, shown_name(name), revision, licence, local=not on_hub and not name.startswith(PACKAGE_PREFIX))


def _commit(repository: str, revision: str | None) -> str | None:
    """The commit that a model on the Hub was loaded at, from the cache that it was loaded into."""
    found = cached_file(repository, "config.json", revision=revision, _raise_exceptions_for_missing_entries=False)
    return None if found is None else extract_commit_hash(found, None)


def _model_licence(name: str, path: str, revision: str | None) -> str | None:
    try:
        card = CheckpointFiles(name, path, {} if revision is None else {"revision": revision}).find(CARD_FILE)
    except FileNotFoundError:
        return None  # not to be had now; the card says that it is not stated
    return None if card is None else _stated(card)


def _dataset_licence(dataset: str, revision: str | None) -> str | None:
    if Path(dataset).is_dir():
        card = Path(dataset) / CARD_FILE
        return _stated(card) if card.is_file() else None
    try:
        return _stated(Path(hf_hub_download(dataset, CARD_FILE, repo_type="dataset", revision=revision)))
    except (EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        logger.warning(f"the licence of {dataset} is not known: its card is not to be had ({type(error).__name__}).")
        return None


def _stated(card: Path) -> str | None:
    """The licence that a card of other people's names."""
    try:
        values = card_metadata(card)
    except ValueError as error:
        logger.warning(f"the licence is not known: {error}")
        return None
    licence = values.get("license_name") or values.get("license")
    names = [one for one in (licence if isinstance(licence, list) else [licence]) if isinstance(one, str)]
    return None if names in ([], ["other"], ["unknown"]) else one_line(" and ".join(names))[:_LONGEST_LICENCE]


def write_student_card(recipe: Recipe, record: dict[str, Any], folder: Path, rows: Sequence[ResultRow]) -> Path:
    """Writes the card of a run's student into its folder; arguments as for `student_card`, the rest is read from the run."""
    student = student_of(folder, "optical")
    log, selection = read_training_log(student), selection_sentence(student)
    return write_model_card(student, student_card(recipe, record, rows=rows, training_log=log, selection=selection))


def selection_sentence(student: Path) -> list[str]:
    """Which weights the student has and why, where they were chosen."""
    file = student / SELECTION_FILE
    return [str(json.loads(file.read_text(encoding="utf-8"))["sentence"])] if file.is_file() else []


def read_training_log(student: Path) -> list[dict[str, Any]]:
    """The trainer's log history that lies beside a student; empty where there is none."""
    file = student / "training_log.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
