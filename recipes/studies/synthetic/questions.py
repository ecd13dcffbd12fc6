"""A tiny world for studies of questions: bitext of two kinds, questions in Global-MMLU's layout, a causal model.

The figures that come of it mean nothing; every step of a study runs as on real data.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from .data import cipher, seeded, sentence, write_bitext

_SUBJECTS = ("virology", "nutrition", "philosophy", "astronomy")
_PAIRS, _QUESTIONS_OF_A_SUBJECT = 40, 6


def write_synthetic_questions(folder: Path, languages: Sequence[str]) -> None:
    """Writes it, as `mixed_bitext`, `questions` and `causal` in the folder."""
    generator = random.Random(1)
    for kind in ("domain", "general"):
        write_bitext(folder / "mixed_bitext" / kind, languages, _PAIRS, generator)
    for split in ("test", "dev"):
        _write_questions(folder / "questions", languages, split, generator)
    _write_causal(folder / "causal")


def _write_questions(folder: Path, languages: Sequence[str], split: str, generator: random.Random) -> None:
    rows = []
    for subject in _SUBJECTS:
        for number in range(_QUESTIONS_OF_A_SUBJECT):
            choices = [sentence(generator) for _ in range(4)]
            right = generator.randrange(4)
            row = {"sample_id": f"{subject}/{split}/{number}", "subject": subject, "answer": "ABCD"[right]}
            texts = {f"option_{letter}": choice for letter, choice in zip("abcd", choices, strict=True)}
            rows.append((row, {"question": " ".join(choices[right].split()[:1])} | texts))
    for shift, code in [(None, "en"), *enumerate(languages)]:
        own = [
            row | {key: text if shift is None else cipher(text, shift) for key, text in texts.items()} for row, texts in rows
        ]
        (folder / code).mkdir(parents=True, exist_ok=True)
        Dataset.from_list(own).to_parquet(folder / code / f"{split}-00000-of-00001.parquet")


def _write_causal(folder: Path) -> None:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=256).save_pretrained(folder)
    with seeded():
        model = GPT2LMHeadModel(GPT2Config(vocab_size=len(alphabet), n_positions=256, n_embd=16, n_layer=2, n_head=2))
    model.save_pretrained(folder)
