"""Indexes of token vectors: one protocol, one file per engine."""

from .exact import ExactIndex
from .index import Index, IndexManifest, recall_against_exact

__all__ = ["ExactIndex", "Index", "IndexManifest", "recall_against_exact"]
