"""References against their own arithmetic: BM25 by hand, dense vectors by numpy, translation by a tiny Marian model."""

import math
from collections import Counter

import numpy as np
import pytest

from modeling_optical import load_checkpoint
from modeling_optical.encoding.words import words
from modeling_optical.evaluation import StreamedCorpus
from modeling_optical.evaluation.references import bm25, dense, translate

CORPUS = {
    "d1": "The cat sat on the mat",
    "d2": "A dog and a cat, and another cat",
    "d3": "Birds sing",
    "d4": "",
    "d5": "The cat sat on the mat",
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Paka, alikaa!", ["paka", "alikaa"]),
        ("खोज काम करती है।", ["खोज", "काम", "करती", "है"]),
        ("ምን አለ?", ["ምን", "አለ"]),
        ("Straße 12", ["strasse", "12"]),
        ("ng'ombe", ["ng", "ombe"]),
        ("东京塔 tower", ["东京", "京塔", "tower"]),
        ("水", ["水"]),
        ("abc东京", ["abc", "东京"]),
        ("— … !", []),
        ("E\u0301te\u0301", ["été"]),
    ],
    ids=[
        "Swahili",
        "Hindi keeps its vowel signs",
        "Amharic",
        "case",
        "apostrophe",
        "pairs",
        "one",
        "mixed",
        "none",
        "decomposed",
    ],
)
def test_words_are_those_of_the_script(text, expected):
    assert words(text) == expected


def by_hand(query: str, corpus: dict[str, str], k1: float = 0.9, b: float = 0.4) -> dict[str, float]:
    """Lucene's BM25 (Kamphuis et al., ECIR 2020), without its constant factor k1 + 1."""
    documents = {key: Counter(words(text)) for key, text in corpus.items()}
    average = np.mean([sum(counts.values()) for counts in documents.values()])
    scores = {}
    for key, counts in documents.items():
        score = 0.0
        for word in words(query):
            holding = sum(word in other for other in documents.values())
            idf = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
            norm = k1 * (1 - b + b * sum(counts.values()) / average)
            score += idf * counts[word] / (counts[word] + norm)
        if score > 0:
            scores[key] = score
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


@pytest.fixture
def bm25s():
    return pytest.importorskip("bm25s", reason="bm25s is not installed")


@pytest.mark.parametrize("query", ["cat", "the cat", "cat cat dog", "birds that sing", "mat sat"])
def test_bm25_is_that_of_the_formula(bm25s, query):
    found = bm25({"q": query}, CORPUS)["q"]
    expected = by_hand(query, CORPUS)
    assert list(found) == list(expected)
    assert list(found.values()) == pytest.approx(list(expected.values()), rel=1e-5)


def test_bm25_of_a_streamed_corpus_is_the_same(bm25s):
    streamed = StreamedCorpus(lambda: ((key, key, text) for key, text in CORPUS.items()), "corpus")
    assert bm25({"q": "cat dog"}, streamed) == bm25({"q": "cat dog"}, CORPUS)


def test_bm25_gives_k_documents_and_nothing_for_unknown_words(bm25s):
    assert list(bm25({"q": "cat"}, CORPUS, k=2)["q"]) == ["d2", "d1"]
    assert bm25({"q": "paka", "r": ""}, CORPUS) == {"q": {}, "r": {}}
    assert bm25({"q": "cat"}, {"d": ""}) == {"q": {}}


def test_a_stemmer_joins_the_forms_of_a_word(bm25s):
    pytest.importorskip("Stemmer", reason="PyStemmer is not installed")
    assert list(bm25({"q": "cats"}, CORPUS, stemmer="english")["q"]) == ["d2", "d1", "d5"]
    with pytest.raises(ValueError, match=r"no stemmer 'klingon'\. It has: .*english"):
        bm25({"q": "cats"}, CORPUS, stemmer="klingon")


def test_dense_retrieval_is_the_dot_product_of_unit_means(bert):
    model = load_checkpoint(bert)
    queries = {"q": "the dog barked", "r": "search fails in Somali"}
    found = dense(model, queries, model, CORPUS, k=3)

    def mean(vectors) -> np.ndarray:
        pooled = np.asarray(vectors, dtype=np.float32).mean(0)
        return pooled / np.linalg.norm(pooled)

    documents = {key: mean(v) for key, v in zip(CORPUS, model.encode_document(list(CORPUS.values())), strict=True)}
    for key, vectors in zip(queries, model.encode_query(list(queries.values())), strict=True):
        expected = {name: float(mean(vectors) @ vector) for name, vector in documents.items()}
        best = sorted(expected, key=lambda name: -round(expected[name], 5))[:3]
        assert list(found[key]) == best
        assert list(found[key].values()) == pytest.approx([expected[name] for name in best], abs=1e-5)


def test_dense_retrieval_in_blocks_is_the_same(bert):
    model = load_checkpoint(bert)
    corpus = {key: text for key, text in CORPUS.items() if key != "d5"}  # the same text as d1: a tie up to rounding
    whole, parts = (dense(model, {"q": "the cat"}, model, corpus, block=block) for block in (100, 2))
    assert list(whole["q"]) == list(parts["q"])
    assert list(whole["q"].values()) == pytest.approx(list(parts["q"].values()), abs=1e-5)


def test_translations_come_in_the_order_of_the_texts(marian):
    texts = ["paka alikaa kwenye mkeka", "mbwa", "paka"]
    together = translate(texts, marian, batch_size=2, beams=2)
    assert together == [translate([text], marian, beams=2)[0] for text in texts]
    assert all(isinstance(text, str) for text in together)


def test_a_model_of_many_languages_needs_their_codes():
    from modeling_optical.evaluation.references import _languages

    class Tokenizer:
        unk_token_id = 3
        src_lang = ""

        def convert_tokens_to_ids(self, token: str) -> int:
            return {"swh_Latn": 10, "eng_Latn": 11}.get(token, 3)

    tokenizer = Tokenizer()
    assert _languages(tokenizer, "nllb", "swh_Latn", "eng_Latn") == {"forced_bos_token_id": 11}
    assert tokenizer.src_lang == "swh_Latn"
    with pytest.raises(ValueError, match="nllb translates between many languages: give the codes"):
        _languages(tokenizer, "nllb", None, "eng_Latn")
    with pytest.raises(ValueError, match="does not know the language code 'xx'"):
        _languages(tokenizer, "nllb", "swh_Latn", "xx")
