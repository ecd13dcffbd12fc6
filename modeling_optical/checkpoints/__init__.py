"""Reading retrievers, whoever saved them."""

from .loading import load_checkpoint, resolve_model_path

__all__ = ["load_checkpoint", "resolve_model_path"]
