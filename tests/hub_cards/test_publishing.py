"""Pushing to a Hub: one commit, going on after a break, and a sentence for every mistake."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from modeling_optical import OpticalModel
from recipes.cli import main

ROOT = Path(__file__).resolve().parents[2]


def test_a_student_is_pushed_in_one_commit_under_its_name(hub, student, capsys):
    (student / ".eval_results").mkdir()
    (student / ".eval_results" / "x.yaml").write_text("- dataset: {id: a/b, task_id: sw}\n  value: 1.0\n")
    (student / "checkpoint-5").mkdir()
    (student / "checkpoint-5" / "optimizer.pt").write_bytes(b"x")
    (student / ".hidden").write_text("x")
    assert main(["push", "--yes", str(student), "org/tiny"]) == 0
    repository = hub.model("org/tiny")
    assert len(repository.commits) == 2  # the empty one and ours
    expected = {p.name for p in student.iterdir() if p.is_file() and not p.name.startswith(".")}
    assert set(repository.files) == expected | {".gitattributes", ".eval_results/x.yaml"}
    assert b"load org/tiny" in repository.files["README.md"]
    assert repository.files["model.safetensors"] == (student / "model.safetensors").read_bytes()
    assert "PATH_OR_ID" in (student / "README.md").read_text()
    assert f"{hub.address}/org/tiny" in capsys.readouterr().out


PRIVATE = ("token.txt", "id_rsa", "credentials.json", "train.jsonl", "notes.md", "evil.py", ".env", ".git/config",
           "data/pairs.tsv", "optimizer.pt", "pytorch_model.bin", "model.safetensors.bak",
           "pictures/private.png", "1_Dense/key.pem")  # fmt: skip


def test_only_what_belongs_to_the_model_is_sent_and_the_rest_is_listed(hub, student, tmp_path, capsys):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.safetensors").write_bytes(b"s3cr3t")
    for name in PRIVATE:
        (student / name).parent.mkdir(exist_ok=True)
        (student / name).write_text("s3cr3t")
    (student / "pictures" / "plan.png").write_bytes(b"png")
    with open(student / "README.md", "a") as card:
        card.write("\n![plan](pictures/plan.png)\n![x](../outside/secret.safetensors)\n")
    for link in ("model-00001-of-00002.safetensors", "LICENSE", "vocab.txt"):
        (student / link).unlink(missing_ok=True)
        (student / link).symlink_to(outside / "secret.safetensors")
    (student / "0_Transformer").symlink_to(outside)
    (student / "loop").symlink_to(student)
    assert main(["push", "--yes", str(student), "org/tiny"]) == 0
    sent, out = hub.model("org/tiny").files, capsys.readouterr().out
    assert not any(b"s3cr3t" in content for content in sent.values())
    assert {"model.safetensors", "config.json", "tokenizer.json", "modeling_optical.py", "pictures/plan.png"} <= set(sent)
    for name in (*PRIVATE, "vocab.txt", "LICENSE", "0_Transformer", "loop"):
        assert name not in sent
        assert f"stays here    {name} (" in out
    assert "vocab.txt (a link that leads out of the folder)" in out
    assert main(["push", "--yes", str(student), "org/tiny", "--update", "--include", "notes.md"]) == 0
    assert hub.model("org/tiny").files["notes.md"] == b"s3cr3t"
    for name in ("vocab.txt", "../outside/secret.safetensors", "nothing"):
        assert main(["push", "--yes", str(student), "org/tiny", "--update", "--include", name]) == 2
        assert "cannot be sent" in capsys.readouterr().err


@pytest.mark.parametrize(("answer", "sent"), [("y", True), ("n", False), ("", False)])
def test_a_push_asks_first(hub, student, monkeypatch, answer, sent):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert main(["push", str(student), "org/tiny"]) == (0 if sent else 1)
    assert bool(hub.repositories) == sent


def test_a_push_without_anybody_to_ask_needs_yes(hub, student, capsys):
    assert main(["push", str(student), "org/tiny"]) == 2
    assert "give --yes" in capsys.readouterr().err
    assert hub.requests == []


def test_a_folder_of_this_machine_is_not_named_on_the_hub(hub, student):
    values = json.loads((student / "config.json").read_text()) | {"teacher": "/home/me/teacher"}
    (student / "config.json").write_text(json.dumps(values))
    assert main(["push", "--yes", str(student), "org/tiny"]) == 0
    assert json.loads(hub.model("org/tiny").files["config.json"]) == values | {"teacher": None}


@pytest.mark.parametrize("private", [True, False])
def test_a_new_repository_is_private_if_asked(hub, student, private):
    main(["push", "--yes", str(student), "org/tiny", *(["--private"] if private else [])])
    assert hub.model("org/tiny").private is private


def test_a_dry_run_lists_files_and_card_and_asks_nobody(hub, student, capsys, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    assert main(["push", "--yes", str(student), "org/tiny", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "model.safetensors" in out
    assert "load org/tiny" in out
    assert hub.requests == []


def test_a_push_that_broke_off_goes_on_and_sends_no_file_twice(hub, student, capsys):
    hub.broken_uploads = 10_000
    assert main(["push", "--yes", str(student), "org/tiny"]) == 2
    error = capsys.readouterr().err
    assert "the connection to the Hub broke" in error
    assert "Start the same command again: what has arrived is not sent twice." in error
    assert hub.model("org/tiny").commits == ["0" * 40]
    hub.broken_uploads = 0
    assert main(["push", "--yes", str(student), "org/tiny"]) == 0
    assert len(hub.uploads) == len(set(hub.uploads)) >= 1
    sent = len(hub.uploads)
    (student / "small.txt").write_text("new")
    assert main(["push", "--yes", str(student), "org/tiny", "--update", "--include", "small.txt"]) == 0
    assert len(hub.uploads) == sent
    assert len(hub.model("org/tiny").commits) == 3


def test_what_was_written_into_the_card_on_the_hub_stays(hub, student):
    main(["push", "--yes", str(student), "org/tiny"])
    files = hub.model("org/tiny").files
    files["README.md"] += b"\n## By hand\n\nkept\n"
    card = (student / "README.md").read_text().replace("# tiny", "# new name")
    (student / "README.md").write_text(card)
    assert main(["push", "--yes", str(student), "org/tiny", "--update"]) == 0
    text = hub.model("org/tiny").files["README.md"].decode()
    assert "# new name" in text
    assert "## By hand\n\nkept" in text


def test_weights_that_the_new_model_has_not_do_not_stay_to_be_loaded(hub, student):
    assert main(["push", "--yes", str(student), "org/tiny", "--also", "sentence-transformers"]) == 0
    hub.model("org/tiny").files["notes.md"] = b"mine"
    assert "0_Transformer/model.safetensors" in hub.model("org/tiny").files
    model = OpticalModel.from_pretrained(student)
    (student / "model.safetensors").unlink()
    model.save_pretrained(student, max_shard_size="20KB")
    assert main(["push", "--yes", str(student), "org/tiny", "--update"]) == 0
    files = set(hub.model("org/tiny").files)
    assert "model.safetensors.index.json" in files
    assert not {"model.safetensors", "modules.json", "0_Transformer/model.safetensors", "1_Dense/config.json"} & files
    assert {"notes.md", "README.md"} <= files


def test_a_repository_that_holds_something_is_left_alone_without_update(hub, student, capsys):
    main(["push", "--yes", str(student), "org/tiny"])
    before = dict(hub.model("org/tiny").files)
    assert main(["push", "--yes", str(student), "org/tiny"]) == 2
    assert "org/tiny is on the Hub already and holds" in (error := capsys.readouterr().err)
    assert "--update, or choose another name" in error
    assert hub.model("org/tiny").files == before


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, "no token for the Hub: log in with `hf auth login`, or set HF_TOKEN"),
        ("hf_wrong", "the Hub does not know this token: log in again"),
        ("hf_reader", "this token may not write to 'org': take a token with write access"),
    ],
)
def test_a_token_that_is_missing_wrong_or_without_rights_gets_a_sentence(hub, student, capsys, monkeypatch, token, message):
    monkeypatch.delenv("HF_TOKEN")
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    assert main(["push", "--yes", str(student), "org/tiny"]) == 2
    assert message in capsys.readouterr().err
    assert hub.repositories == {}


def test_no_connection_and_offline_mode_get_a_sentence(hub, student, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert main(["push", "--yes", str(student), "org/tiny"]) == 2
    assert "the connection to the Hub broke (ConnectError)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "holds no model: give the folder that holds config.json"),
        (lambda f: (f / "model.safetensors").unlink(), "has a config.json but no model.safetensors"),
        (lambda f: (f / "README.md").unlink(), "has no card (README.md). A run writes one"),
        (
            lambda f: (f / "README.md").write_text("---\nlanguage: [sw\n---\n"),
            "README.md: the metadata at the top of the card is not YAML",
        ),
        (lambda f: f.rename(f.parent / "elsewhere"), "is not a folder: give the folder of a trained student"),
    ],
)
def test_a_folder_without_a_model_or_a_card_gets_a_sentence(hub, student, capsys, change, message):
    change(student)
    assert main(["push", "--yes", str(student), "org/tiny"]) == 2
    assert message in capsys.readouterr().err
    assert hub.requests == []


def test_the_folder_of_a_run_says_where_its_student_is(hub, student, capsys):
    assert main(["push", "--yes", str(student.parent), "org/tiny"]) == 2
    assert f"holds no model: push {student}" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tiny", "a/b/c", "org/ti ny", "org/--x"])
def test_a_name_that_the_hub_does_not_take_gets_a_sentence(hub, student, capsys, name):
    assert main(["push", "--yes", str(student), name]) == 2
    assert "is not a name on the Hub" in capsys.readouterr().err


def test_metadata_that_the_hub_refuses_is_told_in_its_words(hub, student, capsys):
    card = (student / "README.md").read_text().replace("license: mit", "license: mine")
    (student / "README.md").write_text(card)
    assert main(["push", "--yes", str(student), "org/tiny"]) == 2
    assert '"license" must be one of' in capsys.readouterr().err


def test_a_teacher_of_this_machine_and_a_missing_licence_are_noted(student, capsys):
    values = json.loads((student / "config.json").read_text()) | {"teacher": "/models/teacher"}
    (student / "config.json").write_text(json.dumps(values))
    (student / "README.md").write_text("# no metadata\n")
    main(["push", "--yes", str(student), "org/tiny", "--dry-run"])
    out = capsys.readouterr().out
    assert "the teacher is a folder of this machine (/models/teacher), which is not named on the Hub" in out
    assert "the card names no licence" in out


LOAD = """
import json, sys
if sys.argv[1] == "without":
    sys.modules["modeling_optical"] = None  # importing it fails
else:
    import modeling_optical
from transformers import AutoModel
model = AutoModel.from_pretrained("org/tiny", trust_remote_code=sys.argv[1] == "without")
print(json.dumps(model.encode_query(["paka alikaa"])[0].tolist()))
"""
LOAD_SENTENCE_TRANSFORMERS = """
import json
from sentence_transformers import MultiVectorEncoder
print(json.dumps(MultiVectorEncoder("org/tiny").encode_query(["paka alikaa"])[0].tolist()))
"""


def loaded_elsewhere(hub, folder: Path, script: str, *arguments: str) -> np.ndarray:
    """Vectors of the pushed model, in a process that knows the Hub alone."""
    environment = os.environ | {"HF_ENDPOINT": hub.address, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(folder / "home")}
    environment |= {"HF_HUB_OFFLINE": "0", "PYTHONPATH": str(ROOT)}
    environment.pop("HF_TOKEN", None)
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], env=environment, cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return np.array(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("package", ["with", "without"])
def test_a_pushed_student_loads_from_the_hub_with_and_without_the_package(hub, student, tmp_path, package):
    main(["push", "--yes", str(student), "org/tiny"])
    vectors = loaded_elsewhere(hub, tmp_path, LOAD, package)
    np.testing.assert_allclose(vectors, OpticalModel.from_pretrained(student).encode_query(["paka alikaa"])[0], atol=1e-5)


def test_a_student_pushed_for_sentence_transformers_too_loads_there_and_says_so(hub, student, tmp_path):
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    before = sorted(p.name for p in student.iterdir())
    assert main(["push", "--yes", str(student), "org/tiny", "--also", "sentence-transformers"]) == 0
    assert sorted(p.name for p in student.iterdir()) == before
    assert b'MultiVectorEncoder("org/tiny")' in hub.model("org/tiny").files["README.md"]
    vectors = loaded_elsewhere(hub, tmp_path, LOAD_SENTENCE_TRANSFORMERS)
    np.testing.assert_allclose(vectors, OpticalModel.from_pretrained(student).encode_query(["paka alikaa"])[0], atol=1e-5)


def test_a_space_is_pushed_beside_the_model(hub, student):
    values = json.loads((student / "config.json").read_text()) | {"teacher": "org/teacher"}
    (student / "config.json").write_text(json.dumps(values))
    assert main(["push", "--yes", str(student), "org/tiny", "--space"]) == 0
    files = hub.repositories["space", "org/tiny-demo"].files
    assert set(files) == {".gitattributes", "README.md", "app.py", "requirements.txt", "settings.json", "corpus.jsonl"}
    assert json.loads(files["settings.json"])["students"] == {"sw": "org/tiny"}
    assert main(["push", "--yes", str(student), "org/tiny", "--space", "--update"]) == 0
    card = hub.repositories["space", "org/tiny-demo"].files["README.md"].decode()
    assert card.count("Search in Swahili") == 1
    assert 'python_version: "3.11"' in card or "python_version: '3.11'" in card
