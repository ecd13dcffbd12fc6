"""Queries that are made of running text: what they are made of, and what never happens."""

import json
from pathlib import Path

import pytest

from trainer.labelled_data import LabelledSource, load_labelled
from trainer.labelled_data.running_text import RunningText, labelled_rows

NEWS = [
    ("n1", "The harbour of Mombasa was closed in 2014", "Bandari ya Mombasa ilifungwa"),
    ("n1", "Ships waited for three days, and the captains were angry about it", "Meli zilingoja siku tatu"),
    ("n1", "Then the minister Amina Mohamed opened it again", "Kisha waziri aliifungua tena"),
    ("n1", "Traders counted 40 lost containers the week after", "Wafanyabiashara walihesabu makontena"),
    ("n2", "Rain came late to the hills this year", "Mvua ilichelewa"),
    ("n2", "Farmers had sown their maize twice", "Wakulima walipanda mahindi mara mbili"),
    ("n2", "Yes", "Ndiyo"),
]
ROWS = [(f"line {n}", {"document": d, "en": en, "sw": sw}) for n, (d, en, sw) in enumerate(NEWS, 1)]


def made(kind: str, rows=ROWS, query="en", passage="en", **options) -> dict[str, dict]:
    return dict(labelled_rows(rows, RunningText(kinds=[kind], **options), query, passage))


def texts(*numbers: int, language: int = 1) -> str:
    return " ".join(NEWS[number - 1][language] for number in numbers)


def test_a_sentence_asks_for_what_stands_around_it_in_its_document():
    found = made("sentence", kept=0.0)
    assert found["line 2"] == {"query": texts(2), "positives": [texts(1, 3, 4)]}
    assert found["line 5"] == {"query": texts(5), "positives": [texts(6, 7)]}
    assert "line 7" not in found  # one word is no query


def test_a_sentence_is_kept_in_a_share_of_its_passages():
    assert made("sentence", kept=1.0)["line 2"]["positives"] == [texts(1, 2, 3, 4)]


def test_a_passage_ends_with_the_sentence_that_fills_it():
    found = made("sentence", words=15, kept=1.0)
    assert found["line 1"]["positives"] == [texts(1, 2)]
    assert found["line 3"]["positives"] == [texts(3, 4)]


def test_two_languages_teach_a_query_of_one_to_find_passages_of_the_other():
    found = made("sentence", query="sw", passage="en", kept=0.0)
    assert found["line 1"] == {"query": texts(1, language=2), "positives": [texts(2, 3, 4)]}


def test_a_clause_asks_for_the_whole_passage():
    found = made("clause", kept=0.0)["line 2"]
    assert found["query"] in ("Ships waited for three days", "and the captains were angry about it")
    assert found["positives"] == [texts(1, 2, 3, 4)]


def test_a_title_asks_for_a_later_passage_of_its_document_alone():
    found = made("title", words=15, kept=0.0)
    assert found["line 3"] == {"query": texts(1), "positives": [texts(3, 4)]}
    assert found["line 1"] == {"query": texts(1), "positives": [texts(2)]}  # no title stands before it: the sentence itself
    assert all(row["query"] != texts(1) for place, row in found.items() if place in ("line 5", "line 6"))


def test_lines_without_a_document_have_no_title():
    rows = [(place, {"en": row["en"]}) for place, row in ROWS]
    queries = [row["query"] for row in made("title", rows, words=15, kept=0.0).values()]
    assert len(set(queries)) == len(queries) == 6


@pytest.mark.parametrize(
    ("line", "question"),
    [
        ("line 1", "when The harbour of Mombasa was closed?"),
        ("line 3", "who Then the minister opened it again?"),
        ("line 4", "how many Traders counted lost containers the week after?"),
    ],
)
def test_a_question_leaves_out_what_it_asks_for(line, question):
    found = made("question", kept=0.0)[line]
    assert found == {"query": question, "positives": [texts(1, 2, 3, 4)]}


def test_a_sentence_that_is_its_whole_passage_does_not_look_for_itself():
    rows = [("line 1", {"document": "a", "en": "one sentence stands here alone"}), ROWS[4], ROWS[5]]
    assert "line 1" not in made("sentence", rows)


def test_the_same_seed_draws_the_same_queries_and_another_one_others():
    options = RunningText(kinds=["sentence", "clause", "question", "title"])
    first, again, other = (
        [row["query"] for _, row in labelled_rows(ROWS * 5, options, "en", "en", seed)] for seed in (0, 0, 1)
    )
    assert first == again != other


def test_a_recipe_reads_running_text_as_any_other_source(tmp_path: Path):
    file = tmp_path / "news.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for _, row in ROWS), encoding="utf-8")
    source = LabelledSource(path=str(file), query="sw", positives="en", running_text=RunningText(kept=0.0, kinds=["sentence"]))
    examples, report = load_labelled([source], cache_dir=tmp_path / "cache")
    assert examples[0]["query"] == texts(1, language=2)
    assert examples[0]["passages"] == [texts(2, 3, 4)]
    assert list(report.examples.values()) == [4]  # sentences of less than four words make none


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"path": "x.jsonl", "running_text": RunningText()}, "needs `query` and `positives`"),
        ({"collection": "x", "query": "en", "positives": "en", "running_text": RunningText()}, "of `path` or `hub`"),
    ],
)
def test_a_source_that_cannot_be_running_text_is_refused(source, message):
    with pytest.raises(ValueError, match=message):
        LabelledSource(**source)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kinds": ["sentense"]}, r"running_text\.kinds is 'sentense'; allowed: 'sentence', 'clause', 'title', 'question'"),
        ({"kinds": []}, r"running_text\.kinds is empty"),
        ({"words": 0}, r"running_text\.words"),
        ({"kept": 1.5}, r"running_text\.kept is 1\.5"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        RunningText(**options)


def test_a_row_without_the_field_is_named_with_its_place():
    with pytest.raises(ValueError, match=r"line 5: the field 'sw' is missing; there are: document, en"):
        list(labelled_rows([*ROWS[:4], ("line 5", {"document": "n1", "en": "x"})], RunningText(), "sw", "en"))
