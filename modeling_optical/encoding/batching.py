"""Streams in lists of a bounded length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

_T = TypeVar("_T")


def batched(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Lists of `size` items, the last one with the rest; nothing is read ahead. (`itertools.batched` from Python 3.12 on.)

    Raises:
        ValueError: for a size below 1.
    """
    if size < 1:
        raise ValueError(f"size is {size}; it must be at least 1.")
    stream = iter(items)
    while batch := list(islice(stream, size)):
        yield batch
