"""Engines by name."""

from __future__ import annotations

import os
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
        ValueError: for an unknown engine.
    """
    return _engine(engine)(path, encoder, **settings)


def open_index(path: str | os.PathLike, **settings: Any) -> Index:
    """Opens an index folder with the engine that made it.

    Args:
        path: the folder.
        **settings: arguments of the engine's `load`.

    Raises:
        FileNotFoundError, ValueError: if the folder is not an index, is damaged, or was made by an unknown engine.
    """
    path = os.path.expanduser(path)
    return _engine(IndexManifest.read(path).engine).load(path, **settings)


def _engine(name: str) -> type[Index]:
    if name not in ENGINES:
        raise ValueError(f"there is no engine {name!r}; engines: {', '.join(ENGINES)}.")
    return ENGINES[name]
