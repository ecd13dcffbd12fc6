"""`optical run`: carries out a recipe, on one process or several."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from .launch import launch

if TYPE_CHECKING:
    from ..runs.recipe.distillation import Recipe


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser("run", help="carry out a recipe", description="Carries out a recipe; started again, it goes on.")
    run.add_argument("recipe", help="a YAML file, or one that is installed, such as recipes/quickstart/swahili.yaml")
    run.add_argument("overrides", nargs="*", metavar="key=value", help="any key of the recipe, such as language=so")
    run_options(run)
    dry_run_option(run)
    run.set_defaults(work=_run)


def run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="start afresh if the output folder holds another run")
    parser.add_argument("--num-processes", type=int, default=1, help="processes (GPUs, or CPU processes where there is none)")


def dry_run_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--dry-run`."""
    parser.add_argument(
        "--dry-run", action="store_true", help="read and check everything; say what the run would do, how long and how large"
    )


def _run(options: argparse.Namespace) -> int:
    from ..runs.recipe.distillation import Recipe

    return carry_out(Recipe.load(options.recipe, options.overrides), options)


def carry_out(recipe: Recipe, options: argparse.Namespace) -> int:
    from ..runs.distillation_run import Run
    from ..runs.dry_run import describe_run

    if options.dry_run:
        print(describe_run(recipe, overwrite=options.overwrite))
        return 0
    if options.num_processes > 1 and "LOCAL_RANK" not in os.environ:
        Run.check_training(recipe)  # so that a wrong key fails once, before the processes start
        return _launch(recipe, options.num_processes, options.overwrite)
    Run(recipe, overwrite=options.overwrite)()
    return 0


def _launch(recipe: Recipe, processes: int, overwrite: bool) -> int:
    from modeling_optical.files.atomic_write import write_text

    with tempfile.TemporaryDirectory() as scratch:
        resolved = write_text(Path(scratch) / "recipe.yaml", recipe.to_yaml())
        return launch(["run", str(resolved), *(["--overwrite"] if overwrite else [])], processes)
