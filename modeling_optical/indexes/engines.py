"""Engines by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from inspect import signature
from typing import Any

from ..encoding.encoded_corpus import Encoder
from .exact import ExactIndex
from .index import Index
from .lance import LanceIndex
from .manifest import IndexManifest
from .qdrant import QdrantIndex
from .two_stage import TwoStageIndex

ENGINES: dict[str, type[Index]] = {e.engine: e for e in (ExactIndex, LanceIndex, QdrantIndex, TwoStageIndex)}


def new_index(path: str | os.PathLike, encoder: Encoder, engine: str = "exact", **settings: Any) -> Index:
    """An index that is still empty.

    Args:
        path: its folder.
        encoder: who makes the document vectors.
        engine: a name of `ENGINES`.
        **settings: arguments of the engine's class.

    Raises:
        ValueError: for an unknown engine, or a setting that it has not.
    """
    _check_settings(engine, _engine(engine), settings)
    return _engine(engine)(path, encoder, **settings)


def open_index(path: str | os.PathLike, **settings: Any) -> Index:
    """Opens an index folder with the engine that made it.

    Args:
        path: the folder.
        **settings: arguments of the engine's `load`.

    Raises:
        FileNotFoundError, ValueError: if the folder is not an index, is damaged, or was made by an unknown engine; also for a
            setting that the engine does not take when it is opened.
    """
    path = os.path.expanduser(path)
    engine = IndexManifest.read(path).engine
    _check_settings(engine, _engine(engine).load, settings)
    return _engine(engine).load(path, **settings)


def runs_on_devices(engine: str) -> bool:
    """Whether an engine takes the setting `device` when an index is opened.

    Raises:
        ValueError: for an unknown engine.
    """
    return "device" in signature(_engine(engine).load).parameters


def _check_settings(engine: str, taken_by: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    allowed = [name for name in signature(taken_by).parameters if name not in ("path", "encoder")]
    for name in settings:
        if name not in allowed:
            raise ValueError(f"the engine {engine} has no setting {name!r} here; settings: {', '.join(allowed) or 'none'}.")


def _engine(name: str) -> type[Index]:
    if name not in ENGINES:
        raise ValueError(f"there is no engine {name!r}; engines: {', '.join(ENGINES)}.")
    return ENGINES[name]
