"""Collections too large for memory, and how layouts are told apart."""

import pytest

from modeling_optical.evaluation import StreamedCorpus, load_collection, texts_of
from modeling_optical.evaluation.collections import LAYOUTS, collection


def records(count: int):
    for number in range(count):
        yield f"file:{number + 1}", f"d{number}", f"text {number}"


def test_a_streamed_corpus_is_read_anew_every_time():
    reads = []

    def read():
        reads.append(1)
        return records(5)

    corpus = StreamedCorpus(read, "five")
    assert len(corpus) == 5
    assert list(corpus.items()) == list(corpus.items()) == [(f"d{n}", f"text {n}") for n in range(5)]
    assert len(reads) == 3  # one to check, two to read


def test_a_streamed_corpus_knows_which_ids_it_lacks():
    assert StreamedCorpus(lambda: records(100), "hundred").missing(["d3", "x", "d99", "d100"]) == ["x", "d100"]
    assert StreamedCorpus(lambda: iter(()), "empty").missing(["x"]) == ["x"]


def test_an_id_that_stands_twice_far_apart_is_found_with_its_place():
    def read():
        yield from records(1000)
        yield "file:1001", "d7", "again"

    with pytest.raises(ValueError, match="file:1001: the id 'd7' appears twice"):
        StreamedCorpus(read, "thousand")


def test_texts_are_found_in_dictionaries_and_streams_alike():
    streamed = StreamedCorpus(lambda: records(10), "ten")
    assert texts_of(streamed, ["d3", "x"]) == texts_of(dict(streamed.items()), ["d3", "x"]) == {"d3": "text 3"}


def test_a_large_collection_is_streamed_and_the_same(write, monkeypatch, caplog):
    files = {
        "corpus.jsonl": [{"_id": f"d{n}", "text": f"text {n}" if n else ""} for n in range(20)],
        "queries.jsonl": [{"_id": "q", "text": "text"}],
        "qrels.tsv": "q\td3\t1\nq\tgone\t1\n",
    }
    root = write(files)
    held = load_collection(root)
    monkeypatch.setattr(collection, "IN_MEMORY_BYTES", 10)
    caplog.clear()
    streamed = load_collection(root)
    assert isinstance(held.corpus, dict)
    assert isinstance(streamed.corpus, StreamedCorpus)
    assert list(streamed.corpus.items()) == list(held.corpus.items())
    assert (streamed.queries, streamed.qrels) == (held.queries, held.qrels)
    assert "1 judgements name documents that the corpus does not have, such as gone" in caplog.text
    assert "1 documents have no text" in caplog.text


def test_a_bad_line_of_a_streamed_corpus_is_named(write, monkeypatch):
    monkeypatch.setattr(collection, "IN_MEMORY_BYTES", 10)
    files = {"corpus.jsonl": '{"_id": "a", "text": "t"}\nnonsense\n', "queries.jsonl": '{"_id": "q", "text": "t"}\n'}
    with pytest.raises(ValueError, match=r"corpus\.jsonl:2: not JSON"):
        load_collection(write(files | {"qrels.tsv": "q\ta\t1\n"}))


def test_an_unknown_format_names_the_known_ones(write):
    with pytest.raises(ValueError, match=r"unknown format 'pyserini'.*beir, miracl, mteb, ciral"):
        load_collection(write({"corpus.jsonl": "{}"}), format="pyserini")


def test_a_folder_in_no_layout_is_told_how_layouts_are_recognised(write):
    with pytest.raises(FileNotFoundError, match=r"a layout that is known.*corpus.*topics\.miracl-v1\.0.*tatoeba"):
        load_collection(write({"readme.txt": "hello"}))


def test_layouts_have_different_names():
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS)
