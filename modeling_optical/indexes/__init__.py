"""Indexes of token vectors: one protocol, one file per engine."""

from .engines import ENGINES, new_index, open_index
from .exact import ExactIndex
from .index import Index, IndexManifest, recall_against_exact

__all__ = ["ENGINES", "ExactIndex", "Index", "IndexManifest", "new_index", "open_index", "recall_against_exact"]
