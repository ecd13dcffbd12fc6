"""Checkpoints that can be trusted: complete on every process before they count, with a checksum for every file."""

from __future__ import annotations

import json
import os
from pathlib import Path

from torch import nn
from transformers import Trainer

from modeling_optical.files.atomic_write import write_text
from modeling_optical.files.fingerprint import file_checksum

_FILE = "checksums.json"


def write_checksums(folder: str | os.PathLike) -> None:
    """Writes `checksums.json`: the SHA-256 of every file in a checkpoint's folder."""
    found = {
        path.relative_to(folder).as_posix(): file_checksum(path)
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and path.name != _FILE
    }
    write_text(Path(folder, _FILE), json.dumps(found, indent=1) + "\n")


def damaged_files(folder: str | os.PathLike) -> list[str]:
    """Names of the files of a checkpoint that are missing or differ from their checksums.

    Empty for a checkpoint without checksums (of another trainer), which cannot be checked.
    """
    place = Path(folder, _FILE)
    if not place.is_file():
        return []
    try:
        written = dict(json.loads(place.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        return [_FILE]
    return [name for name, sha256 in written.items() if not _matches(Path(folder, name), sha256)]


def _matches(path: Path, sha256: str) -> bool:
    return path.is_file() and file_checksum(path) == sha256


class CheckedCheckpoints(Trainer):
    """A `Trainer` whose checkpoints have checksums, which are verified before training resumes from one."""

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        # The trainer's state, which marks a whole checkpoint, comes next: every process must have written its part by then.
        self.accelerator.wait_for_everyone()

    def _save_checkpoint(self, model: nn.Module, trial: object = None) -> None:
        super()._save_checkpoint(model, trial)
        folder = Path(self._get_output_dir(trial), f"checkpoint-{self.state.global_step}")
        if self.args.should_save and folder.is_dir():
            write_checksums(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        damaged = damaged_files(resume_from_checkpoint)
        if damaged:
            raise ValueError(
                f"the checkpoint {resume_from_checkpoint} is damaged: {', '.join(damaged)} differs from what was written. "
                "Resume from an earlier checkpoint, or start afresh."
            )
        super()._load_from_checkpoint(resume_from_checkpoint, model)
