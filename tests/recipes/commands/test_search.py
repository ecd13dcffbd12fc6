"""`optical encode`, `index` and `search` through the command line."""

import io
import json
from pathlib import Path

import pytest
import torch

from modeling_optical import OpticalModel
from modeling_optical.encoding.encoded_corpus import EncodedCorpus
from recipes.cli import main
from recipes.commands import search as search_command

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
    assert "was encoded by teacher" in capsys.readouterr().err


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
