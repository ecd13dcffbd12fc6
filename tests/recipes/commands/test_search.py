"""`optical encode`, `index` and `search` through the command line."""

import argparse
import io
import json
import shlex
import socket
import sys
from pathlib import Path

import pytest
import torch

from modeling_optical import OpticalModel
from modeling_optical.encoding.encoded_corpus import EncodedCorpus
from modeling_optical.files.lines import CONTROLS
from recipes.cli import main
from recipes.commands import search as search_command
from recipes.commands.serve import _greeting

CORPUS = {"cat": "the cat sat on the mat", "dog": "and the dog barked", "search": "search works in English"}


@pytest.fixture
def workshop(bert, tmp_path, monkeypatch) -> Path:
    torch.manual_seed(0)
    for name in ("teacher", "student"):
        model = OpticalModel.from_backbone(bert, embedding_dim=8)
        model.save_pretrained(tmp_path / name)
    lines = "".join(json.dumps({"_id": i, "text": t}) + "\n" for i, t in CORPUS.items())
    (tmp_path / "corpus.jsonl").write_text(lines)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("engine", ["exact", "two-stage"])
def test_a_corpus_is_indexed_and_searched(workshop, capsys, engine):
    assert main(["index", "corpus.jsonl", "--model", "teacher", "--output", "index", "--engine", engine]) == 0
    assert "3 documents" in capsys.readouterr().out
    assert main(["search", "index", "and the dog barked", "-k", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1. dog")
    assert lines[1] == "   and the dog barked"
    assert len(lines) == 4
    assert main(["search", "index", "the dog", "--json", "-k", "1", "--model", "student"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["query"] == "the dog"
    assert set(answer["passages"][0]) == {"id", "score", "text"}


def test_the_hint_after_indexing_is_the_whole_command_and_a_query_without_a_model_says_who_reads_it(workshop, capsys):
    assert main(["index", "corpus.jsonl", "--model", "teacher", "--output", "an index"]) == 0
    out = capsys.readouterr().out
    assert "optical search 'an index' \"a query\" --model STUDENT" in out
    assert "distilled from teacher" in out
    assert main(["search", "an index", "the dog", "--json"]) == 0
    found = capsys.readouterr()
    json.loads(found.out)
    assert f"read by {workshop / 'teacher'}, the model that made this index" in found.err
    assert "name its student: --model STUDENT" in found.err
    assert main(["search", "an index", "the dog", "--model", "student"]) == 0
    assert "read by" not in capsys.readouterr().err
    # A student that has read the documents itself is the one to ask with.
    config = json.loads((workshop / "student/config.json").read_text()) | {"teacher": "org/teacher"}
    (workshop / "student/config.json").write_text(json.dumps(config))
    assert main(["index", "corpus.jsonl", "--model", "student", "--output", "own"]) == 0
    assert 'optical search own "a query" --model student' in capsys.readouterr().out
    assert main(["search", "own", "the dog"]) == 0
    assert "name its student" not in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])
def test_the_server_says_how_to_ask_it_and_what_comes_back(host):
    options = argparse.Namespace(host=host, port=8123)
    said = _greeting(3, options)
    _, address, *words = shlex.split(next(line for line in said.splitlines() if "curl" in line))
    assert address.endswith(":8123/search")
    assert "0.0.0.0" not in address
    assert set(json.loads(words[words.index("-d") + 1])) == {"queries", "k"}
    assert "CDN" in said


def test_queries_are_read_line_by_line(workshop, capsys, monkeypatch):
    main(["index", "corpus.jsonl", "--model", "teacher", "--output", "index"])
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.StringIO("and the dog barked\n\nsearch works in English\n"))
    assert main(["search", "index", "-k", "1", "--json"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [a["passages"][0]["id"] for a in answers] == ["dog", "search"]


def test_words_that_matched_are_coloured_on_a_terminal_alone(workshop, capsys, monkeypatch):
    main(["index", "corpus.jsonl", "--model", "teacher", "--output", "index"])
    capsys.readouterr()
    main(["search", "index", "and the dog barked", "-k", "1"])
    assert "\033" not in capsys.readouterr().out
    monkeypatch.setattr(search_command, "_in_colour", lambda: True)
    main(["search", "index", "and the dog barked", "-k", "1"])
    line = capsys.readouterr().out.splitlines()[1]
    assert "\033[1;32mdog\033[0m" in line
    plain = line.replace("\033[1;32m", "").replace("\033[32m", "").replace("\033[0m", "")
    assert plain == "   and the dog barked"


@pytest.mark.parametrize(("variable", "terminal", "coloured"), [("", True, True), ("1", True, False), ("", False, False)])
def test_no_color_and_pipes_turn_colour_off(monkeypatch, variable, terminal, coloured):
    monkeypatch.setenv("NO_COLOR", variable)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    assert search_command._in_colour() == coloured


def test_an_encoding_made_before_is_indexed_and_documents_are_added(workshop, capsys):
    assert main(["encode", "corpus.jsonl", "--model", "teacher", "--output", "encoded", "--dtype", "int8", "--verify"]) == 0
    assert len(EncodedCorpus("encoded")) == 3
    index = ["index", "corpus.jsonl", "--model", "teacher", "--output", "index", "--encoded", "encoded"]
    assert main(index) == 0
    (workshop / "more.jsonl").write_text('{"_id": "more", "text": "a good teacher"}\n')
    add = ["index", "more.jsonl", "--model", "teacher", "--output", "index", "--add"]
    assert main(add) == 0
    assert "4 in the index" in capsys.readouterr().out
    assert main(add) == 2
    assert "in the index already: more" in capsys.readouterr().err
    index[3] = "student"
    index[5] = "other"
    assert main(index) == 2
    assert f"was encoded by {workshop / 'teacher'}" in capsys.readouterr().err


def test_a_student_that_encodes_documents_is_told(workshop, capsys):
    student = OpticalModel.from_pretrained(workshop / "teacher")
    student.config.teacher = "org/teacher"
    student.save_pretrained(workshop / "student")
    index = ["index", str(workshop / "corpus.jsonl"), "--output", str(workshop / "i"), "--model"]
    assert main([*index, str(workshop / "student")]) == 0
    assert "is a student, and encodes the documents here" in capsys.readouterr().err
    assert main([*index, str(workshop / "teacher"), "--overwrite"]) == 0
    assert "is a student" not in capsys.readouterr().err


def test_what_is_stored_is_not_asked_for_otherwise(workshop, capsys):
    corpus, model = str(workshop / "corpus.jsonl"), str(workshop / "teacher")
    index = ["index", corpus, "--model", model, "--output", str(workshop / "i")]
    assert main([*index, "--dtype", "int8"]) == 0
    for option, value, there in (
        ("--dtype", "float32", "int8"),
        ("--engine", "two-stage", "exact"),
        ("--pool-factor", "2", "None"),
    ):
        assert main([*index, "--add", option, value]) == 2
        assert f"{option} is {value}, and the index {workshop / 'i'} has {there}: leave {option} out" in capsys.readouterr().err
    assert main(["encode", corpus, "--model", model, "--output", str(workshop / "e")]) == 0
    again = ["index", corpus, "--model", model, "--output", str(workshop / "j"), "--encoded", str(workshop / "e")]
    assert main([*again, "--dtype", "int8"]) == 2
    assert "has float16: leave --dtype out" in capsys.readouterr().err


def test_a_port_that_cannot_be_had_is_told_before_a_model_is_loaded(workshop, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "nowhere", "--port", str(port)]) == 2
        assert f"127.0.0.1, port {port}: " in capsys.readouterr().err
    assert main(["serve", "nowhere", "--port", "99999"]) == 2
    assert "--port is 99999; ports are from 1 to 65535" in capsys.readouterr().err


def test_mistakes_are_told(workshop, capsys):
    for words, message in [
        (["index", "nothing.jsonl", "--model", "teacher", "--output", "i"], "there is no such file or folder"),
        (["index", "corpus.jsonl", "--model", "teacher", "--output", "i", "--setting", "x"], "key=value is needed"),
        (["index", "corpus.jsonl", "--model", "nowhere/", "--output", "i"], "nowhere"),
        (["search", "nothing", "query"], "is not an index"),
    ]:
        assert main(words) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_encode_what_one_does(workshop):
    assert main(["encode", "corpus.jsonl", "--model", "teacher", "--output", "one", "--shard-size", "1"]) == 0
    command = ["encode", "corpus.jsonl", "--model", "teacher", "--output", "two", "--shard-size", "1", "--num-processes", "2"]
    assert main(command) == 0
    first, second = ({p.name: p.read_bytes() for p in (workshop / name).iterdir()} for name in ("one", "two"))
    assert first == second


def test_documents_and_messages_give_the_terminal_no_commands(workshop, capsys):
    hostile = {
        "clear\x1b[2J": "the \x1b]0;title\x07 cat \x9b31m\r\n1. fake  9.999\x1b[8m \u202egnp.exe\u2069 \x7f",
        "plain": "शिक्षक 👩\u200d🏫 \t tab",
    }
    lines = "".join(json.dumps({"_id": i.replace(" ", ""), "text": t}) + "\n" for i, t in hostile.items())
    (workshop / "corpus.jsonl").write_text(lines)
    assert main(["index", "corpus.jsonl", "--model", "teacher", "--output", "index"]) == 0
    capsys.readouterr()
    for words in (
        ["search", "index", "cat"],
        ["search", "index", "cat", "--json"],
        ["index", "x\x1b[2J", "--model", "teacher\x9b", "--output", "o"],
    ):
        main(words)
        out, err = capsys.readouterr()
        shown = out + "".join(line for line in err.split("\n") if line.startswith("optical:"))
        assert not CONTROLS.search(shown.replace("\n", ""))
    main(["search", "index", "cat"])
    out = capsys.readouterr().out
    assert "शिक्षक 👩\u200d🏫" in out
    assert len(out.splitlines()) == 4
    main(["search", "index", "cat", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert {p["id"]: p["text"] for p in answer["passages"]} == hostile


def test_an_index_is_replaced_only_when_asked_and_by_what_belongs_together(workshop, capsys):
    index = ["index", "corpus.jsonl", "--model", "teacher", "--output", "index"]
    assert main(["encode", "corpus.jsonl", "--model", "teacher", "--output", "encoded"]) == 0
    assert main(index) == 0

    def found() -> str:
        capsys.readouterr()
        assert main(["search", "index", "and the dog barked", "--json"]) == 0
        return capsys.readouterr().out

    before = found()
    corpus = (workshop / "corpus.jsonl").read_text()
    changed = {
        "another text": corpus.replace("barked", "slept"),
        "another order": "".join(reversed(corpus.splitlines(True))),
        "a document more": corpus + '{"_id": "more", "text": "x"}\n',
        "a document less": "".join(corpus.splitlines(True)[:-1]),
        "a bad last line": corpus + "{",
    }
    for text in changed.values():
        (workshop / "corpus.jsonl").write_text(text)
        assert main([*index, "--encoded", "encoded", "--overwrite"]) == 2
        assert found() == before
    (workshop / "corpus.jsonl").write_text(corpus)
    for more in ([], ["--encoded", "encoded"]):
        assert main([*index, *more]) == 2
        assert "--overwrite" in capsys.readouterr().err
        assert main([*index, *more, "--overwrite"]) == 0
        assert found() == before


@pytest.mark.parametrize(("engine", "package"), [("lancedb", "lancedb"), ("qdrant", "qdrant_client"), ("two-stage", "bm25s")])
def test_a_missing_engine_package_is_told_before_the_corpus_is_encoded(workshop, capsys, monkeypatch, engine, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("modeling_optical.retriever.encode_corpus", lambda *a, **k: pytest.fail("encoded"))
    words = ["index", "corpus.jsonl", "--model", "teacher", "--output", "i", "--engine", engine, "--setting", "candidates=bm25"]
    assert main(words if engine == "two-stage" else words[:-2]) == 2
    assert "pip install" in capsys.readouterr().err
    assert not (workshop / "i").exists()
