"""Checks of the settings of a checkpoint and of its modules."""

from __future__ import annotations

from ..pretrained import SETTINGS_FILES, SHARD_INDEXES
from ..pretrained import check_settings as check_values
from .adapters import ADAPTER_FILE
from .files import CheckpointFiles


def check_settings(files: CheckpointFiles) -> None:
    """Checks all settings of a checkpoint as `modeling_optical.pretrained.check_settings` does, and its indexes of shards.

    Raises:
        ValueError: naming the file and the key.
    """
    if files.find(ADAPTER_FILE) is not None:
        raise ValueError(
            f"{files.name!r} has {ADAPTER_FILE} beside a whole model, and an adapter loads another model by name. Keep "
            "each in a separate folder."
        )
    for folder in dict.fromkeys(["", *(f"{path}/" for _, path in files.modules() if path)]):
        for name in SHARD_INDEXES:
            files.shards(f"{folder}{name}")
        for name in SETTINGS_FILES:
            check_values(files.name, f"{folder}{name}", files.json(f"{folder}{name}"))
