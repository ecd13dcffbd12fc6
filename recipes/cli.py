"""The console script `optical`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# Heavy imports stand inside the commands: `optical --help` answers at once.
if TYPE_CHECKING:
    from .recipe import Recipe

_DESCRIPTION = """\
Teach an English retriever another language, from bitext.

  optical run recipes/quickstart/swahili.yaml     a whole run: distil, evaluate, write card and results
  optical distill --teacher … --bitext …          the same without a recipe file
  optical evaluate --queries-model … …            measure a query encoder on a collection
  optical doctor                                  versions, devices, what is missing
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; a mistake of the user's is one message and exit status 2, never a stack trace."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    try:
        return options.work(options)
    except KeyboardInterrupt:
        print("\noptical: interrupted. Start the same command again to go on where it stopped.", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError, KeyError, TypeError, RuntimeError) as error:
        if options.debug:
            raise
        if os.environ.get("RANK", "0") != "0":
            return 2  # the first process says it
        print(f"optical: {_sentence(error)}", file=sys.stderr)
        print("(--debug shows where in the code)", file=sys.stderr)
        return 2


def _sentence(error: BaseException) -> str:
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if isinstance(error, (TypeError, RuntimeError, KeyError)):
        return f"{type(error).__name__}: {text}"
    return text or type(error).__name__


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="optical", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--debug", action="store_true", help="show stack traces")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    run = commands.add_parser("run", help="carry out a recipe", description="Carries out a recipe; started again, it goes on.")
    run.add_argument("recipe", help="a YAML file, or one that is installed, such as recipes/quickstart/swahili.yaml")
    run.add_argument("overrides", nargs="*", metavar="key=value", help="any key of the recipe, such as language=so")
    _run_options(run)
    run.set_defaults(work=_run)

    distill = commands.add_parser(
        "distill",
        help="distil a teacher into a student, without a recipe file",
        description="Distils a teacher into a student. --bitext takes a JSONL or TSV file, or two files with a line each.",
    )
    distill.add_argument("--teacher", required=True, help="folder, Hub id or package:NAME/PATH of the teacher")
    distill.add_argument(
        "--bitext", required=True, nargs="+", metavar="FILE", help="one file, or two (teacher's language first)"
    )
    distill.add_argument("--source", default="en", help="field or column of the teacher's language (default: en)")
    distill.add_argument("--target", required=True, help="field or column of your language, for instance sw")
    distill.add_argument("--language", help="code of your language (default: --target)")
    distill.add_argument("--student", default="teacher", help="backbone to start from (default: a copy of the teacher)")
    distill.add_argument("--vocabulary", type=int, default=8000, help="pieces of the new vocabulary, 0 keeps the old (8000)")
    distill.add_argument("--collection", action="append", default=[], help="test collection in BEIR's layout; may be repeated")
    distill.add_argument("--output", required=True, help="folder of the run")
    distill.add_argument(
        "overrides", nargs="*", metavar="key=value", help="any key of a recipe, such as training.max_steps=1000"
    )
    _run_options(distill)
    distill.set_defaults(work=_distill)

    evaluate = commands.add_parser(
        "evaluate",
        help="measure a query encoder and a document encoder on a collection",
        description="Encodes, searches exactly, and writes results.json and a TREC run file.",
    )
    evaluate.add_argument("--queries-model", required=True, help="encodes the queries: folder, Hub id or package:NAME/PATH")
    evaluate.add_argument("--documents-model", help="encodes the documents (default: the queries' model)")
    evaluate.add_argument("--collection", required=True, help="folder in BEIR's layout, or Hub id")
    evaluate.add_argument("--language", default="en", help="which queries (default: en)")
    evaluate.add_argument("--split", default="test", help="which judgements (default: test)")
    evaluate.add_argument("--system", help="name of the system in the results (default: name of the queries' model)")
    evaluate.add_argument("--metrics", nargs="+", help="names as ir_measures writes them")
    evaluate.add_argument("--batch-size", type=int, default=32)
    evaluate.add_argument("--output", required=True, help="folder for results.json and the run file")
    evaluate.set_defaults(work=_evaluate)

    doctor = commands.add_parser("doctor", help="versions, devices, what is missing and how to install it")
    doctor.set_defaults(work=_doctor)
    return parser


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--overwrite", action="store_true", help="start afresh if the output folder holds another run")
    parser.add_argument("--num-processes", type=int, default=1, help="processes (GPUs, or CPU processes where there is none)")


def _run(options: argparse.Namespace) -> int:
    from .recipe import load_recipe

    return _carry_out(load_recipe(options.recipe, options.overrides), options)


def _distill(options: argparse.Namespace) -> int:
    from .recipe import resolve_recipe

    # `--bitext FILE key=value`: what has an equals sign and is no file is an override.
    overrides = [*options.overrides, *(f for f in options.bitext if "=" in f and not Path(f).exists())]
    options.bitext = [f for f in options.bitext if f not in overrides]

    def column(name: str) -> str | int:
        return int(name) if name.isdigit() else name

    language = options.language or options.target
    if language.isdigit():
        raise ValueError("--target is a column number, so the language is not known: give --language, for instance sw.")
    if len(options.bitext) > 2:
        raise ValueError(f"--bitext takes one file or two, not {len(options.bitext)}.")
    files = [str(Path(f).expanduser().resolve()) for f in options.bitext]
    source = {
        "path": files if len(files) == 2 else files[0],
        "source": column(options.source),
        "target": column(options.target),
        "language": language,
    }
    values = {
        "name": "distilled",
        "language": language,
        "output": str(Path(options.output).expanduser().resolve()),
        "teacher": {"model": options.teacher},
        "student": {
            "start": options.student,
            "vocabulary": {"size": options.vocabulary} if options.vocabulary else None,
        },
        "data": {"bitext": [source], "held_out": 0.1, "max_held_out": 500},
        "objectives": {"transport": 1.0, "pooled_mse": 1.0},
        "training": {"num_train_epochs": 1},
        "evaluation": {"collections": [{"path": path} for path in options.collection]},
    }
    return _carry_out(resolve_recipe(values, overrides), options)


def _carry_out(recipe: Recipe, options: argparse.Namespace) -> int:
    from .pipeline import Run, check_training

    if options.num_processes > 1 and "LOCAL_RANK" not in os.environ:
        check_training(recipe)  # a slip is told once, before the processes start
        return _launch(recipe, options.num_processes, options.overwrite)
    Run(recipe, overwrite=options.overwrite)()
    return 0


def _launch(recipe: Recipe, processes: int, overwrite: bool) -> int:
    """Starts `recipes/run.py` on several processes with accelerate's launcher.

    `--multi_gpu` is what makes the launcher start more than one process, on CPUs too: with `--cpu` it silently starts one.
    """
    import torch

    from modeling_optical.atomic_write import write_text

    environment = dict(os.environ)
    devices = torch.cuda.device_count()
    if devices == 0:
        environment |= {
            "ACCELERATE_USE_CPU": "true",
            "OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // processes, 1)),
        }
    elif processes > devices:
        raise ValueError(f"--num-processes {processes}: there are {devices} GPUs. Use at most {devices}.")
    script = Path(__file__).resolve().parent / "run.py"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1"]
    command += ["--num_processes", str(processes), "--mixed_precision", "no", "--dynamo_backend", "no"]
    with tempfile.TemporaryDirectory() as scratch:
        resolved = write_text(Path(scratch) / "recipe.yaml", recipe.to_yaml())
        command += [str(script), str(resolved), *(["--overwrite"] if overwrite else [])]
        return subprocess.run(command, env=environment, check=False).returncode


def _evaluate(options: argparse.Namespace) -> int:
    from modeling_optical import load_checkpoint
    from modeling_optical.evaluation import (
        METRICS,
        encode_documents,
        format_table,
        load_collection,
        per_query,
        result_rows,
        retrieve,
        write_qrels,
        write_results,
        write_run,
    )

    collection = load_collection(options.collection, options.language, split=options.split)
    queries_model = load_checkpoint(options.queries_model)
    documents_model = queries_model
    if options.documents_model not in (None, options.queries_model):
        documents_model = load_checkpoint(options.documents_model)
    for model in {id(m): m for m in (queries_model, documents_model)}.values():
        model.to(_device())
    documents = encode_documents(documents_model, collection.corpus, batch_size=options.batch_size)
    found = retrieve(queries_model, collection.queries, documents, batch_size=options.batch_size)
    system = options.system or Path(options.queries_model.rstrip("/")).name
    rows = result_rows(
        system,
        options.language,
        collection.name,
        per_query(collection.qrels, found, options.metrics or METRICS),
    )
    output = Path(options.output).expanduser()
    write_run(output / f"{collection.name}.{options.language}.trec", found, system)
    write_qrels(output / f"{collection.name}.{options.language}.qrels", collection.qrels)
    write_results(output / "results.json", rows)
    print(format_table(rows, options.metrics or METRICS))
    print(f"results: {output / 'results.json'}")
    return 0


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _doctor(options: argparse.Namespace) -> int:
    from .doctor import examine

    return examine()


if __name__ == "__main__":
    sys.exit(main())
