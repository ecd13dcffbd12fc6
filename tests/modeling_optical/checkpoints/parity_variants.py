"""Tiny backbones for the parity tests, and the settings in which each format is compared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

HERE = Path(__file__).parent
TEXTS = HERE / "fixtures" / "texts.json"

# Which keys of which file differ from what the peer saved. None removes the key.
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "sentence-transformers": {
        "none": {"sentence_bert_config.json": {"query_length": 32}},
        "fixed": {
            "sentence_bert_config.json": {
                "query_expansion": {"strategy": "fixed", "attend": False, "token": None, "length": 32}
            },
            "config_sentence_transformers.json": {"prompts": {"query": "[unused0] ", "document": "[unused1] "}},
        },
        "fixed-attended": {
            "sentence_bert_config.json": {"query_expansion": {"strategy": "fixed", "attend": True, "token": None, "length": 24}}
        },
        "min": {
            "sentence_bert_config.json": {
                "query_expansion": {"strategy": "min", "attend": False, "token": None, "length": 16},
                "query_length": 30,
            },
            "config_sentence_transformers.json": {"prompts": {"query": "search for: ", "document": "passage: "}},
        },
    },
    "pylate": {
        "fixed": {},
        "fixed-attended": {"config_sentence_transformers.json": {"attend_to_expansion_tokens": True}},
        "none": {"config_sentence_transformers.json": {"do_query_expansion": False, "skiplist_words": []}},
        "old": {
            "config_sentence_transformers.json": {
                "document_length": None,
                "skiplist_words": None,
                "do_query_expansion": None,
                "attend_to_expansion_tokens": None,
                "model_type": None,
            }
        },
    },
    "stanford": {
        "fixed": {},
        "fixed-attended": {"artifact.metadata": {"attend_to_mask_tokens": True}},
        "unpunctuated": {"artifact.metadata": {"mask_punctuation": False}},
        "old": {
            "artifact.metadata": dict.fromkeys(
                ("query_token_id", "doc_token_id", "attend_to_mask_tokens", "mask_punctuation", "similarity", "doc_maxlen")
            )
        },
    },
}


def vary(source: Path, target: Path, changes: dict[str, dict[str, Any]]) -> Path:
    """A copy of a checkpoint with some settings changed."""
    shutil.copytree(source, target)
    for name, values in changes.items():
        place = target / name
        settings = json.loads(place.read_text(encoding="utf-8"))
        settings |= {key: value for key, value in values.items() if value is not None}
        for key in (key for key, value in values.items() if value is None):
            settings.pop(key, None)
        place.write_text(json.dumps(settings), encoding="utf-8")
    return target


def save_five_script_bert(folder: Path) -> Path:
    """A one-layer BERT whose WordPiece vocabulary spells Latin, Cyrillic, Arabic, Devanagari and Han."""
    texts = json.loads(TEXTS.read_text(encoding="utf-8"))
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    # Emoji stay unknown, as in most vocabularies; an even choice of words keeps some texts in pieces.
    words = sorted(
        {w for kind in texts.values() for t in kind for w, _ in splitter.pre_tokenize_str(normalizer.normalize_str(t))}
    )
    characters = sorted({c for w in words for c in w if ord(c) < 0x1F000})
    special = ["[PAD]", "[unused0]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = dict.fromkeys([*special, *characters, *(f"##{c}" for c in characters if c.isalnum()), *words[::3]])
    pieces = [p for p in pieces if not any(ord(c) >= 0x1F000 for c in p)]
    backend = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer, backend.decoder = normalizer, splitter, decoders.WordPiece()
    ids = [(token, backend.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ids)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=256,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = BertConfig(vocab_size=len(tokenizer), max_position_embeddings=256, initializer_range=0.5, **sizes)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # A class name that transformers 4 knows, too.
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder
