"""The keys of every recipe of a run, and how a recipe names a model."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from transformers import TrainingArguments

from modeling_optical.precision import check_precision

from ...checked_yaml import build, fill_in_names, override, read_values, write_values


@dataclass
class RunRecipe:
    """A whole run.

    Args:
        name: short name.
        language: code of the language. `{language}` in any text stands for it.
        output: folder of the run.
        seed: of everything random.
        precision: of teacher vectors, training and evaluation: `auto` (bf16 where the device has it, else fp32), `bf16`, `fp16`
            or `fp32`; `training.precision` names another one for the training.
        paths: names for folders that differ from machine to machine; `{paths.NAME}` in any text stands for one.
        training: arguments of the trainer.
    """

    other_kinds: ClassVar[dict[str, str]] = {}
    """Key that another kind of file has, and what that file is."""

    name: str = ""
    language: str = ""
    output: str = "runs/{name}-{language}"
    seed: int = 0
    precision: str = "auto"
    paths: dict[str, str | None] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict, metadata={"arguments": TrainingArguments})

    @classmethod
    def load(cls, path: str | Path, overrides: Sequence[str] = ()) -> Self:
        """Reads a recipe, applies `key=value` overrides, checks every key and value.

        Raises:
            ValueError: naming file and key, with the nearest known key for an unknown one.
        """
        values, file = read_values(path, overrides)
        for key, other in cls.other_kinds.items():
            if key in values:
                raise ValueError(f"{file} is {other.format(path=path)}.")
        try:
            return cls.resolve(values, file.parent)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from None

    @classmethod
    def of(cls, values: dict[str, Any], overrides: Sequence[str] = ()) -> Self:
        """A checked recipe from plain values and `key=value` overrides; files are looked up in the working folder."""
        for item in overrides:
            override(values, item)
        return cls.resolve(values, Path.cwd())

    @classmethod
    def resolve(cls, values: Mapping[str, Any], folder: Path) -> Self:
        """A checked recipe from plain values; files are looked up in `folder` first, then in the working folder.

        Raises:
            ValueError: naming the key.
        """
        recipe = build(cls, values, "")
        if not recipe.language:
            raise ValueError("`language` is not set: give the language's code, for instance language=sw.")
        check_precision(recipe.precision)
        recipe = fill_in_names(recipe)
        recipe.check()
        recipe.locate(folder)
        return recipe

    def check(self) -> None:
        """Checks what the parts cannot check alone.

        Raises:
            ValueError: naming the key.
        """

    def locate(self, folder: Path) -> None:
        """Makes names of files that lie in `folder` paths, in place."""

    @property
    def trainings(self) -> dict[str, dict[str, Any]]:
        """Key in the recipe to the training arguments of every system that is trained."""
        return {"training": self.training}

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain values."""
        return dataclasses.asdict(self)

    def to_yaml(self) -> str:
        """The recipe as YAML."""
        return write_values(self.to_dict())


# What Windows allows in no file name, and the names of its devices.
_NO_FOLDER = re.compile(r'[<>:"/\\|?*\x00-\x1f]|[. ]$|^$')
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{port}{number}" for port in ("COM", "LPT") for number in range(10))}


def check_names(baselines: Mapping[str, Any]) -> None:
    """Rejects names that no folder may have on some system, or that a folder or a table could not tell apart: macOS and
    Windows do not tell `A` from `a`.

    Raises:
        ValueError: naming the name, and the one that it is too like.
    """
    taken = {name: name for name in ("floor", "start", "prealigned", "optical", "ceiling")}
    for name in baselines:
        if _NO_FOLDER.search(name) or name.split(".")[0].upper() in _DEVICES:
            raise ValueError(
                f"baselines.{name}: not every system takes this as a folder's name. Use letters, digits, `-` and `_`."
            )
        if (other := taken.get(name.casefold())) is not None:
            raise ValueError(f"baselines.{name}: there is a system {other!r} already. Choose a name with other letters.")
        taken[name.casefold()] = name


@dataclass
class CheckpointRecipe:
    """How a model is read.

    Args:
        revision: of the Hub repository.
        checkpoint_format: `sentence-transformers`, `pylate`, `stanford` …, where the files should not decide.
        adapter_language: which adapters an X-MOD backbone uses, for instance `sw_KE`.
        trust_remote_code: whether Python code that the model brings may run.
    """

    revision: str | None = None
    checkpoint_format: str | None = None
    adapter_language: str | None = None
    trust_remote_code: bool = False

    def load_arguments(self) -> dict[str, Any]:
        """Arguments of `load_checkpoint`."""
        arguments = {
            "revision": self.revision,
            "checkpoint_format": self.checkpoint_format,
            "language": self.adapter_language,
            "trust_remote_code": self.trust_remote_code or None,
        }
        return {key: value for key, value in arguments.items() if value is not None}


def beside(folder: Path, name: str) -> str:
    """A file or folder of that name in `folder` where there is one, else the name with `~` resolved: a path, or a Hub id."""
    path = os.path.expanduser(name)
    return str(folder / name) if not os.path.isabs(path) and (folder / name).exists() else path
