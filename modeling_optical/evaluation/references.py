"""What a student has to be measured against: BM25, mean-pooled dense vectors of the same encoder, query translation.

Each gives a run as `retrieve` does, so that one command measures all (`optical evaluate --reference …`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from transformers.utils import logging

from ..modeling_optical import OpticalModel
from .collections import Corpus
from .retrieval import BLOCK, TopK, blocks

logger = logging.get_logger(__name__)

REFERENCES = ("bm25", "dense", "translation")

# Anserini's defaults, those of published baselines on MIRACL, CIRAL and AfriCLIRMatrix.
_K1, _B = 0.9, 0.4
# Model types whose tokenizers take language codes: NLLB and M2M100 are one.
_MANY_LANGUAGES = ("m2m_100", "nllb-moe", "mbart")
# Written without spaces between words.
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"


@cache
def _patterns() -> tuple[Any, Any]:
    import regex  # transformers depends on it

    return regex.compile(r"[\p{L}\p{M}\p{N}]+"), regex.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|[^{_UNSPACED}]+")


def words(text: str) -> list[str]:
    """The words of a text for BM25, in lower case: runs of letters, marks and digits of any script.

    Scripts without spaces (Han, Kana, Thai, Lao, Khmer, Burmese) give overlapping pairs of characters, as Lucene's CJK analyser
    does. (`\\w` of Python would split Hindi words at their vowel signs.)
    """
    word, script = _patterns()
    found: list[str] = []
    for run in word.findall(text.casefold()):
        for part in script.finditer(run):
            piece = part.group()
            if part.lastgroup == "unspaced" and len(piece) > 2:
                found += [piece[i : i + 2] for i in range(len(piece) - 1)]
            else:
                found.append(piece)
    return found


def check_bm25(stemmer: str | None = None) -> None:
    """Fails at once where `bm25` would: before anything else is computed.

    Raises:
        ImportError: if a library is missing; says how to install it.
        ValueError: for a stemmer that PyStemmer does not have.
    """
    try:
        import bm25s  # noqa: F401
    except ImportError as error:
        raise ImportError('BM25 needs bm25s: pip install "modeling-optical[bm25]"') from error
    _stemmer(stemmer)


def bm25(
    queries: Mapping[str, str], corpus: Corpus, *, k: int = 100, stemmer: str | None = None
) -> dict[str, dict[str, float]]:
    """BM25 by the bm25s library (Lucene's variant, k1 0.9, b 0.4), without stop words.

    Args:
        queries: query id to text.
        corpus: what is searched; its words are held in memory as numbers, its texts are not.
        k: documents per query; those without a word of the query are left out.
        stemmer: a Snowball stemmer's name (`english`, `finnish` …), by the library PyStemmer; none by default.

    Raises:
        ImportError: if a library is missing; says how to install it.
        ValueError: for a stemmer that PyStemmer does not have.
    """
    check_bm25(stemmer)
    import bm25s
    from bm25s.tokenization import Tokenized

    stem = _stemmer(stemmer)
    vocabulary: dict[str, int] = {}
    names: list[str] = []
    numbers: list[np.ndarray] = []
    for part in blocks(corpus, BLOCK):
        for identifier, text in part:
            names.append(identifier)
            found = [vocabulary.setdefault(word, len(vocabulary)) for word in stem(words(text))]
            numbers.append(np.array(found, dtype=np.int32))
    if not vocabulary:
        return {query: {} for query in queries}
    index = bm25s.BM25(method="lucene", k1=_K1, b=_B)
    index.index(Tokenized(ids=numbers, vocab=vocabulary), create_empty_token=False, show_progress=False)
    return {query: _best(index, stem(words(text)), vocabulary, names, k) for query, text in queries.items()}


def _best(index: Any, asked: list[str], vocabulary: Mapping[str, int], names: Sequence[str], k: int) -> dict[str, float]:
    known = [vocabulary[word] for word in asked if word in vocabulary]
    if not known:
        return {}
    scores = index.get_scores_from_ids(known)
    order = np.argsort(-scores, kind="stable")[:k]  # ties go to the earlier document
    return {names[position]: float(scores[position]) for position in order if scores[position] > 0}


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
    """One vector per text: the mean of the encoder's unit token vectors, of unit length, compared by the dot product.

    Args:
        queries_model, documents_model: the encoders that MaxSim is measured with.
        queries: query id to text.
        corpus: what is searched, block by block.
        k: documents per query.
        batch_size: texts per batch.
        block: documents encoded at a time.
    """
    asked = pooled(queries_model.encode_query(list(queries.values()), batch_size=batch_size))
    kept = TopK(len(queries), k)
    for part in blocks(corpus, block):
        found = pooled(documents_model.encode_document([text for _, text in part], batch_size=batch_size))
        scores, positions = (asked @ found.T).sort(dim=1, descending=True, stable=True)
        kept.add([identifier for identifier, _ in part], scores[:, :k], positions[:, :k])
    return kept.run(queries)


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
