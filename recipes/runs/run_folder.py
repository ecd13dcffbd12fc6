"""The folder of a run: whose it is, where training resumes, and how a full disk is reported."""

from __future__ import annotations

import errno
import json
import os
import shutil
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from safetensors import SafetensorError
from transformers import TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import logging

from modeling_optical.files.atomic_write import sweep_scratch, tells_of_space, write_text
from modeling_optical.files.bounded_yaml import parse_yaml
from modeling_optical.files.lock import LOCK_FILE, locked
from trainer.loop.checked_checkpoints import damaged_files
from trainer.loop.launcher_environment import check_number_of_processes

from ..checked_yaml import check_type, unknown_key

logger = logging.get_logger(__name__)

RECORD = "recipe.yaml"
"""The resolved recipe of a run, in its folder."""
RUN_RECORD = "run.json"
"""The provenance of a run; see `provenance`."""
RECORD_HEAD = "# The recipe of this run, resolved. Written by modeling-optical.\n"
# What may lie in the folder before the run: its lock, and what a study notes of the run.
_BESIDE = (LOCK_FILE, "log.txt", "cell.json")
_FULL_DISK = 5_000_000  # bytes
_SECRETS = ("hub_token", "push_to_hub_token")


def student_of(run: Path, system: str) -> Path:
    """Where a run leaves the student of a system; `start`: before training; `prealigned`: before training on bitext."""
    own = {"optical": "student", "start": "start", "prealigned": "prealigned"}
    return run / own.get(system, f"baselines/{system}")


def process_state() -> PartialState:
    """Which of how many processes this is.

    Without `cpu=True`, processes that were launched without a GPU would each believe to be the only one.

    Raises:
        ValueError: if a launcher was asked for several processes, and each is alone.
    """
    state = PartialState(cpu=not torch.cuda.is_available() and not torch.backends.mps.is_available())
    check_number_of_processes(state.num_processes, os.environ)
    return state


def claim_folder(folder: Path, recipe: str, *, begun: bool, overwrite: bool, written: Sequence[str]) -> None:
    """Records the recipe in its folder, or rejects a folder with other content.

    Args:
        folder: of the run.
        recipe: as YAML.
        begun: whether the run there has made anything; if not, another recipe may replace it.
        overwrite: remove what the run there has written.
        written: names of what a run writes; nothing else is removed.

    Raises:
        ValueError: if the folder holds other files, or a run of another recipe (the message names the keys that differ).
    """
    check_claim(folder, recipe, begun=begun, overwrite=overwrite)
    if overwrite and folder.exists():
        for name in written:
            if (folder / name).is_dir():
                shutil.rmtree(folder / name, ignore_errors=True)
            else:
                (folder / name).unlink(missing_ok=True)
    for name in (RECORD, *written):
        sweep_scratch(folder / name)  # what a killed run had begun to write
    write_text(folder / RECORD, RECORD_HEAD + recipe)


def check_claim(folder: Path, recipe: str, *, begun: bool, overwrite: bool) -> None:
    """Rejects a folder that `claim_folder` would reject; arguments and errors as there."""
    check_own_folder(folder)
    record = folder / RECORD
    if overwrite or not begun or not record.is_file():
        return
    there = parse_yaml(record.read_text(encoding="utf-8"), f"{record} is not a YAML file")
    if differing := differing_keys(there, parse_yaml(recipe, "the recipe is not YAML")):
        raise ValueError(
            f"{folder} holds a run of another recipe (different: {', '.join(differing[:6])}). Choose another folder with "
            "output=FOLDER (distill: --output), or start afresh with --overwrite."
        )


@contextmanager
def holding(folder: Path) -> Iterator[None]:
    """Holds the folder of a run: no other process runs in it.

    Raises:
        TimeoutError: if another process does. OSError: if the folder cannot be written.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder, timeout=0))
        except TimeoutError:
            raise
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else error
            raise OSError(f"the output folder {folder} cannot be written: {reason}. Choose another folder.") from error
        yield


def is_run(folder: Path) -> bool:
    """Whether a run of this package has claimed a folder."""
    record = folder / RECORD
    return record.is_file() and record.read_text(encoding="utf-8", errors="replace").startswith(RECORD_HEAD)


def check_own_folder(folder: Path) -> None:
    """Rejects a folder in which a run would overwrite other files.

    Raises:
        ValueError: if the folder is neither empty nor a run's.
    """
    if folder.is_file():
        raise ValueError(f"{folder} is a file; a run needs a folder. Choose another with output=FOLDER (distill: --output).")
    if not folder.is_dir() or is_run(folder):
        return
    others = sorted(
        path.name for path in folder.iterdir() if path.name not in _BESIDE and not path.name.startswith(f".{RECORD}-")
    )
    if others:
        raise ValueError(
            f"{folder} is not empty and holds no run ({', '.join(others[:5])}{' …' if len(others) > 5 else ''}). A run would "
            "write over these files: choose another folder with output=FOLDER (distill: --output)."
        )


def is_finished(folder: Path, recipe: Mapping[str, Any], files: Callable[[], dict[str, str]], students: Iterable[Path]) -> bool:
    """Whether a run of this recipe and these data has come to its end in a folder.

    Args:
        folder: of the run.
        recipe: as plain values.
        files: gives name to fingerprint of the files of training data; only called for a run that has ended.
        students: folders of the models that it trains.
    """
    record = read_record(folder)
    # The report is what a run writes last.
    if record is None or not (folder / "report.md").is_file():
        return False
    if differing_keys(record["recipe"], json.loads(json.dumps(recipe))):
        return False
    if not all((student / "config.json").is_file() for student in students):
        return False
    try:
        return record["files"] == files()
    except FileNotFoundError:
        return False  # the run goes on to say which


def read_record(folder: Path) -> dict[str, Any] | None:
    """`run.json` of a run; None where it has not come that far."""
    file = folder / RUN_RECORD
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Writes `run.json`."""
    write_text(folder / RUN_RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def differing_keys(there: Any, here: Any, where: str = "") -> list[str]:
    """Dotted keys at which two recipes as plain values differ.

    Left out is what no result depends on: where a run writes to (`output`), its `name`, and every `license`.
    """
    if isinstance(there, dict) and isinstance(here, dict):
        keys = [key for key in {**there, **here} if key != "license" and (where or key not in ("output", "name"))]
        return [
            d for key in keys for d in differing_keys(there.get(key), here.get(key), f"{where}.{key}" if where else str(key))
        ]
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = enumerate(zip(there, here, strict=True))
        return [where] if any(differing_keys(one, other, f"{where}.{place}") for place, (one, other) in pairs) else []
    return [] if there == here else [where]


def last_complete_checkpoint(folder: Path, state: PartialState) -> str | None:
    """The latest complete checkpoint; all processes call this together, and the first one looks.

    Incomplete checkpoints (the trainer state is written last) and damaged ones are renamed, with the reason in the name.

    Args:
        folder: of the checkpoints.
        state: which of how many processes this is.
    """
    if state.is_main_process:
        while (last := _last_checkpoint(folder)) is not None:
            try:
                json.loads((last / "trainer_state.json").read_text(encoding="utf-8"))
            except (OSError, ValueError):
                logger.warning(f"checkpoint {last} was not written to its end and is set aside.")
                _set_aside(last, "incomplete")
                continue
            damaged = damaged_files(last)
            if not damaged:
                break
            logger.warning(f"checkpoint {last} is damaged ({', '.join(damaged)} differs from what was written): set aside.")
            _set_aside(last, "damaged")
    state.wait_for_everyone()
    found = _last_checkpoint(folder)
    return None if found is None else str(found)


def checkpoints_of(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the oldest first, without the renamed ones."""
    found = folder.glob("checkpoint-*") if folder.is_dir() else ()
    return sorted(found, key=lambda checkpoint: int(checkpoint.name.rpartition("-")[2]))


def _last_checkpoint(folder: Path) -> Path | None:
    last = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    return None if last is None else Path(last)


def _set_aside(checkpoint: Path, reason: str) -> None:
    """Renames a checkpoint; an older one with that name is deleted."""
    place = checkpoint.with_name(f"{reason}-{checkpoint.name}")
    shutil.rmtree(place, ignore_errors=True)
    checkpoint.rename(place)


def check_arguments(kind: type[TrainingArguments], training: Mapping[str, Any], where: str) -> None:
    """Checks names and plain types of training arguments.

    Args:
        kind: their class.
        training: the values.
        where: the recipe's key that holds them, for messages.

    Raises:
        ValueError: naming the key, and the nearest known one.
    """
    known = kind.__dataclass_fields__
    hints = typing.get_type_hints(kind)
    owned = {"output_dir": "output", "objectives": "objectives", "seed": "seed"}
    for key in training:
        if key in _SECRETS and training[key] is not None:
            raise ValueError(
                f"`{where}.{key}` would be written to the run's files and to the model card. Leave it out, and log in with "
                "`hf auth login` or set the environment variable HF_TOKEN."
            )
        if key in owned:
            raise ValueError(f"`{where}.{key}` is set by the recipe's own key `{owned[key]}`.")
        if key not in known:
            raise ValueError(unknown_key(f"{where}.{key}", key, [k for k in known if not k.startswith("_")]))
        kinds = set(typing.get_args(hints[key])) or {hints[key]}
        if kinds <= {int, float, bool, type(None)}:
            check_type(hints[key], training[key], f"{where}.{key}")
    _check_report_to(training.get("report_to") or "none", f"{where}.report_to")


def _check_report_to(names: str | list[str], where: str) -> None:
    """Rejects a logger that is not known or not installed, before hours of encoding.

    Raises:
        ValueError, ImportError: naming the key and the remedy.
    """
    names = [names] if isinstance(names, str) else names
    for name in names:
        if name in ("none", "all"):
            continue
        if name not in INTEGRATION_TO_CALLBACK:
            raise ValueError(f"{where} is {name!r}; allowed: {', '.join(sorted(INTEGRATION_TO_CALLBACK))}, none and all.")
        if name not in get_available_reporting_integrations():
            raise ImportError(f"{where} names {name}, which is not installed: pip install {name.replace('_', '-')}")


@contextmanager
def telling_a_full_disk(folder: Path) -> Iterator[None]:
    """Turns what a full disk raises, wherever it does, into a sentence with the folder and the remedy.

    Raises:
        OSError: if the disk is full, or a weights file cannot be read or written.
    """
    try:
        yield
    except Exception as error:  # tokenizers raises no other
        writing = isinstance(error, (OSError, RuntimeError, SafetensorError))
        place = next(p for p in (folder, *folder.absolute().parents) if p.exists())
        free = shutil.disk_usage(place).free
        if tells_of_space(error) or (writing and free < _FULL_DISK):
            raise OSError(
                errno.ENOSPC,
                f"the disk of {folder} is full ({free / 1e6:.0f} MB free, or your quota is used up): {error}. Free some space, "
                "or choose another output folder; then start the same command again.",
            ) from error
        if isinstance(error, SafetensorError):
            raise OSError(f"a weights file in {folder} could not be read or written: {error}") from error
        raise
