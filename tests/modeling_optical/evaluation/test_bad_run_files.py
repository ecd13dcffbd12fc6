"""Run files, judgements, collections and results as nobody should make them: read, or refused by file and line."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from modeling_optical.evaluation import load_collection, read_results
from modeling_optical.evaluation.collections.collection import Collection
from modeling_optical.evaluation.trec import read_qrels, read_run, save_run
from modeling_optical.files import lines

PARTS = [b"q1", b"Q0", b"d1", b"1", b"0.5", b"nan", b"1e999", b"tag", b" ", b"\t", b"\n", b"\r", b"\xff", b"\0", b"\xc2\xa0"]
LINES = some.one_of(some.binary(max_size=80), some.lists(some.sampled_from(PARTS), max_size=30).map(b"".join))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@given(content=LINES, packed=some.booleans())
@pytest.mark.parametrize("read", [read_run, read_qrels])
def test_any_bytes_are_a_run_or_judgements_or_refused_with_file_and_line(read, content, packed, folder):
    path = folder / ("x.trec.gz" if packed else "x.trec")
    path.write_bytes(gzip.compress(content, 1) if packed else content)
    try:
        for scores in read(path).values():
            assert all(value == value for value in scores.values())
    except ValueError as error:
        if f"{path}:" not in str(error):
            raise


CONTENT = {read_run: "q1 Q0 d1 1 0.5 x\nq1 Q0 d\u00a02 2 0.25 x\n", read_qrels: "q1 0 d1 1\nq1 0 d2 2\n"}


@pytest.mark.parametrize("read", CONTENT, ids=["run", "judgements"])
@given(
    at=some.integers(0, 40),
    end=some.sampled_from(["\n", "\r\n", "\n\n", "\t\n"]),
    mark=some.booleans(),
    space=some.sampled_from(" \t\r\v"),
)
def test_line_ends_marks_and_white_space_of_any_kind_are_read(read, at, end, mark, space, folder):
    content = CONTENT[read]
    places = [place for place, character in enumerate(content) if character == " "]
    place = places[at % len(places)]
    changed = (content[:place] + space + content[place + 1 :]).replace("\n", end)
    (folder / "x").write_bytes((b"\xef\xbb\xbf" if mark else b"") + changed.encode())
    (folder / "plain").write_text(content)
    assert read(folder / "x") == read(folder / "plain")
    assert len(read(folder / "x")["q1"]) == 2


@pytest.mark.parametrize("read", CONTENT, ids=["run", "judgements"])
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda text: text.replace("d1", "d\0001").encode(), ":1: a NUL byte"),
        (lambda text: text.encode("utf-16"), ":1: not UTF-8.*UTF-16"),
        (lambda text: text.encode("utf-16-le"), ":1: a NUL byte"),
        (lambda text: text.replace("\n", "\r").encode(), ":1: the lines end in carriage returns alone"),
    ],
    ids=["NUL", "UTF-16", "UTF-16 without a mark", "old Mac"],
)
def test_runs_and_judgements_that_are_no_utf_8_are_refused_by_name(read, spoil, problem, folder):
    (folder / "x.txt").write_bytes(spoil(CONTENT[read]))
    with pytest.raises(ValueError, match=rf"x\.txt{problem}"):
        read(folder / "x.txt")


@pytest.mark.parametrize(
    "header", ["", "query-id\tcorpus-id\tscore\n", "\nqid\titeration\tdocid\trel\n", "Query_ID docno grade\n"]
)
@pytest.mark.parametrize("line", ["q1\td1\t1", "q1\td1\t1.0\t", "q1 0 d1 1.", " q1 d1 1 ", "q1 \td1\t1"])
def test_judgements_are_read_the_same_in_all_their_forms(header, line, tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "text": "a"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "a"}\n')
    (tmp_path / "qrels.tsv").write_text(f"{header}{line}\n{line}\n")
    assert read_qrels(tmp_path / "qrels.tsv") == load_collection(tmp_path, "sw").qrels == {"q1": {"d1": 1}}


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            ["q1 0 d1 1", "q2 0 d1 1", "q1 0 d1 0"],
            r"tsv:3: document 'd1' is judged twice for query 'q1': 1 and 0.*:1",
        ),
        (["q1 0 d1 1.5"], "the grade '1.5' is not a whole number"),
        (["q1 0 d1 one"], "the grade 'one' is not a whole number"),
        (["q1 0 d1 nan"], "the grade 'nan' is not a whole number"),
        (["q 1\td1\t1"], "the id 'q 1' is empty, or has white space"),
        (["q1,d1,1"], "expected query id, document id and grade.*found 1 columns"),
    ],
)
def test_judgements_that_contradict_or_cannot_be_read_are_refused_with_the_line(lines, problem, tmp_path):
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "text": "a"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "a"}\n')
    (tmp_path / "qrels.tsv").write_text("\n".join(lines) + "\n")
    for read in (read_qrels, lambda path: load_collection(path.parent, "sw")):
        with pytest.raises(ValueError, match=problem) as error:
            read(tmp_path / "qrels.tsv")
        assert f"qrels.tsv:{len(lines)}: " in str(error.value)


@given(cut=some.integers(1, 20))
def test_a_cut_off_archive_is_refused_by_its_name(cut, folder):
    path = folder / "cut.trec.gz"
    path.write_bytes(gzip.compress("".join(f"q1 Q0 d{number} 1 0.5 tag\n" for number in range(100)).encode())[:-cut])
    with pytest.raises(ValueError, match=r"cut\.trec\.gz is damaged or cut off"):
        read_run(path)


COLLECTION = {
    "corpus.jsonl": b'{"_id": "d1", "text": "the cat"}\n',
    "queries.sw.jsonl": b'{"_id": "q1", "text": "paka"}\n',
    "qrels.tsv": b"query-id\tcorpus-id\tscore\nq1\td1\t1\n",
}


@given(name=some.sampled_from(sorted(COLLECTION)), content=some.binary(max_size=60), at=some.integers(0, 60))
def test_a_spoilt_collection_is_read_or_refused_by_its_name(name, content, at, folder):
    home = folder / "collection"
    home.mkdir(exist_ok=True)
    for file, whole in COLLECTION.items():
        (home / file).write_bytes(whole[:at] + content + whole[at:] if file == name else whole)
    try:
        load_collection(home, "sw")
    except ValueError as error:
        if "collection" not in str(error):
            raise


def test_deep_nesting_and_half_characters_are_told_or_replaced(tmp_path):
    for file, whole in COLLECTION.items():
        (tmp_path / file).write_bytes(whole)
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "text": "the \\ud83d cat"}\n')
    assert load_collection(tmp_path, "sw").corpus["d1"] == "the \ufffd cat"
    (tmp_path / "corpus.jsonl").write_text("[" * 100_000)
    with pytest.raises(ValueError, match=r"corpus\.jsonl:1: not JSON"):
        load_collection(tmp_path, "sw")


def test_an_endless_line_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "MAX_LINE_BYTES", 1000)
    path = tmp_path / "x.trec.gz"
    path.write_bytes(gzip.compress(b"q1" * 100_000))
    with pytest.raises(ValueError, match=r"x\.trec\.gz:1: the line is longer than 1000 bytes"):
        read_run(path)


@given(name=some.text(max_size=20), language=some.text(max_size=20), system=some.text(max_size=20))
@pytest.mark.parametrize("nasty", ["../../x", "/etc/x", "a\0b", "..", "a/../../b", "C:\\x", "~", ""])
def test_no_name_of_a_collection_or_system_leaves_the_folder(nasty, name, language, system, tmp_path_factory):
    home = tmp_path_factory.mktemp("outputs")
    inside = home / "inside"
    inside.mkdir()
    for names in ((nasty, language, system), (name, nasty, system), (name, language, nasty)):
        collection = Collection(names[0], names[1], {"d": "x"}, {"q": "x"}, {"q": {"d": 1}})
        save_run(inside, names[2], collection, {"q": {"d": 1.0}})
    assert list(home.iterdir()) == [inside]
    assert all(path.is_file() for path in inside.iterdir())


def test_a_name_that_no_file_system_holds_is_shortened(tmp_path):
    collection = Collection("x" * 5000, "sw", {"d": "x"}, {"q": "x"}, {"q": {"d": 1}})
    path = save_run(tmp_path, "s" * 5000, collection, {"q": {"d": 1.0}})
    assert read_run(path) == {"q": {"d": 1.0}}
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("content", [b"\xff", b"[" * 100_000, b"{}", b"[1]", b'[{"system": 1}]'])
def test_a_spoilt_results_file_is_refused_by_its_name(content, tmp_path):
    (tmp_path / "results.json").write_bytes(content)
    if content == b"{}":
        assert read_results(tmp_path / "results.json") == []
        return
    with pytest.raises(ValueError, match=r"results\.json is not a results file"):
        read_results(tmp_path / "results.json")


@given(
    value=some.recursive(
        some.none() | some.booleans() | some.floats() | some.text(max_size=3),
        lambda v: some.lists(v, max_size=3) | some.dictionaries(some.text(max_size=3), v, max_size=3),
    )
)
def test_any_json_is_a_results_file_or_refused(value, folder):
    (folder / "results.json").write_text(json.dumps(value))
    try:
        read_results(folder / "results.json")
    except ValueError as error:
        if "results.json" not in str(error):
            raise
