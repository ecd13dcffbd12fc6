"""Indexes of token vectors: one protocol, one file per engine."""

from .engines import ENGINES, new_index, open_index
from .exact import ExactIndex
from .index import Index, recall_against_exact
from .lance import LanceIndex
from .manifest import IndexManifest
from .qdrant import QdrantIndex
from .two_stage import TwoStageIndex

__all__ = [
    "ENGINES",
    "ExactIndex",
    "Index",
    "IndexManifest",
    "LanceIndex",
    "QdrantIndex",
    "TwoStageIndex",
    "new_index",
    "open_index",
    "recall_against_exact",
]
