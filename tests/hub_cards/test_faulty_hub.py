"""Loading from a Hub that is overloaded, broken or breaks off: a retry where that helps, else its reason, never half a file."""

from pathlib import Path

import huggingface_hub
import pytest
import torch
from hub_server import Repository
from packaging.version import Version

from modeling_optical import load_checkpoint
from recipes.cli import main


@pytest.fixture
def published(hub, student):
    """The student on the Hub."""
    files = {p.relative_to(student).as_posix(): p.read_bytes() for p in student.rglob("*") if p.is_file()}
    hub.repositories["model", "org/tiny"] = Repository(files=files)
    return hub


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


_resumes = pytest.mark.skipif(
    Version(huggingface_hub.__version__) < Version("2"), reason="huggingface_hub 1 does not take up a file that broke off"
)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize(
    "faults", [pytest.param([429], id="429"), pytest.param(["half", 429], id="half a file, then 429", marks=_resumes)]
)
def test_a_passing_fault_is_waited_out(published, student, file, faults):
    published.faults[file] = list(faults)
    loaded = load_checkpoint("org/tiny")
    assert published.faults[file] == []
    assert torch.equal(weights(loaded), weights(load_checkpoint(student)))
    assert loaded.get_processor().tokenizer.get_vocab() == load_checkpoint(student).get_processor().tokenizer.get_vocab()


@pytest.mark.parametrize(("status", "why"), [(429, "too many requests"), (500, "its own trouble")])
def test_a_lasting_fault_is_told_with_what_to_do(published, status, why):
    published.faults["config.json"] = [status] * 100
    with pytest.raises(
        ConnectionError, match=rf"the Hub answered {status} .*config\.json of 'org/tiny' \({why}\).*start again"
    ):
        load_checkpoint("org/tiny")


@pytest.mark.parametrize("fault", [429, 500, "half"])
def test_weights_that_never_come_leave_nothing_that_would_be_taken_for_them(published, student, tmp_path, fault):
    published.faults["model.safetensors"] = [fault] * 100
    with pytest.raises((OSError, ValueError)):
        load_checkpoint("org/tiny")
    assert not list(Path(tmp_path / "hub-cache").rglob("snapshots/*/model.safetensors"))
    published.faults.clear()
    assert torch.equal(weights(load_checkpoint("org/tiny")), weights(load_checkpoint(student)))


def test_the_command_line_tells_it_in_a_sentence(published, tmp_path, capsys):
    published.faults["model.safetensors"] = [500] * 100
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "the cat"}\n')
    assert main(["index", str(tmp_path / "corpus.jsonl"), "--model", "org/tiny", "--output", str(tmp_path / "index")]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "org/tiny" in error
    assert "500" in error
