"""The provenance of a run: packages, data and machine."""

from __future__ import annotations

import platform
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from modeling_optical.files.fingerprint import file_checksum

from .recipe.data import DataRecipe

_PACKAGES = (
    "modeling-optical",
    "torch",
    "transformers",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "huggingface_hub",
    "ir_measures",
    "scipy",
    "numpy",
    "POT",
)


def package_versions() -> dict[str, str | None]:
    """Versions of the packages that a result may depend on; None for packages that are not installed."""
    versions: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def machine() -> dict[str, Any]:
    """The machine of a run."""
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }


def file_fingerprint(path: str | Path) -> str:
    """First 16 digits of a file's SHA-256."""
    return file_checksum(path)[:16]


def data_files(data: DataRecipe, others: Iterable[str] = ()) -> dict[str, str]:
    """Name to fingerprint of the files of bitext and annotations, and of other files that a run trains on."""
    paths = [path for source in data.bitext for path in source.files()]
    annotations = [] if data.annotations is None else [data.annotations.path]
    return file_fingerprints([*paths, *annotations, *others])


def file_fingerprints(paths: Iterable[str | Path]) -> dict[str, str]:
    """Name to fingerprint of files. A name is the end of the path: as much of it as no other of the files ends in."""
    parts = {path: path.parts for path in dict.fromkeys(map(Path, paths))}
    length = dict.fromkeys(parts, 1)
    while True:
        names = {path: "/".join(own[-length[path] :]) for path, own in parts.items()}
        count = Counter(names.values())
        longer = [path for path, name in names.items() if count[name] > 1 and length[path] < len(parts[path])]
        if not longer:
            return {name: file_fingerprint(path) for path, name in names.items()}
        for path in longer:
            length[path] += 1


def provenance(
    recipe: dict[str, Any],
    data: Mapping[str, Any],
    files: Mapping[str, str],
    seconds: Mapping[str, float],
    precision: str,
    processes: int = 1,
) -> dict[str, Any]:
    """The record that is saved with a result: recipe, data, versions, machine, time."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": recipe,
        "data": dict(data),
        "files": dict(files),
        "versions": package_versions(),
        "processes": processes,
        "precision": precision,
        "python": sys.version.split()[0],
        "machine": machine(),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }
