"""Collections in BEIR's layout: what is read, and what is said about a collection that cannot be."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from modeling_optical.evaluation import load_collection

CORPUS = [
    {"_id": "d1", "title": "Foxes", "text": "a fox barks"},
    {"_id": "d2", "title": "", "text": "a dog sleeps"},
    {"_id": "d3", "text": "no title here"},
]
QUERIES = [{"_id": "q1", "text": "mbweha"}, {"_id": "q2", "text": "mbwa"}]
QRELS = "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td2\t1\n"


def lines(records: list[dict]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def folder(where: Path, changes: Mapping[str, str | bytes | None] | None = None) -> Path:
    """A collection; `changes` replaces or (with None) leaves out files."""
    files: dict[str, str | bytes | None] = {
        "corpus.jsonl": lines(CORPUS),
        "queries.sw.jsonl": lines(QUERIES),
        "qrels.tsv": QRELS,
    }
    files |= changes or {}
    root = where / "animals"
    for name, content in files.items():
        if content is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return root


def test_a_folder_gives_documents_with_titles_queries_and_grades(tmp_path: Path):
    found = load_collection(folder(tmp_path), "sw")
    assert (found.name, found.language) == ("animals", "sw")
    assert found.corpus == {"d1": "Foxes a fox barks", "d2": "a dog sleeps", "d3": "no title here"}
    assert found.queries == {"q1": "mbweha", "q2": "mbwa"}
    assert found.qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}


@pytest.mark.parametrize(
    "name", ["qrels.tsv", "qrels.sw.tsv", "qrels/test.tsv"], ids=["one file", "per language", "BEIR's folder"]
)
def test_judgements_are_found_in_each_place_of_the_layout(tmp_path: Path, name: str):
    found = load_collection(folder(tmp_path, {"qrels.tsv": None, name: QRELS}), "sw")
    assert found.qrels["q1"] == {"d1": 2, "d2": 0}


def test_another_split_of_the_judgements_can_be_chosen(tmp_path: Path):
    root = folder(tmp_path, {"qrels.tsv": None, "qrels/test.tsv": QRELS, "qrels/dev.tsv": "q\td\tg\nq1\td3\t1\n"})
    assert load_collection(root, "sw", split="dev").qrels == {"q1": {"d3": 1}}
    assert load_collection(root, "sw").qrels["q1"]["d1"] == 2


@pytest.mark.parametrize(
    "qrels",
    [
        "q1\td1\t2\nq1\td2\t0\nq2\td2\t1\n",
        "q1\t0\td1\t2\nq1\t0\td2\t0\nq2\t0\td2\t1\n",
        QRELS.replace("\n", "\r\n"),
        QRELS + "\n\n",
    ],
    ids=["no header", "TREC's four columns", "Windows line ends", "blank lines"],
)
def test_judgements_read_the_same_in_each_spelling(tmp_path: Path, qrels: str):
    assert load_collection(folder(tmp_path, {"qrels.tsv": qrels}), "sw").qrels == {"q1": {"d1": 2, "d2": 0}, "q2": {"d2": 1}}


def test_queries_of_the_language_go_before_queries_of_no_language(tmp_path: Path):
    root = folder(tmp_path, {"queries.jsonl": lines([{"_id": "q1", "text": "fox"}])})
    assert load_collection(root, "sw").queries["q1"] == "mbweha"
    assert load_collection(root, "en").queries == {"q1": "fox"}


def test_blank_lines_and_numbers_as_ids_are_read(tmp_path: Path):
    root = folder(
        tmp_path,
        {
            "corpus.jsonl": '{"_id": 7, "text": "seven"}\n\n',
            "queries.sw.jsonl": '\n{"id": 1, "text": "saba"}\n',
            "qrels.tsv": "q\td\tg\n1\t7\t1\n",
        },
    )
    found = load_collection(root, "sw")
    assert (found.corpus, found.queries, found.qrels) == ({"7": "seven"}, {"1": "saba"}, {"1": {"7": 1}})


def test_queries_without_a_relevant_document_are_left_out(tmp_path: Path):
    queries = [*QUERIES, {"_id": "q3", "text": "unjudged"}, {"_id": "q4", "text": "only zeros"}]
    root = folder(tmp_path, {"queries.sw.jsonl": lines(queries), "qrels.tsv": QRELS + "q4\td1\t0\n"})
    found = load_collection(root, "sw")
    assert set(found.queries) == set(found.qrels) == {"q1", "q2"}


def test_judgements_of_unknown_queries_are_counted_in_a_warning_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    root = folder(tmp_path, {"qrels.tsv": QRELS + "q9\td1\t1\nq8\td1\t1\n"})
    with caplog.at_level(logging.WARNING):
        found = load_collection(root, "sw")
    assert "collection animals: 2 judgements name a query that is not there; ignored" in caplog.text
    assert set(found.qrels) == {"q1", "q2"}


def test_judged_documents_that_the_corpus_lacks_are_counted_and_stay_relevant(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    root = folder(tmp_path, {"qrels.tsv": QRELS + "q1\td9\t1\nq2\td9\t0\n"})
    with caplog.at_level(logging.WARNING):
        found = load_collection(root, "sw")
    assert "collection animals: 2 judgements name documents that the corpus does not have, such as d9" in caplog.text
    assert found.qrels["q1"] == {"d1": 2, "d2": 0, "d9": 1}


def test_a_document_judged_twice_with_different_grades_is_refused(tmp_path: Path):
    root = folder(tmp_path, {"qrels.tsv": QRELS + "q1\td1\t0\n"})
    with pytest.raises(ValueError, match=r"qrels\.tsv:5: document 'd1' is judged twice for query 'q1': 2 and 0"):
        load_collection(root, "sw")


def test_empty_documents_are_counted_in_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    root = folder(tmp_path, {"corpus.jsonl": lines([*CORPUS, {"_id": "d4", "text": " "}])})
    with caplog.at_level(logging.WARNING):
        assert len(load_collection(root, "sw").corpus) == 4
    assert "collection animals: 1 documents have no text" in caplog.text


def test_query_ids_that_repeat_are_paired_with_the_judgements_by_line(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    queries = lines([{"_id": "0", "text": "mbweha"}, {"_id": "0", "text": "mbwa"}, {"_id": "1", "text": "mbweha"}])
    qrels = "query-id\tcorpus-id\tscore\n0\td1\t1\n0\td2\t1\n1\td1\t1\n"
    root = folder(tmp_path, {"queries.sw.train.jsonl": queries, "qrels.train.tsv": qrels})
    with caplog.at_level(logging.WARNING):
        collection = load_collection(root, "sw", split="train")
    assert collection.queries == {"0@1": "mbweha", "0@2": "mbwa", "1@3": "mbweha"}
    assert collection.qrels == {"0@1": {"d1": 1}, "0@2": {"d2": 1}, "1@3": {"d1": 1}}
    assert "queries.sw.train.jsonl:1: query ids repeat" in caplog.text

    for other in ("0\td1\t1\n1\td1\t1\n0\td2\t1\n", "0\td1\t1\n1\td1\t1\n"):  # another order; a judgement less
        (root / "qrels.train.tsv").write_text("query-id\tcorpus-id\tscore\n" + other)
        with pytest.raises(ValueError, match=r"queries\.sw\.train\.jsonl:2: the id '0' appears twice"):
            load_collection(root, "sw", split="train")


@pytest.mark.parametrize("file", ["corpus.jsonl", "queries.sw.jsonl"])
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{not json", r"not JSON"),
        ("[1, 2]", r"not a JSON object"),
        ('{"text": "no id"}', r"needs `_id` and `text`"),
        ('{"_id": "x", "body": "no text"}', r"needs `_id` and `text`"),
        ('{"_id": "x", "text": null}', r"needs `_id` and `text`"),
        ('{"_id": "a b", "text": "t"}', r"'a b' is empty, or has white space"),
        ('{"_id": "a\\u00a0b", "text": "t"}', r"is empty, or has white space"),
        ('{"_id": "", "text": "t"}', r"'' is empty, or has white space"),
        ('{"_id": "twice", "text": "t"}\n{"_id": "twice", "text": "t"}', r"'twice' appears twice"),
    ],
    ids=["not JSON", "list", "no id", "no text", "text null", "space", "no-break space", "empty id", "twice"],
)
def test_a_bad_record_is_refused_with_its_file_and_line(tmp_path: Path, file: str, line: str, message: str):
    good = lines(CORPUS if file.startswith("corpus") else QUERIES)
    root = folder(tmp_path, {file: good + line + "\n"})
    number = len((root / file).read_text().splitlines())
    with pytest.raises(ValueError, match=message) as error:
        load_collection(root, "sw")
    assert f"{root / file}:{number}:" in str(error.value)


@pytest.mark.parametrize("file", ["corpus.jsonl", "queries.sw.jsonl", "qrels.tsv"])
def test_a_file_that_is_not_utf8_is_refused_by_its_name(tmp_path: Path, file: str):
    root = folder(tmp_path)
    (root / file).write_bytes((root / file).read_bytes() + b'{"_id": "x", "text": "caf\xe9"}\n')
    with pytest.raises(ValueError) as error:
        load_collection(root, "sw")
    assert str(root / file) in str(error.value)


@pytest.mark.parametrize("file", ["corpus.jsonl", "queries.sw.jsonl"])
def test_an_empty_file_is_refused_by_its_name(tmp_path: Path, file: str):
    root = folder(tmp_path, {file: "\n"})
    with pytest.raises(ValueError, match="empty") as error:
        load_collection(root, "sw")
    assert file in str(error.value)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1\td3\tgood", r"the grade 'good' is not a whole number"),
        ("q1\td3\t0.5", r"the grade '0.5' is not a whole number"),
        ("q1\td3", r"query id, document id and grade, separated by tabs"),
        ("q1\td3\t1\tx\ty", r"query id, document id and grade, separated by tabs"),
    ],
)
def test_a_bad_judgement_is_refused_with_its_file_and_line(tmp_path: Path, line: str, message: str):
    root = folder(tmp_path, {"qrels.tsv": QRELS + line + "\n"})
    with pytest.raises(ValueError, match=message) as error:
        load_collection(root, "sw")
    assert f"{root / 'qrels.tsv'}:5:" in str(error.value)


@pytest.mark.parametrize("first", ["q1 0 d1 one", "q1\td1\t1.5"], ids=["separated by spaces", "grade with a point"])
def test_a_bad_first_judgement_is_not_taken_for_a_header(tmp_path: Path, first: str):
    root = folder(tmp_path, {"qrels.tsv": f"{first}\nq2\td2\t1\n"})
    with pytest.raises(ValueError, match=r"qrels\.tsv:1:"):
        load_collection(root, "sw")


def test_a_missing_language_lists_the_languages_there_are(tmp_path: Path):
    root = folder(tmp_path, {"queries.so.jsonl": lines(QUERIES)})
    with pytest.raises(FileNotFoundError, match=r"no queries in 'fi'\. Languages here: so, sw\."):
        load_collection(root, "fi")


def test_a_collection_without_any_queries_says_so(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no queries in 'sw'\. Languages here: none"):
        load_collection(folder(tmp_path, {"queries.sw.jsonl": None}), "sw")


def test_a_folder_without_a_corpus_is_told_what_is_missing(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"animals: there is no file by which a layout .*beir: corpus\.jsonl"):
        load_collection(folder(tmp_path, {"corpus.jsonl": None}), "sw")


def test_missing_judgements_are_told_with_every_place_looked_at(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no judgements; one of qrels\.dev\.tsv, qrels/dev\.tsv"):
        load_collection(folder(tmp_path, {"qrels.tsv": None}), "sw", split="dev")


def test_a_collection_whose_judgements_are_all_zero_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"collection animals: no query in 'sw' has a relevant document"):
        load_collection(folder(tmp_path, {"qrels.tsv": "q\td\tg\nq1\td1\t0\n"}), "sw")


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"collection folder '.*/nowhere' does not exist"):
        load_collection(tmp_path / "nowhere")


def test_a_hub_id_that_cannot_be_reached_is_told_with_the_remedy():
    with pytest.raises(
        FileNotFoundError, match=r"'no-such/collection' could not be loaded.*network, or give a folder"
    ) as error:
        load_collection("no-such/collection")
    assert "no-such/collection/corpus" in str(error.value)


def test_the_collection_in_the_working_folder_has_the_folders_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder(tmp_path))
    assert load_collection(".", "sw").name == "animals"


def test_a_tilde_in_the_path_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_collection("~/animals", "sw").queries == {"q1": "mbweha", "q2": "mbwa"}


def by_language(where: Path) -> Path:
    """Questions with the same ids, sentences of each language in a separate file."""
    texts = {"sw": ("mbweha hubweka", "mbwa hulala"), "de": ("ein Fuchs bellt", "ein Hund schläft")}
    files: dict[str, str | bytes | None] = {"corpus.jsonl": None, "qrels.tsv": None}
    for code, own in texts.items():
        files[f"queries.{code}.jsonl"] = lines(QUERIES)
        files[f"corpus.{code}.jsonl"] = lines([{"_id": f"{code}-{n}", "text": text} for n, text in enumerate(own)])
        files[f"qrels.{code}.tsv"] = f"q1\t{code}-0\t1\nq2\t{code}-1\t1\n"
    return folder(where, files)


def test_documents_in_each_language_are_searched_by_the_queries_of_that_language(tmp_path: Path):
    found = load_collection(by_language(tmp_path), "de")
    assert (found.name, found.parallel) == ("animals", False)
    assert found.corpus == {"de-0": "ein Fuchs bellt", "de-1": "ein Hund schläft"}
    assert found.qrels == {"q1": {"de-0": 1}, "q2": {"de-1": 1}}


def test_pooled_documents_are_those_of_all_languages_at_once(tmp_path: Path):
    found = load_collection(by_language(tmp_path), "de", split="pooled")
    assert (found.name, found.parallel) == ("animals-pooled", True)
    assert sorted(found.corpus) == ["de-0", "de-1", "sw-0", "sw-1"]
    assert found.qrels == {"q1": {"de-0": 1, "sw-0": 1}, "q2": {"de-1": 1, "sw-1": 1}}


def test_a_folder_for_each_language_is_a_collection_for_each_language(tmp_path: Path):
    for code, text in (("sw", "mbweha"), ("fi", "kettu")):
        changes = {"corpus.jsonl": lines([{"_id": "d1", "text": text}]), "queries.sw.jsonl": None}
        inner = folder(tmp_path / code, changes | {f"queries.{code}.jsonl": lines(QUERIES), "qrels.tsv": "q1\td1\t1\n"})
        inner.rename(tmp_path / code / "moved")
        (tmp_path / "both").mkdir(exist_ok=True)
        (tmp_path / code / "moved").rename(tmp_path / "both" / code)
    found = [load_collection(tmp_path / "both", code) for code in ("sw", "fi")]
    assert [(one.name, one.language, one.corpus["d1"]) for one in found] == [("both", "sw", "mbweha"), ("both", "fi", "kettu")]
    with pytest.raises(FileNotFoundError, match=r"no queries in 'de'\. Languages here: fi, sw"):
        load_collection(tmp_path / "both", "de")


def test_another_split_has_its_own_queries_and_never_the_judgements_of_the_test(tmp_path: Path):
    train = lines([{"_id": "t1", "text": "swali la mafunzo"}])
    root = folder(tmp_path, {"queries.sw.train.jsonl": train, "qrels.train.tsv": "q\td\tg\nt1\td3\t1\n"})
    assert load_collection(root, "sw", split="train").queries == {"t1": "swali la mafunzo"}
    assert set(load_collection(root, "sw").queries) == {"q1", "q2"}
    with pytest.raises(FileNotFoundError, match=r"one of qrels\.dev\.tsv, qrels/dev\.tsv"):
        load_collection(root, "sw", split="dev")
