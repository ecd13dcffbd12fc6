"""`export_checkpoint`: a student in another package's format."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..files.atomic_write import replacing_folder
from ..modeling_optical import OpticalModel
from . import onnx
from .adapters import refuse_adapter
from .faithfulness import Change, check_changes
from .formats import pylate, sentence_transformers, stanford

EXPORT_FORMATS = ("sentence-transformers", "pylate", "stanford", "onnx")
_BACKBONE_FOLDER = "0_Transformer"


def export_checkpoint(
    model: OpticalModel, folder: str | os.PathLike, checkpoint_format: str, *, nearest: bool = False, overwrite: bool = False
) -> list[Change]:
    """Writes a model in another package's format. The folder appears whole or not at all.

    Args:
        model: the model, with its processor.
        folder: where to.
        checkpoint_format: one of `EXPORT_FORMATS`.
        nearest: whether settings that the format cannot say may become the nearest that it can; else they are an error.
        overwrite: whether a folder that is there is replaced.

    Returns:
        The settings that changed; empty if every vector stays as it is.

    Raises:
        ValueError: for an unknown format, a setting that the format cannot say, a marker that cannot be a prompt, or an adapter
            that is not merged.
        FileExistsError: if the folder is there.
    """
    if checkpoint_format not in EXPORT_FORMATS:
        raise ValueError(f"checkpoint_format is {checkpoint_format!r}; allowed: {', '.join(EXPORT_FORMATS)}.")
    folder = Path(folder)
    if folder.exists() and not overwrite and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already: choose another folder, or replace it with --overwrite.")
    changes: list[Change] = []
    if checkpoint_format == "onnx":
        with replacing_folder(folder) as scratch:
            onnx.write(model, scratch)
        return changes
    refuse_adapter(model)
    module = {"sentence-transformers": sentence_transformers, "pylate": pylate, "stanford": stanford}[checkpoint_format]
    changes = module.changes(model)
    check_changes(checkpoint_format, changes, nearest=nearest)
    with replacing_folder(folder) as scratch:
        module.write(model, scratch)
    return changes


def add_sentence_transformers(model: OpticalModel, folder: str | os.PathLike, *, nearest: bool = False) -> list[Change]:
    """Puts sentence-transformers' files beside ours, so that one folder loads with both.

    The backbone is there twice, in our `model.safetensors` and in `0_Transformer`, because both packages want the root's
    `config.json` to be theirs.

    Args:
        model: the model that the folder holds.
        folder: as `save_pretrained` wrote it.
        nearest: as for `export_checkpoint`.

    Raises:
        FileNotFoundError: if the folder holds no model of ours. ValueError: as for `export_checkpoint`.
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"{folder} has no config.json: give a folder that save_pretrained wrote.")
    refuse_adapter(model)
    changes = sentence_transformers.changes(model)
    check_changes("sentence-transformers", changes, nearest=nearest)
    with replacing_folder(folder) as scratch:
        shutil.copytree(folder, scratch, dirs_exist_ok=True)
        sentence_transformers.write(model, scratch, backbone_folder=_BACKBONE_FOLDER)
    return changes


def folder_bytes(folder: str | os.PathLike) -> int:
    """Size of all files in a folder."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
