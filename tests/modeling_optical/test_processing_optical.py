"""Text to tensors: markers, expansion, skip lists and masks, over three kinds of tokenizers."""

import pytest
import torch
from transformers import AutoTokenizer

from modeling_optical import OpticalConfig, OpticalModel, OpticalProcessor
from modeling_optical.processing_optical import punctuation_token_ids

TEXT = "the cat sat on the mat"


def model(backbone: str, **config) -> OpticalModel:
    return OpticalModel.from_backbone(backbone, embedding_dim=8, **config)


def test_markers_stand_after_the_first_special_token_and_take_no_content(backbone):
    processor = model(backbone, query_marker="[Q]", document_marker="[D]").processor
    for kind, marker in (("query", "[Q]"), ("document", "[D]")):
        batch = processor(TEXT, kind)
        tokens = processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
        assert tokens[0] == processor.tokenizer.cls_token
        assert tokens[1] == marker
        assert tokens[-1] == processor.tokenizer.sep_token
        assert batch["content_mask"][0].tolist() == [False, False] + [True] * (len(tokens) - 3) + [False]
        assert bool(batch["token_mask"].all())


def test_a_marker_that_the_vocabulary_lacks_gets_a_row_of_its_own(backbone):
    plain, marked = model(backbone), model(backbone, query_marker="[Q]", document_marker="[D]")
    added = len(marked.processor.tokenizer) - len(plain.processor.tokenizer)
    assert added == 2
    assert marked.get_input_embeddings().num_embeddings >= len(marked.processor.tokenizer)
    assert marked.config.get_text_config().vocab_size == marked.get_input_embeddings().num_embeddings
    assert len(marked.encode_query([TEXT])[0]) == len(plain.encode_query([TEXT])[0]) + 1


def test_a_processor_without_the_marker_in_its_vocabulary_is_refused(bert):
    tokenizer = AutoTokenizer.from_pretrained(bert)
    with pytest.raises(ValueError, match=r"query_marker '\[Q\]' is not in the tokenizer's vocabulary"):
        OpticalProcessor(tokenizer, OpticalConfig(query_marker="[Q]"))


@pytest.mark.parametrize("attend", [False, True])
def test_min_expansion_pads_short_queries_with_mask_tokens_and_leaves_long_ones(backbone, attend):
    config = {"query_expansion": "min", "query_length": 16, "attend_to_expansion_tokens": attend}
    processor = model(backbone, **config).processor
    short = processor("the cat", "query")
    length = len(processor.tokenizer("the cat")["input_ids"])
    assert short["input_ids"].shape == (1, 16)
    assert (short["input_ids"][0, length:] == processor.tokenizer.mask_token_id).all()
    assert short["attention_mask"][0].tolist() == [1] * length + [int(attend)] * (16 - length)
    assert bool(short["token_mask"].all())
    assert not bool(short["content_mask"][0, length:].any())
    long = processor("the cat sat on the mat " * 4, "query")
    assert long["input_ids"].shape[1] > 16
    assert processor.tokenizer.mask_token_id not in long["input_ids"][0].tolist()


def test_fixed_expansion_gives_every_query_the_same_length_and_documents_none(backbone):
    processor = model(backbone, query_expansion="fixed", query_length=12).processor
    batch = processor(["the", "the cat sat on the mat and the dog barked in English"], "query")
    assert batch["input_ids"].shape == (2, 12)
    assert batch["attention_mask"].sum(1).tolist()[1] == 12
    assert processor("the", "document")["input_ids"].shape[1] < 12


def test_lengths_are_cut_with_the_last_special_token_kept(backbone):
    processor = model(backbone, query_length=8, document_length=10, query_marker="[Q]").processor
    for kind, length in (("query", 8), ("document", 10)):
        ids = processor("cat mat " * 40, kind)["input_ids"][0]
        assert len(ids) == length
        assert ids[-1] == processor.tokenizer.sep_token_id
    assert processor("cat mat " * 40, "query", max_length=20)["input_ids"].shape[1] == 20


def test_no_text_is_longer_than_the_backbone_takes(backbone):
    processor = model(backbone, document_length=100_000).processor
    instance = model(backbone, document_length=100_000)
    ids = processor("cat mat " * 500, "document")["input_ids"]
    assert ids.shape[1] <= 64
    assert len(instance.encode_document(["cat mat " * 500])[0]) == ids.shape[1]


def test_the_skip_list_holds_punctuation_of_any_script_and_not_the_bare_space_piece(backbone):
    tokenizer = model(backbone).processor.tokenizer
    found = {tokenizer.convert_tokens_to_string([t]).strip() for t in
             tokenizer.convert_ids_to_tokens(sorted(punctuation_token_ids(tokenizer)))}  # fmt: skip
    assert "," in found
    if any("。" in tokenizer.convert_tokens_to_string([p]) for p in tokenizer.get_vocab()):
        assert "。" in found
    vocabulary = tokenizer.get_vocab()
    if "▁" in vocabulary:
        assert vocabulary["▁"] not in punctuation_token_ids(tokenizer)
    assert not punctuation_token_ids(tokenizer) & set(tokenizer.all_special_ids)
    letters = {i for p, i in vocabulary.items() if any(c.isalpha() for c in tokenizer.convert_tokens_to_string([p]))}
    assert not punctuation_token_ids(tokenizer) & letters


def test_skipped_tokens_score_in_queries_but_not_in_documents(backbone):
    processor = model(backbone, skiplist="punctuation").processor
    comma = [
        i
        for i, t in enumerate(processor.tokenizer.convert_ids_to_tokens(processor("mat, and", "document")["input_ids"][0]))
        if "," in t
    ]
    assert comma
    assert not bool(processor("mat, and", "document")["token_mask"][0, comma].any())
    assert bool(processor("mat, and", "query")["token_mask"].all())


def test_an_explicit_skip_list_takes_the_place_of_the_computed_one(bert):
    processor = model(bert, skiplist="punctuation", skiplist_token_ids=[7]).processor
    assert processor.skiplist_token_ids == {7}


def test_content_scoring_leaves_special_tokens_out_of_queries_only(backbone):
    processor = model(backbone, scored_query_tokens="content").processor
    query = processor(TEXT, "query")
    assert torch.equal(query["token_mask"], query["content_mask"])
    assert bool(processor(TEXT, "document")["token_mask"].all())


@pytest.mark.parametrize("text", ["", "   ", "😀😀", "а—。", "x" * 5000])
def test_odd_texts_give_tensors_of_equal_shape(backbone, text):
    batch = model(backbone).processor([text, TEXT], "query")
    assert len({tuple(value.shape) for value in batch.values()}) == 1


def test_wrong_arguments_are_refused_with_the_remedy(bert):
    processor = model(bert).processor
    with pytest.raises(ValueError, match="allowed: 'query', 'document'"):
        processor(TEXT, "passage")
    with pytest.raises(TypeError, match="text 1 is of type int"):
        processor(["a", 3], "query")
    with pytest.raises(ValueError, match="no text"):
        processor([], "query")
    with pytest.raises(TypeError, match="padding"):
        processor(TEXT, padding=True)


def test_settings_are_read_from_the_model_folder_and_need_no_model(backbone, tmp_path):
    made = model(backbone, query_length=9, query_marker="[Q]", query_expansion="fixed")
    made.processor.save_pretrained(tmp_path)
    loaded = OpticalProcessor.from_pretrained(tmp_path)
    for key in ("input_ids", "attention_mask", "token_mask", "content_mask"):
        assert torch.equal(loaded(TEXT, "query")[key], made.processor(TEXT, "query")[key])
