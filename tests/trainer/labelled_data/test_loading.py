"""Labelled data of every form: what comes out, and what a mistake is told."""

import csv
import gzip
import json
from pathlib import Path

import pytest
from datasets import Dataset

from trainer.labelled_data import LabelledSource, TextTable, load_labelled, split_labelled
from trainer.labelled_data.records import Record

ROW = {"query": "cat", "passages": ["the cat", "a dog", "a mat"]}


@pytest.fixture
def load(tmp_path: Path):
    """Loads one source given as keywords; its rows as a list."""

    def rows_of(**source):
        examples, _ = load_labelled([LabelledSource(**source)], cache_dir=tmp_path / "cache")
        return [examples[index] for index in range(len(examples))]

    return rows_of


def write_jsonl(path: Path, *rows: dict) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def hub(folder: Path, **configurations: list[dict]) -> str:
    """A local folder of the layout that a data set on the Hub has: configurations declared in its card, Parquet files."""
    folder.mkdir()
    card = ["---", "configs:"]
    for name, rows in configurations.items():
        Dataset.from_list(rows).to_parquet(str(folder / name / "train-00000-of-00001.parquet"))
        card += [f"- config_name: {name}", "  data_files:", "  - split: train", f"    path: {name}/train-*"]
    (folder / "README.md").write_text("\n".join([*card, "---", ""]))
    return str(folder)


@pytest.mark.parametrize(
    "row",
    [
        {"query": "cat", "positive": "the cat", "negatives": ["a dog", "a mat"]},
        {"anchor": "cat", "positive": "the cat", "negative": ["a dog", "a mat"]},
        {"question": "cat", "pos": ["the cat"], "neg": ["a dog", "a mat"]},
        {"query": "cat", "positive": "the cat", "negative_2": "a mat", "negative_1": "a dog"},
        {"query": "cat", "passages": ["the cat", "a dog", "a mat"]},
        {
            "query": "cat",
            "positive_passages": [{"docid": "1", "title": "the", "text": "cat"}],
            "negative_passages": [{"docid": "2", "title": "", "text": "a dog"}, {"docid": "3", "text": "a mat"}],
        },
    ],
    ids=["plain", "sentence-transformers", "flagembedding", "numbered", "list", "tevatron"],
)
@pytest.mark.parametrize("place", ["file", "hub"])
def test_usual_columns_are_found(load, tmp_path, row, place):
    if place == "file":
        rows = load(path=write_jsonl(tmp_path / "x.jsonl", row))
    else:
        rows = load(hub=hub(tmp_path / "hub", default=[row]))
    assert rows == [ROW | {"scores": [], "known_positives": ["the cat"]}]


def test_other_columns_are_named(load, tmp_path):
    file = write_jsonl(tmp_path / "x.jsonl", {"swali": "cat", "jibu": "the cat", "passages": ["unused"]})
    assert load(path=file, query="swali", positives="jibu")[0]["passages"] == ["the cat"]


def test_scores_decide_which_of_unlabelled_passages_is_the_positive(load, tmp_path):
    file = write_jsonl(
        tmp_path / "x.jsonl", {"query": "cat", "passages": ["a dog", "the cat", "a mat"], "scores": [0.5, 4, -2]}
    )
    assert load(path=file) == [
        {"query": "cat", "passages": ["the cat", "a dog", "a mat"], "scores": [4, 0.5, -2], "known_positives": ["the cat"]}
    ]


def test_every_positive_makes_an_example_and_none_is_a_negative(load, tmp_path):
    row = {"query": "q", "positives": ["a", "b"], "negatives": ["c", "a", "c"], "scores": [1, 2, 3, 1, 3]}
    assert load(path=write_jsonl(tmp_path / "x.jsonl", row)) == [
        {"query": "q", "passages": ["a", "c"], "scores": [1, 3], "known_positives": ["a", "b"]},
        {"query": "q", "passages": ["b", "c"], "scores": [2, 3], "known_positives": ["a", "b"]},
    ]


def test_rows_may_differ_in_what_is_optional(load, tmp_path):
    first = {"query": "q", "positive": "a"}
    second = {"query": "r", "positive": "b", "negatives": ["c"], "scores": [2, 1]}
    rows = load(path=write_jsonl(tmp_path / "x.jsonl", first, second))
    assert [row["passages"] for row in rows] == [["a"], ["b", "c"]]
    assert [row["scores"] for row in rows] == [[], [2, 1]]


def test_empty_passages_go_with_their_scores_and_empty_rows_are_counted(tmp_path):
    file = write_jsonl(
        tmp_path / "x.jsonl",
        {"query": "q", "positives": ["a"], "negatives": ["", "c"], "scores": [1, 2, 3]},
        {"query": " ", "positives": ["a"], "scores": [1]},
        {"query": "r", "positives": [], "scores": []},
        {"query": "s", "positives": ["a"], "scores": [1]},
        {"query": "", "positives": ["a"], "scores": [1]},
    )
    examples, report = load_labelled([LabelledSource(path=file)], cache_dir=tmp_path / "cache")
    assert examples[0]["passages"] == ["a", "c"]
    assert examples[0]["scores"] == [1, 3]
    assert (report.examples[file], report.dropped[file], report.scored[file]) == (2, 3, True)
    assert "2 examples of 2 queries" in str(report)


@pytest.mark.parametrize("packed", [False, True])
def test_ms_marco_triples_have_no_header_and_no_quoting(load, tmp_path, packed):
    text = 'what is "a cat\tthe cat\ta dog\nwho\tme\tyou\n'
    path = tmp_path / ("triples.tsv.gz" if packed else "triples.tsv")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    rows = load(path=str(path))
    assert [row["query"] for row in rows] == ['what is "a cat', "who"]
    assert rows[1]["passages"] == ["me", "you"]


def test_tables_with_a_header(load, tmp_path):
    with open(tmp_path / "x.csv", "w", newline="") as stream:
        csv.writer(stream).writerows([["id", "query", "positive"], ["1", "cat, dog", 'the "cat"']])
    assert load(path=str(tmp_path / "x.csv"))[0]["passages"] == ['the "cat"']
    (tmp_path / "x.tsv").write_text("question\tanswer\ncat\tthe cat\n")
    assert load(path=str(tmp_path / "x.tsv"))[0]["query"] == "cat"


QUERIES = [{"query_id": "7", "text": "cat"}, {"query_id": "8", "text": "dog"}]
DOCUMENTS = [{"document_id": f"d{n}", "text": text, "title": title} for n, (text, title) in enumerate(
    [("sat", "the cat"), ("barked", ""), ("on a mat", "it")])]  # fmt: skip


def test_rows_of_ids_are_looked_up_in_other_configurations(tmp_path):
    scored = [
        {"query_id": "8", "document_ids": ["d0", "d1"], "scores": [0.1, 0.9]},
        {"query_id": "7", "document_ids": ["d0", "d2", "d1"], "scores": [0.8, 0.2, 0.0]},
    ]
    name = hub(tmp_path / "hub", train=scored, queries=QUERIES, documents=DOCUMENTS)
    source = LabelledSource(
        hub=name,
        name="train",
        query_texts=TextTable(hub=name, name="queries"),
        passage_texts=TextTable(hub=name, name="documents"),
    )
    examples, report = load_labelled([source], cache_dir=tmp_path / "cache")
    assert examples[0]["query"] == "dog"
    assert examples[0]["passages"] == ["barked", "the cat sat"]
    assert examples[0]["scores"] == pytest.approx([0.9, 0.1])
    assert examples[1]["passages"] == ["the cat sat", "it on a mat", "barked"]
    assert examples[1]["known_positives"] == ["the cat sat"]
    assert list(report.negatives.values()) == [1.5]


def test_ms_marcos_own_files_of_ids(load, tmp_path):
    (tmp_path / "queries.tsv").write_text('7\tcat\n8\tsay "dog\n')
    (tmp_path / "collection.tsv").write_text("0\tthe cat\n1\tnan\n2\ta mat\n")
    (tmp_path / "triples.tsv").write_text("query_id\tpositive\tnegative\n8\t1\t0\n7\t0\t2\n")
    rows = load(
        path=str(tmp_path / "triples.tsv"),
        query_texts=TextTable(path=str(tmp_path / "queries.tsv")),
        passage_texts=TextTable(path=str(tmp_path / "collection.tsv")),
    )
    assert [(row["query"], row["passages"]) for row in rows] == [
        ('say "dog', ["nan", "the cat"]),
        ("cat", ["the cat", "a mat"]),
    ]


def collection(folder: Path) -> str:
    (folder / "qrels").mkdir(parents=True)
    write_jsonl(folder / "corpus.jsonl", *({"_id": f"d{n}", "text": f"cat number {n}"} for n in range(9)))
    write_jsonl(folder / "queries.jsonl", {"_id": "q0", "text": "cat 0"}, {"_id": "q1", "text": "number 1"})
    (folder / "qrels" / "train.tsv").write_text("q\td\tg\nq0\td0\t2\nq0\td5\t1\nq0\td7\t0\nq1\td1\t1\n")
    return str(folder)


def test_a_judged_collection_is_labelled_data(load, tmp_path):
    rows = load(collection=collection(tmp_path / "c"))
    assert [(row["query"], row["passages"][0]) for row in rows] == [
        ("cat 0", "cat number 0"), ("cat 0", "cat number 5"), ("number 1", "cat number 1")
    ]  # fmt: skip
    assert rows[0]["passages"][1:] == ["cat number 7"]
    assert rows[0]["known_positives"] == ["cat number 0", "cat number 5"]


@pytest.mark.parametrize("mined", ["random", "bm25"])
def test_mined_negatives_are_never_judged_documents(load, tmp_path, mined):
    if mined == "bm25":
        pytest.importorskip("bm25s", reason="bm25s is not installed")
    folder = collection(tmp_path / "c")
    rows = load(collection=folder, mined_negatives=mined, negatives_per_query=3)
    assert [len(row["passages"]) for row in rows] == [5, 5, 4]
    assert not {"cat number 0", "cat number 5"} & set(rows[0]["passages"][2:])
    assert load(collection=folder, mined_negatives=mined, negatives_per_query=3) == rows


def test_a_file_that_changes_is_read_again(load, tmp_path):
    file = write_jsonl(tmp_path / "x.jsonl", {"query": "cat", "positive": "the cat"})
    assert load(path=file)[0]["query"] == "cat"
    write_jsonl(tmp_path / "x.jsonl", {"query": "other", "positive": "the cat"})
    assert load(path=file)[0]["query"] == "other"


def test_sources_are_put_together_and_cut(tmp_path):
    first = write_jsonl(tmp_path / "a.jsonl", *({"query": f"a{n}", "positive": "x"} for n in range(5)))
    second = write_jsonl(tmp_path / "b.jsonl", {"query": "b", "passages": ["y", "z"], "scores": [1, 0]})
    examples, report = load_labelled(
        [LabelledSource(path=first, max_examples=2), LabelledSource(path=second)], cache_dir=tmp_path / "cache"
    )
    assert [examples[index]["query"] for index in range(3)] == ["a0", "a1", "b"]
    assert report.to_dict()["scored"] == {first: False, second: True}


def test_no_held_out_query_is_trained_on(tmp_path):
    rows = [{"query": f"q{n // 3}", "positive": f"p{n}"} for n in range(60)]
    file = write_jsonl(tmp_path / "x.jsonl", *rows)
    examples, _ = load_labelled([LabelledSource(path=file)], cache_dir=tmp_path / "cache")
    train, held_out = split_labelled(examples, held_out=0.25, max_held_out=100, seed=3)
    assert len(held_out) == 15
    assert not set(train.rows["query"]) & set(held_out.rows["query"])
    assert split_labelled(examples, held_out=0.25, max_held_out=100, seed=3)[1].rows["query"] == held_out.rows["query"]
    assert len(split_labelled(examples, held_out=0.25, max_held_out=2)[1]) == 6
    assert len(split_labelled(examples, held_out=0.0, max_held_out=2)[1]) == 0


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"query": "cat", "positive": "a"}', '{"query": "cat"}'], r"x.jsonl:2: the field 'positive' is missing"),
        (['{"query": "cat"}'], r"x.jsonl:1: no field for the positives \(there are: query\)"),
        (['{"text": "cat", "positive": "a"}'], r"x.jsonl:1: no field for the query"),
        (['{"query": {"a": 1}, "positive": "a"}'], r"x.jsonl:1: the field 'query' is .* it must be a text"),
        (['{"query": "cat", "positive": "a"}', "", "{"], r"x.jsonl:3: not JSON in UTF-8"),
        (['{"query": "cat", "positive": "a"}', "[1]"], r"x.jsonl:2: not a JSON object"),
        (["[1]"], r"x.jsonl:1: not JSON Lines: the file is a JSON list"),
        (['{"query": "c", "passages": ["a", "b"], "scores": [1]}'], r"x.jsonl:1: 'scores' has 1 scores for 2 passages"),
        (['{"query": "c", "passages": ["a"], "scores": ["x"]}'], r"x.jsonl:1: the field 'scores' .* finite numbers"),
        (['{"query": "c", "passages": ["a"], "scores": [NaN]}'], r"x.jsonl:1: the field 'scores' .* finite numbers"),
        (['{"query": "", "positive": "a"}'], r"there is no row with a query and a positive passage"),
    ],
)
def test_a_wrong_row_is_told_with_file_line_and_field(load, tmp_path, lines, message):
    (tmp_path / "x.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=message):
        load(path=str(tmp_path / "x.jsonl"))


def test_a_ragged_table_is_told(load, tmp_path):
    (tmp_path / "x.tsv").write_text("a\tb\tc\nd\te\n")
    with pytest.raises(ValueError, match=r"x.tsv:2: 2 columns; the first line has 3"):
        load(path=str(tmp_path / "x.tsv"))


def test_an_unknown_id_is_told(tmp_path):
    file = write_jsonl(tmp_path / "x.jsonl", {"query_id": "9", "positive": "a"})
    queries = write_jsonl(tmp_path / "q.jsonl", *QUERIES)
    examples, _ = load_labelled([LabelledSource(path=file, query_texts=TextTable(path=queries))], cache_dir=tmp_path / "cache")
    with pytest.raises(KeyError, match=r"labelled example 0: the id '9' is not in .*q.jsonl"):
        examples[0]


def test_a_table_with_an_id_twice_is_refused(tmp_path):
    file = write_jsonl(tmp_path / "x.jsonl", {"query_id": "7", "positive": "a"})
    queries = write_jsonl(tmp_path / "q.jsonl", *QUERIES, QUERIES[0])
    with pytest.raises(ValueError, match=r"q.jsonl: the id '7' appears twice"):
        load_labelled([LabelledSource(path=file, query_texts=TextTable(path=queries))], cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ({}, ValueError, "needs one of `path`"),
        ({"path": "a", "hub": "b"}, ValueError, "needs one of `path`"),
        ({"path": "a", "mined_negatives": "hard"}, ValueError, "mined_negatives is 'hard'"),
        ({"path": "a", "max_examples": 0}, ValueError, "max_examples is 0"),
        ({"path": "nowhere.jsonl"}, FileNotFoundError, "'nowhere.jsonl': there is no such file"),
        ({"hub": "nobody/nothing", "name": "x"}, FileNotFoundError, "data set 'nobody/nothing/x', split 'train', could not"),
    ],
)
def test_a_wrong_source_is_told(load, source, error, message):
    with pytest.raises(error, match=message):
        load(**source)


def test_scores_follow_their_passages():
    rows = list(Record("q", ["a"], ["b", "c", "b"], [3, 2, 1, 2]).examples())
    assert rows[0]["passages"] == ["a", "b", "c"]
    assert rows[0]["scores"] == [3, 2, 1]
