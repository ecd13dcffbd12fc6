"""Loads retrievers in other packages' formats, and exports ours to them."""

from .exporting import EXPORT_FORMATS, add_sentence_transformers, export_checkpoint
from .faithfulness import Change
from .loading import FORMATS, load_checkpoint
from .names import resolve_model_path

__all__ = [
    "EXPORT_FORMATS",
    "FORMATS",
    "Change",
    "add_sentence_transformers",
    "export_checkpoint",
    "load_checkpoint",
    "resolve_model_path",
]
