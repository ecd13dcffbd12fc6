"""Words of any script, and the stored BM25 index."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from safetensors.numpy import save_file

from modeling_optical.encoding.words import WordIndex, words

ALPHABET = "aÉßğİन्दीée\u0301漢字かなภา \u200c-.9"


@given(some.text(some.sampled_from(ALPHABET) | some.characters(codec="utf-8"), max_size=30))
def test_normal_form_and_case_do_not_change_words(text):
    assert words(unicodedata.normalize("NFC", text)) == words(unicodedata.normalize("NFD", text)) == words(text)
    assert all(word and not any(character.isspace() for character in word) for word in words(text))


@given(some.lists(some.text(ALPHABET, max_size=12), max_size=8), some.text(ALPHABET, max_size=12), some.integers(1, 9))
def test_a_stored_word_index_answers_as_the_one_it_was(tmp_path_factory, texts, query, count):
    pytest.importorskip("bm25s")
    index = WordIndex(texts)
    path = tmp_path_factory.mktemp("words") / "bm25.safetensors"
    save_file(index.tensors(), path)
    found = WordIndex.load(path, len(texts)).best(query, count)
    assert found == index.best(query, count)
    sharing = [n for n, text in enumerate(texts) if set(words(text)) & set(words(query))]
    assert {number for number, _ in index.best(query, 9)} == set(sharing)


def test_a_stored_word_index_that_points_outside_is_refused(tmp_path):
    pytest.importorskip("bm25s")
    tensors = WordIndex(["the cat", "a dog", "the dog"]).tensors()
    harm = {
        "indices": {"indices": tensors["indices"] + 1_000_000},
        "negative": {"indices": tensors["indices"] - 5},
        "ends": {"indptr": tensors["indptr"][::-1].copy()},
        "longer": {"indptr": tensors["indptr"] + 9},
        "shape": {"data": tensors["data"].reshape(1, -1)},
        "type": {"indices": tensors["indices"].astype(np.float32)},
        "words": {"words": np.frombuffer(b"\xff\n\n\n", np.uint8)},
    }
    for changed in harm.values():
        save_file(tensors | changed, tmp_path / "x.safetensors")
        with pytest.raises(ValueError, match="damaged"):
            WordIndex.load(tmp_path / "x.safetensors", 3)
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="outside"):
        WordIndex.load(tmp_path / "x.safetensors", 2)
