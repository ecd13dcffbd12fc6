"""Reference systems for a student: BM25, mean-pooled dense vectors of the same encoder, query translation.

Each gives a run as `retrieve` does, so that one command measures all (`optical evaluate --reference …`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers.utils import logging

from ..encoding.words import WordIndex, words
from ..encoding.words import check_bm25 as check_package
from ..modeling_optical import OpticalModel
from .collections import Corpus
from .retrieval import BLOCK, TopK, blocks

__all__ = ["REFERENCES", "bm25", "check_bm25", "dense", "pooled", "translate", "words"]

logger = logging.get_logger(__name__)

REFERENCES = ("bm25", "dense", "translation")

# Model types whose tokenizers take language codes: NLLB and M2M100 are one.
_MANY_LANGUAGES = ("m2m_100", "nllb-moe", "mbart")


def check_bm25(stemmer: str | None = None) -> None:
    """Fails at once where `bm25` would: before anything else is computed.

    Raises:
        ImportError: if a library is missing; says how to install it.
        ValueError: for a stemmer that PyStemmer does not have.
    """
    check_package()
    _stemmer(stemmer)


def bm25(
    queries: Mapping[str, str], corpus: Corpus, *, k: int = 100, stemmer: str | None = None
) -> dict[str, dict[str, float]]:
    """BM25 by the bm25s library (Lucene's variant, k1 0.9, b 0.4), without stop words.

    Args:
        queries: query id to text.
        corpus: the documents; memory holds their words as numbers, not their texts.
        k: documents per query; those without a word of the query are left out.
        stemmer: a Snowball stemmer's name (`english`, `finnish` …), by the library PyStemmer; none by default.

    Raises:
        ImportError: if a library is missing; says how to install it.
        ValueError: for a stemmer that PyStemmer does not have.
    """
    names: list[str] = []

    def texts() -> Iterator[str]:
        for part in blocks(corpus, BLOCK):
            for identifier, text in part:
                names.append(identifier)
                yield text

    index = WordIndex(texts(), _stemmer(stemmer))
    return {query: {names[p]: score for p, score in index.best(text, k)} for query, text in queries.items()}


def _stemmer(name: str | None) -> Any:
    if name is None:
        return lambda found: found
    try:
        import Stemmer
    except ImportError as error:
        raise ImportError("stemming needs PyStemmer: pip install PyStemmer") from error
    if name not in Stemmer.algorithms():
        raise ValueError(f"PyStemmer has no stemmer {name!r}. It has: {', '.join(Stemmer.algorithms())}.")
    return Stemmer.Stemmer(name).stemWords


def dense(
    queries_model: OpticalModel,
    queries: Mapping[str, str],
    documents_model: OpticalModel,
    corpus: Corpus,
    *,
    k: int = 100,
    batch_size: int = 32,
    block: int = BLOCK,
) -> dict[str, dict[str, float]]:
    """One vector per text, of unit length, compared by the dot product.

    A model with a pooling (`config.pooling_mode`: a sentence encoder) gives its pooled vectors, any other model the mean of its
    unit token vectors.

    Args:
        queries_model, documents_model: the encoders that MaxSim is measured with.
        queries: query id to text.
        corpus: the documents, read block by block.
        k: documents per query.
        batch_size: texts per batch.
        block: documents encoded at a time.
    """
    asked = _vectors(queries_model, list(queries.values()), "query", batch_size)
    kept = TopK(len(queries), k)
    for part in blocks(corpus, block):
        found = _vectors(documents_model, [text for _, text in part], "document", batch_size)
        scores, positions = (asked @ found.T).sort(dim=1, descending=True, stable=True)
        kept.add([identifier for identifier, _ in part], scores[:, :k], positions[:, :k])
    return kept.run(queries)


def _vectors(model: OpticalModel, texts: Sequence[str], kind: str, batch_size: int) -> torch.Tensor:
    if model.config.pooled_dim is None:
        return pooled(model.encode(texts, kind, batch_size=batch_size))
    return model.encode_pooled(texts, kind, batch_size=batch_size, normalize_embeddings=True)


def pooled(vectors: Sequence[Any]) -> torch.Tensor:
    """Means of arrays (tokens, dim), of unit length: (texts, dim) float32; a text without tokens is 0."""
    means = [torch.as_tensor(array).float().sum(0) for array in vectors]
    return torch.nn.functional.normalize(torch.stack(means), dim=1)


def translate(
    texts: Sequence[str],
    model: str | os.PathLike,
    *,
    source: str | None = None,
    target: str | None = None,
    revision: str | None = None,
    batch_size: int = 16,
    beams: int = 4,
    max_new_tokens: int = 128,
    device: str = "cpu",
) -> list[str]:
    """Translates by a Marian, NLLB or M2M100 model.

    Args:
        texts: what to translate.
        model: folder or Hub id.
        source, target: the tokenizer's language codes (NLLB: `swh_Latn`, `eng_Latn`; M2M100: `sw`, `en`); a Marian model of one
            pair needs none.
        revision: of the Hub model.
        batch_size: texts per batch, sorted by length.
        beams: of the beam search.
        max_new_tokens: longest translation, at most what the model has positions for; longer texts are cut to that.
        device: where it is computed.

    Raises:
        ValueError: if the model needs language codes and has none, or does not know them.
    """
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=False)
    translator = AutoModelForSeq2SeqLM.from_pretrained(model, revision=revision, trust_remote_code=False).to(device).eval()
    several = translator.config.model_type in _MANY_LANGUAGES
    forced = _languages(tokenizer, model, source, target) if several else {}
    positions = translator.config.max_position_embeddings
    longest = min(max_new_tokens, positions - 1)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    translated = [""] * len(texts)
    for start in logging.tqdm(range(0, len(order), batch_size), desc="Translating", unit="batch"):
        chosen = order[start : start + batch_size]
        asked = [texts[i] for i in chosen]
        batch = tokenizer(asked, return_tensors="pt", padding=True, truncation=True, max_length=positions).to(device)
        with torch.inference_mode():
            produced = translator.generate(**batch, num_beams=beams, do_sample=False, max_new_tokens=longest, **forced)
        for index, text in zip(chosen, tokenizer.batch_decode(produced, skip_special_tokens=True), strict=True):
            translated[index] = text.strip()
    if empty := sum(not text for text in translated):
        logger.warning(f"{empty} of {len(texts)} translations are empty.")
    return translated


def _languages(tokenizer: Any, model: Any, source: str | None, target: str | None) -> dict[str, int]:
    """Sets the source language and gives what makes `generate` begin in the target language."""
    if source is None or target is None:
        raise ValueError(
            f"{model} translates between many languages: give the codes of its tokenizer for source and target, for instance "
            "swh_Latn and eng_Latn for NLLB."
        )
    tokens = {}
    for code in (source, target):
        known = [t for t in (code, f"__{code}__") if tokenizer.convert_tokens_to_ids(t) not in (None, tokenizer.unk_token_id)]
        if not known:
            raise ValueError(f"{model} does not know the language code {code!r}.")
        tokens[code] = tokenizer.convert_tokens_to_ids(known[0])
    tokenizer.src_lang = source
    return {"forced_bos_token_id": tokens[target]}
