"""Options that all commands that encode texts share."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from modeling_optical import OpticalRetriever


def add_precision_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--precision`."""
    parser.add_argument(
        "--precision",
        choices=("auto", "bf16", "fp16", "fp32"),
        default="auto",
        help="what the models encode in (auto: bf16 where this machine has it; `optical doctor` shows which)",
    )


def add_backend_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--backend`."""
    parser.add_argument(
        "--backend",
        choices=("torch", "onnx", "onnx-int8", "openvino", "auto"),
        default="torch",
        help="what runs them (torch); auto measures once which is the fastest here",
    )


def add_encoder_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--precision` and `--backend`."""
    add_precision_option(parser)
    add_backend_option(parser)


def add_rival_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--rival`."""
    parser.add_argument(
        "--rival",
        nargs="+",
        action="extend",
        default=[],
        metavar="[NAME=]MODEL",
        help="a model that one could use instead, measured beside the student; or NAME='{model: …, query_prompt: …}' "
        "(docs/evaluation.md)",
    )


def encoder_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """For `load_checkpoint`, from the command line."""
    return {"precision": options.precision, "backend": options.backend}


def say_who_reads(retriever: OpticalRetriever, model: str | None) -> None:
    """Says which model reads the queries, where the command line names none; on stderr, beside the results."""
    if model is not None:
        return
    from modeling_optical.files.lines import printable

    reader = printable(retriever.current.encoder.name)
    said = f"No --model: the queries are read by {reader}, the model that made this index."
    if retriever.query_model.config.teacher is None:
        said += " It was not distilled for another language. For queries in yours, name its student: --model STUDENT."
    print(said, file=sys.stderr, flush=True)


def say_who_encodes(config: Any, model: str) -> None:
    """Says, on stderr, that a student encodes documents, which its teacher does unless it was trained to."""
    from modeling_optical.files.lines import printable

    if config.teacher is not None:
        print(
            f"Note: {printable(model)} is a student, and encodes the documents here. Unless it was trained to (`kind: "
            f"document` in its bitext), its teacher should: {printable(config.teacher)}.",
            file=sys.stderr,
            flush=True,
        )


def device() -> str:
    """Where the models run."""
    from modeling_optical.precision import fastest_device

    return fastest_device()
