"""What all commands that encode texts are told about it."""

from __future__ import annotations

import argparse
from typing import Any


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
        choices=("torch", "onnx", "onnx-int8", "auto"),
        default="torch",
        help="what runs them (torch); auto measures once which is the fastest here",
    )


def add_encoder_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--precision` and `--backend`."""
    add_precision_option(parser)
    add_backend_option(parser)


def encoder_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """For `load_checkpoint`, from the command line."""
    return {"precision": options.precision, "backend": options.backend}


def device() -> str:
    """Where the models run."""
    from modeling_optical.precision import fastest_device

    return fastest_device()
