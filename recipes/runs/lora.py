"""`student.lora`: low-rank adapters instead of all weights."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedModel
from transformers.utils import is_peft_available

from ..checked_yaml import unknown_key


def check_lora(options: dict[str, Any] | None) -> None:
    """Rejects options that PEFT does not know, before anything is computed.

    Raises:
        ImportError: without PEFT. ValueError: for an unknown key, which names the nearest.
    """
    if options is None:
        return
    if not is_peft_available():
        raise ImportError("student.lora trains an adapter with PEFT: pip install 'modeling-optical[peft]'.")
    from peft import LoraConfig

    known = [name for name in LoraConfig.__dataclass_fields__ if name not in ("peft_type", "auto_mapping")]
    for key in options:
        if key not in known:
            raise ValueError(unknown_key(f"student.lora.{key}", key, known))
    LoraConfig(**options)


def with_lora(student: PreTrainedModel, options: dict[str, Any] | None) -> Any:
    """The student with an adapter that is trained instead of its weights; the student itself for None."""
    if options is None:
        return student
    from peft import LoraConfig, get_peft_model

    return get_peft_model(student, LoraConfig(**options))
