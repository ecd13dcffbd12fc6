"""`optical distill`: a run without a recipe file."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from .card import set_licences
from .encoders import add_rival_option
from .run import carry_out, dry_run_option, run_options

MULTILINGUAL_PIECES = 60_000
"""Vocabularies of one language are smaller, those of XLM-R, mBERT and their like are larger."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    distill = commands.add_parser(
        "distill",
        help="distil a teacher into a student, without a recipe file",
        description="Distils a teacher into a student. --bitext: a file (JSONL, TSV, CSV, TMX, zip) or two with a line each.",
    )
    distill.add_argument("--teacher", required=True, help="folder, Hub id or package:NAME/PATH of the teacher")
    distill.add_argument(
        "--bitext", required=True, nargs="+", metavar="FILE", help="one file, or two (teacher's language first)"
    )
    distill.add_argument("--source", default="en", help="field or column of the teacher's language (default: en)")
    distill.add_argument("--target", required=True, help="field or column of your language, for instance sw")
    distill.add_argument("--language", help="code of your language (default: --target)")
    distill.add_argument("--student", default="teacher", help="backbone to start from (default: a copy of the teacher)")
    distill.add_argument(
        "--vocabulary",
        type=int,
        help="pieces of the new vocabulary, 0 keeps the old (default: 8000; 0 where the old one is multilingual)",
    )
    distill.add_argument("--collection", action="append", default=[], help="test collection in BEIR's layout; may be repeated")
    add_rival_option(distill)
    distill.add_argument("--license", help="licence of the student, for instance apache-2.0 (`optical card` can add it later)")
    distill.add_argument("--bitext-license", nargs=1, metavar="LICENCE", help="licence of the bitext, for the card")
    distill.add_argument("--name", help="what the student is called (default: the folder of the run)")
    distill.add_argument("--output", required=True, help="folder of the run")
    distill.add_argument(
        "overrides", nargs="*", metavar="key=value", help="any key of a recipe, such as training.max_steps=1000"
    )
    run_options(distill)
    dry_run_option(distill)
    distill.set_defaults(work=_distill)


def _distill(options: argparse.Namespace) -> int:
    from ..runs.recipe.distillation import Recipe
    from ..runs.recipe.evaluation import named_rivals
    from .adapt_vocabulary import column

    # `--bitext FILE key=value`: a word with an equals sign that is not a file is an override.
    overrides = [*options.overrides, *(f for f in options.bitext if "=" in f and not Path(f).exists())]
    options.bitext = [f for f in options.bitext if f not in overrides]

    language = options.language or options.target
    if language.isdigit():
        raise ValueError("--target is a column number, so the language is not known: give --language, for instance sw.")
    if len(options.bitext) > 2:
        raise ValueError(f"--bitext takes one file or two, not {len(options.bitext)}.")
    if options.source == options.target and len(options.bitext) == 1:
        raise ValueError(f"--source and --target are both {options.source}: name the column of the other language.")
    files = [str(Path(f).expanduser().resolve()) for f in options.bitext]
    source = {
        "path": files if len(files) == 2 else files[0],
        "source": column(options.source),
        "target": column(options.target),
        "language": language,
    }
    start = options.teacher if options.student == "teacher" else options.student
    multilingual = vocabulary_size(start) >= MULTILINGUAL_PIECES
    pieces = options.vocabulary if options.vocabulary is not None else 0 if multilingual else 8000
    values = {
        "name": options.name or Path(options.output).expanduser().resolve().name,
        "language": language,
        "output": str(Path(options.output).expanduser().resolve()),
        "teacher": {"model": options.teacher},
        "student": {
            "start": options.student,
            "vocabulary": {"size": pieces, "keep_pieces": True} if pieces else None,
        },
        "data": {"bitext": [source], "held_out": 0.1, "max_held_out": 500},
        # What won for each kind of start (docs/choosing.md).
        "objectives": {"pooled_mse" if multilingual and not pieces else "transport": 1.0, "contrastive": 1.0},
        "training": {
            "num_train_epochs": 1,
            "train_sampling_strategy": "group_by_length",
            "topics": 64,
            # The pieces of a multilingual encoder have their places; bitext shows it few of them.
            **({"learning_rate": 1e-4, "embedding_learning_rate": 0} if multilingual and not pieces else {}),
        },
        # A start may retrieve better than a student of unknown bitext: the best weights are kept (docs/objectives.md).
        "selection": {},
        "evaluation": {
            "collections": [{"path": path} for path in options.collection],
            "references": ["structured_queries"] if options.collection else [],
            "rivals": {name: asdict(rival) for name, rival in named_rivals(options.rival).items()},
        },
    }
    recipe = Recipe.of(values, overrides)
    set_licences(recipe, options)
    return carry_out(recipe, options)


def vocabulary_size(model: str) -> int:
    """Pieces of a model's vocabulary.

    Raises:
        OSError: if there is no such model; names it.
    """
    from transformers import AutoTokenizer

    from modeling_optical.checkpoints import resolve_model_path
    from modeling_optical.checkpoints.files import CheckpointFiles
    from modeling_optical.checkpoints.loading import detect_format

    path = resolve_model_path(model)
    detect_format(CheckpointFiles(model, path, {}))  # names a model that is none
    return len(AutoTokenizer.from_pretrained(path))
