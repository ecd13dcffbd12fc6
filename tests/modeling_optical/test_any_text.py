"""Any text that Unicode allows, and some that it does not, becomes tokens."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from modeling_optical import OpticalConfig, OpticalProcessor
from modeling_optical.encoding.corpus import CorpusStream
from modeling_optical.encoding.passages import PassageStore

ODD = [
    "",
    " ",
    "\0",
    "\ud83d",
    "\udc00x\ud800",
    "\ufeff",
    "\u202eabc\u202c",
    "a" + "\u0301" * 500,
    "👨‍👩‍👧‍👦" * 50,
    "\u2028",
    "\x1b[31m",
    "ﷺ",
    "[MASK][SEP]<s></s>",
    "\U0010ffff",
    "𒐫" * 100,
]


FAMILIES = ("bert", "xlm-roberta", "modernbert")  # WordPiece, Unigram, byte-level BPE


def tokenizer(backbones: dict[str, str], family: str) -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(backbones[family])


def check(processor: OpticalProcessor, text: str, kind: str, *, offsets: bool) -> None:
    (feature,) = processor.tokenize([text], kind, return_offsets=offsets)
    length = len(feature["input_ids"])
    assert 2 <= length <= 32
    assert all(len(values) == length for values in feature.values())
    assert all(0 <= identifier < len(processor.tokenizer) for identifier in feature["input_ids"])
    for start, end in filter(None, feature.get("offsets", [])):
        assert 0 <= start <= end <= len(text)


@pytest.mark.parametrize("family", FAMILIES)
def test_any_text_becomes_tokens(family, backbones):
    config = OpticalConfig(query_length=16, document_length=32)
    processor = OpticalProcessor(tokenizer(backbones, family), config)

    @settings(max_examples=max(settings().max_examples // 2, 10))
    @given(text=some.text(some.characters(codec=None, categories=None)), kind=some.sampled_from(["query", "document"]))
    def any_text(text, kind):
        check(processor, text, kind, offsets=True)

    for text in ODD:
        any_text = example(text=text, kind="document")(any_text)
    any_text()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("text", ["a" * 10**6, "a " * 500_000, "é\u0301" * 300_000, "\0" * 10**6], ids=ascii)
def test_a_megabyte_becomes_as_many_tokens_as_fit(family, text, backbones):
    processor = OpticalProcessor(tokenizer(backbones, family), OpticalConfig(document_length=32))
    check(processor, text, "document", offsets=False)


def test_half_a_character_counts_as_the_replacement_character(backbones):
    processor = OpticalProcessor(tokenizer(backbones, "modernbert"), OpticalConfig())
    broken, replaced = processor.tokenize(["the \ud83d cat", "the \ufffd cat"], "query")
    assert broken == replaced


@given(documents=some.dictionaries(some.text(max_size=6), some.text(some.characters(codec=None, categories=None), max_size=20)))
def test_documents_are_stored_as_they_are_streamed_or_refused(documents, tmp_path_factory):
    store = PassageStore(tmp_path_factory.getbasetemp() / "passages.sqlite")
    try:
        streamed = dict(CorpusStream(documents))
        store.put(streamed.items())
    except ValueError as error:
        if "document" not in str(error) and "corpus is empty" not in str(error):
            raise
        return
    assert store.get(streamed) == streamed
    assert list(streamed) == list(documents)


@pytest.mark.parametrize("identifier", ["", "a b", "a\n", "\u2028", "a\ud800"])
def test_an_id_that_no_file_can_hold_is_refused_with_its_place(identifier):
    with pytest.raises(ValueError, match=r"document .*the id .*(empty, or has white space|half a character)"):
        list(CorpusStream({identifier: "text"}))
