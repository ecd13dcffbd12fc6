"""A tiny world to try a study in: a random teacher, languages that are English in cipher, collections. It takes a second.

The figures that come of it mean nothing; every step of a study runs as on real data.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from modeling_optical import OpticalModel
from modeling_optical.files.atomic_write import write_text
from modeling_optical.files.json_files import write_json_lines

_TEXT = """river stone bird morning teacher window market bread garden winter letter bridge doctor summer mountain kitchen
paper forest village horse silver island mirror candle thunder basket copper engine feather harbour ladder meadow
needle ocean pepper quarry ribbon saddle temple umbrella valley whistle yellow anchor blanket castle desert evening
fountain"""
_WORDS = _TEXT.split()
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_PAIRS, _DOCUMENTS, _QUERIES = 60, 24, 24


def write_synthetic_data(folder: Path, languages: Sequence[str]) -> None:
    """Writes it, as `teacher`, `bitext` and `collections` in the folder."""
    _write_teacher(folder / "teacher")
    generator = random.Random(0)
    write_bitext(folder / "bitext" / "tiny", languages, _PAIRS, generator)
    _write_collection(folder / "collections" / "tiny", languages, generator)


def write_bitext(folder: Path, languages: Sequence[str], pairs: int, generator: random.Random) -> None:
    """Sentences and their translations, a file for each language."""
    for number, code in enumerate(languages):
        texts = [sentence(generator) for _ in range(pairs)]
        write_json_lines(folder / f"{code}.jsonl", [{"en": text, code: cipher(text, number)} for text in texts])


def cipher(text: str, shift: int) -> str:
    """The text in the language of that number: every word backwards, behind a letter of the language."""
    letter = chr(ord("a") + shift % 26)
    return " ".join(letter + word[::-1] for word in text.split())


def sentence(generator: random.Random) -> str:
    """Four to eight words of the made-up world."""
    return " ".join(generator.sample(_WORDS, generator.randint(4, 8)))


def _write_collection(folder: Path, languages: Sequence[str], generator: random.Random) -> None:
    documents = [sentence(generator) for _ in range(_DOCUMENTS)]
    write_json_lines(folder / "corpus.jsonl", [{"_id": f"d{i}", "text": text} for i, text in enumerate(documents)])
    asked = [" ".join(documents[i % _DOCUMENTS].split()[:3]) for i in range(_QUERIES)]
    for number, code in [(None, "en"), *enumerate(languages)]:
        texts = asked if number is None else [cipher(text, number) for text in asked]
        write_json_lines(folder / f"queries.{code}.jsonl", [{"_id": f"q{i}", "text": text} for i, text in enumerate(texts)])
    lines = [f"q{i}\td{i % _DOCUMENTS}\t1" for i in range(_QUERIES)]
    write_text(folder / "qrels.tsv", "\n".join(["query-id\tcorpus-id\tscore", *lines]) + "\n")


@contextmanager
def seeded() -> Iterator[None]:
    """Random weights that are the same every time; the generator of the caller is as it was afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def _write_teacher(folder: Path) -> None:
    backbone = folder.with_name("backbone")
    write_backbone(backbone)
    with seeded():
        teacher = OpticalModel.from_backbone(str(backbone), embedding_dim=16)
    teacher.save_pretrained(folder)


def write_backbone(folder: Path) -> None:
    """A tiny random BERT that spells every Latin text by letters."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    pieces = dict.fromkeys([*_SPECIAL, *letters, *(f"##{letter}" for letter in letters), *_WORDS])
    backend = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    ends = [(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=64, **dict(zip(names, _SPECIAL, strict=True))
    )
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    with seeded():
        backbone = BertModel(BertConfig(vocab_size=len(pieces), max_position_embeddings=64, **sizes))
    backbone.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
