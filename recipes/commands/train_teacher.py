"""`optical train-teacher`: a retriever from labelled queries, by a recipe."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .launch import launch
from .run import run_options

if TYPE_CHECKING:
    from ..runs.recipe.retrieval import RetrievalRecipe


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    train = commands.add_parser(
        "train-teacher",
        help="train a late-interaction retriever on labelled queries",
        description="Carries out a recipe: queries with relevant passages, hard negatives, a cross-encoder's scores. Started "
        "again, it goes on. See docs/teachers.md.",
    )
    train.add_argument("recipe", help="a YAML file, or one that is installed, such as recipes/optical/teacher.yaml")
    train.add_argument("overrides", nargs="*", metavar="key=value", help="any key of the recipe, such as seed=1")
    run_options(train)
    train.set_defaults(work=_train)


def _train(options: argparse.Namespace) -> int:
    from ..runs.recipe.retrieval import RetrievalRecipe

    return carry_out_training(RetrievalRecipe.load(options.recipe, options.overrides), options)


def carry_out_training(recipe: RetrievalRecipe, options: argparse.Namespace) -> int:
    """Runs the recipe here, or starts the processes that do."""
    from modeling_optical.files.atomic_write import write_text

    from ..runs.retrieval_run import RetrievalRun

    if options.num_processes > 1 and "LOCAL_RANK" not in os.environ:
        RetrievalRun.check_training(recipe)  # so that a wrong key fails once, before the processes start
        with tempfile.TemporaryDirectory() as scratch:
            resolved = write_text(Path(scratch) / "recipe.yaml", recipe.to_yaml())
            overwrite = ["--overwrite"] if options.overwrite else []
            return launch(["train-teacher", str(resolved), *overwrite], options.num_processes)
    RetrievalRun(recipe, overwrite=options.overwrite)()
    return 0
