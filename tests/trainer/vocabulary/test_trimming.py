"""A vocabulary without the pieces of other languages: the same tokens, ids in the same order, the same vectors."""

import numpy as np
import pytest

from modeling_optical import OpticalModel, load_checkpoint
from trainer.vocabulary import VocabularyOptions, adapt_vocabulary, trim_tokenizer

SOURCES = ["the cat sat on the mat", "search works in English", "good vector, 12 times"]
TARGETS = ["paka mkeka", "utafutaji hufanya", "vekta nzuri mara 12"]
KINDS = ["bert", "xlm-roberta", "modernbert"]


@pytest.mark.parametrize("kind", KINDS)
def test_texts_inside_are_cut_as_before_and_give_the_same_vectors(backbones, tmp_path, kind):
    whole = OpticalModel.from_backbone(backbones[kind])
    trimmed = OpticalModel.from_backbone(backbones[kind])
    report, _ = adapt_vocabulary(trimmed, SOURCES, TARGETS, VocabularyOptions(mode="trim"))
    before, after = whole.get_processor().tokenizer, trimmed.get_processor().tokenizer
    assert report.size == len(after) <= len(before)
    assert report.tokens_per_word_after == report.tokens_per_word_before
    for text in (*SOURCES, *TARGETS):
        assert after.tokenize(text) == before.tokenize(text)
    for kind_of_text in ("query", "document"):
        pairs = zip(
            whole.encode([*SOURCES, *TARGETS], kind_of_text), trimmed.encode([*SOURCES, *TARGETS], kind_of_text), strict=True
        )
        for one, other in pairs:
            np.testing.assert_allclose(one, other, atol=1e-6)
    trimmed.save_pretrained(tmp_path)
    again = load_checkpoint(tmp_path)
    np.testing.assert_array_equal(again.encode_query(TARGETS[0]), trimmed.encode_query(TARGETS[0]))


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_keep_their_order_and_what_is_not_needed_goes(backbones, kind):
    old = OpticalModel.from_backbone(backbones[kind]).get_processor().tokenizer
    new = trim_tokenizer(old, ["cat"])
    assert len(new) < len(old)
    for name, token in old.special_tokens_map.items():
        assert new.special_tokens_map[name] == token
    order = [piece for piece in sorted(old.get_vocab(), key=old.get_vocab().get) if piece in new.get_vocab()]
    assert order == sorted(new.get_vocab(), key=new.get_vocab().get)
    assert new.tokenize("cat") == old.tokenize("cat")


def test_a_script_that_is_asked_for_stays_whole_and_one_that_is_not_there_is_told(backbones):
    old = OpticalModel.from_backbone(backbones["xlm-roberta"]).get_processor().tokenizer
    latin = trim_tokenizer(old, ["cat"], ["latin"])
    assert {p for p in old.get_vocab() if p.strip("▁").isascii() and p.strip("▁").isalpha()} <= set(latin.get_vocab())
    with pytest.raises(ValueError, match="no piece of the vocabulary is written in 'klingon'"):
        trim_tokenizer(old, ["cat"], ["klingon"])
    with pytest.raises(ValueError, match=r"vocabulary\.scripts is for"):
        VocabularyOptions(scripts=["latin"])
