"""Hashes: of what vectors come from (two models with one fingerprint give the same vectors), and of files."""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import torch

from ..text_encoding import TextEncoder

_CHANGE_NO_VECTOR = (
    "_name_or_path",
    "transformers_version",
    "architectures",
    "auto_map",
    "transport",
    "teacher",
    "teacher_fingerprint",
    "dtype",
)


def file_checksum(path: str | os.PathLike) -> str:
    """SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_of_weights(model: Any) -> hashlib._Hash:
    """SHA-256 of a model's weights: names, shapes, types and values. More can be added to it."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest


def _tokenizer_settings(tokenizer: Any) -> dict[str, Any]:
    """All that the ids of a text depend on."""
    if not tokenizer.is_fast:
        return {
            "class": type(tokenizer).__name__,
            "vocabulary": tokenizer.get_vocab(),
            "added": [str(token) for token in tokenizer.added_tokens_decoder.values()],
        }
    settings: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    # Padding and truncation are what the last call left there, not a property of the model.
    return settings | {"padding": None, "truncation": None}


def model_fingerprint(model: TextEncoder, use: str) -> str:
    """Hash of everything that a vector depends on: weights, settings, tokenizer, and how they are used.

    Args:
        model: the model, with its processor.
        use: what else the vectors depend on, for instance `"document"` or `"query:64"`.

    Returns:
        64 hexadecimal digits.
    """
    digest = digest_of_weights(model) if model.kept_digest is None else model.kept_digest.copy()
    settings = model.config.to_diff_dict()
    for key in _CHANGE_NO_VECTOR:
        settings.pop(key, None)
    digest.update(json.dumps(settings, sort_keys=True, default=str).encode())
    tokenizer = _tokenizer_settings(model.get_processor().tokenizer)
    digest.update(json.dumps(tokenizer, sort_keys=True).encode())
    digest.update(use.encode())
    return digest.hexdigest()
