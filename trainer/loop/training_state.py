"""State of the training beside the student's: written into checkpoints, never into the student's files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import nn

from modeling_optical.files.atomic_write import save_tensors


def save_modules(folder: str | os.PathLike, modules: Mapping[str, nn.Module]) -> None:
    """Writes the weights of each module into its file."""
    for name, module in modules.items():
        save_tensors(Path(folder, name), {k: v.detach().cpu().contiguous().clone() for k, v in module.state_dict().items()})


def load_modules(folder: str | os.PathLike, modules: Mapping[str, nn.Module]) -> None:
    """Reads what `save_modules` has written.

    Raises:
        FileNotFoundError: if a file is not there.
    """
    for name, module in modules.items():
        path = Path(folder, name)
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder} lacks {name}: it is of a run with other objectives or another transport.plan_from. Resume with the "
                "same settings, or start afresh in another output_dir."
            )
        module.load_state_dict(load_file(path))
