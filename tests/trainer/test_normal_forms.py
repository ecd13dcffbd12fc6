"""One text in two normal forms is one text wherever texts are compared; texts that show nothing are empty."""

import unicodedata
from pathlib import Path

import pytest
from datasets import Dataset
from hypothesis import assume, given
from hypothesis import strategies as some

from modeling_optical.encoding.normal_forms import caseless, comparable, is_blank
from trainer.bitext import BitextReport, BitextSource, Cleaning, NearDuplicateIndex, split_bitext, stream_bitext
from trainer.bitext.loading import clean_pairs
from trainer.labelled_data import LabelledDataset, split_labelled
from trainer.labelled_data.records import Record

FORMS = ("NFC", "NFD", "NFKC", "NFKD")
ALPHABET = "aBéß\u0301ğİﬁ½ＡｶガनीỆ각\u00ad\u200b\u200d \u00a0"
TEXTS = some.text(some.sampled_from(ALPHABET) | some.characters(codec="utf-8"), max_size=30)
INVISIBLE = [
    "",
    " ",
    "\u200b\u200b",
    "\u2060\ufeff",
    "\u00ad",
    "\u200e\u200f",
    "\u3164",
    "\u115f",
    "\ufe0f",
    "\u00a0\u2003",
    "\x07",
    "\u2800",
]
SENTENCE = "Nguyễn Văn Đức sống ở Đà Nẵng từ nhỏ và thích bơi lội"


@given(TEXTS, some.sampled_from(FORMS))
def test_the_normal_form_of_a_text_does_not_change_what_it_is_compared_by(text, form):
    other = unicodedata.normalize(form, text)
    assert comparable(other) == comparable(text)
    assert caseless(other) == caseless(text) == caseless(comparable(text))
    assert comparable(comparable(text)) == comparable(text)
    assert is_blank(other) == is_blank(text)


@given(TEXTS, TEXTS)
def test_characters_that_show_nothing_do_not_count(text, other):
    assume(not is_blank(text))
    for character in ("\u200b", "\u00ad", "\u2060"):
        assert comparable(text.replace("a", f"a{character}")) == comparable(text)
    assert is_blank(text + other) is False


@pytest.mark.parametrize("text", INVISIBLE)
def test_a_text_that_shows_nothing_is_empty_and_its_pair_is_dropped(text, tmp_path: Path):
    assert is_blank(text)
    path = tmp_path / "x.tsv"
    path.write_text(f"the fox\tmbweha\n{text}\tpaka\nthe cat\t{text}\n")
    report = BitextReport()
    rows = list(clean_pairs([BitextSource(path=str(path), source=0, target=1, language="sw")], Cleaning(), report))
    assert [row["source"] for row in rows] == ["the fox"]
    assert report.dropped[str(path)] == {"empty": 2}


@pytest.mark.parametrize("form", FORMS)
def test_a_test_text_is_found_in_every_normal_form(form):
    index = NearDuplicateIndex()
    index.add(SENTENCE, "a test query")
    assert index.find(unicodedata.normalize(form, SENTENCE).upper()) == "a test query"


def pairs(*forms: str) -> list[dict[str, str]]:
    return [
        {"source": unicodedata.normalize(form, f"{side} thé {number}"), "target": unicodedata.normalize(form, f"số {number}"),
         "language": "vi", "document": "", "origin": "x", "kind": "query"}
        for side, form in enumerate(forms) for number in range(40)
    ]  # fmt: skip


def test_no_training_pair_has_a_held_out_text_in_another_form():
    train, held = split_bitext(Dataset.from_list(pairs("NFC", "NFD")), held_out=0.2)
    for name in ("source", "target"):
        assert not {comparable(text) for text in train[name]} & {comparable(text) for text in held[name]}


def test_neither_repeats_nor_held_out_pairs_of_another_form_are_streamed(tmp_path: Path):
    path = tmp_path / "x.tsv"
    rows = [pairs(form)[number] for number in range(40) for form in ("NFC", "NFD")]
    path.write_text("".join(f"{row['source']}\t{row['target']}\n" for row in rows))
    sources = [BitextSource(path=str(path), source=0, target=1, language="vi")]
    held = Dataset.from_list(pairs("NFKD")[:5])
    assert len(list(stream_bitext(sources, Cleaning(), {"vi": 40}))) == 40
    assert len(list(stream_bitext(sources, Cleaning(), {"vi": 40}, held_out=held))) == 35


def test_no_training_query_is_a_held_out_one_in_another_form():
    examples = LabelledDataset.from_list([{"query": row["source"], "passages": ["p"]} for row in pairs("NFC", "NFD")])
    train, held = split_labelled(examples, held_out=0.5, max_held_out=100)
    assert len(train) + len(held) == 80
    assert all(comparable(query) not in {comparable(q) for q in held.rows["query"]} for query in train.rows["query"])


def test_a_positive_in_another_form_is_no_negative():
    decomposed = unicodedata.normalize("NFD", "café")
    (example,) = Record("q", ["café"], [decomposed, "thé"]).examples()
    assert example["passages"] == ["café", "thé"]
