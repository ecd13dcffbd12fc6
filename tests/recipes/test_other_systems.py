"""What differs on macOS and Windows, as far as it can be tried here: consoles, names, processes that are spawned."""

import io
import json
import os
import pickle
import subprocess
import sys

import pytest

from modeling_optical import OpticalRetriever, load_checkpoint
from modeling_optical.evaluation import Collection
from recipes.checked_yaml import PACKAGE_FOLDER
from recipes.cli import main
from recipes.runs.recipe.distillation import Recipe
from recipes.runs.recipe.evaluation import check_distinct
from trainer.causal.collator import CausalCollator
from trainer.distillation.collator import DistillationCollator
from trainer.retrieval.collator import RetrievalCollator
from trainer.teachers.cache import TeacherCache
from trainer.teachers.teacher import Teacher

HINDI = "अंग्रेज़ी → 😀"


def printed(monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    """What a command prints on a console of Western Europe on Windows."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="cp1252", write_through=True))
    assert main(list(words)) == 0
    return written.getvalue().decode("cp1252")


@pytest.fixture
def index(bert, tmp_path):
    OpticalRetriever(load_checkpoint(bert)).index({"a": HINDI, "b": "the cat"}, tmp_path / "index", show_progress_bar=False)
    return str(tmp_path / "index")


def test_a_console_without_unicode_shows_what_it_can(monkeypatch, index):
    shown = printed(monkeypatch, "search", index, "the cat")
    assert "the cat" in shown
    assert r"\u2192 \U0001f600" in shown


def test_json_holds_every_character_on_a_console_without_unicode(monkeypatch, index):
    found = json.loads(printed(monkeypatch, "search", index, "the cat", "--json"))
    assert HINDI in [passage["text"] for passage in found["passages"]]


@pytest.mark.parametrize("names", [["Optical"], ["pooled", "Pooled"], ["CEILING"], ["straße", "STRASSE"]])
def test_systems_whose_folders_would_be_one_on_macos_and_windows_are_refused(names):
    values = {"language": "sw", "teacher": {"model": "t"}, "baselines": {name: {} for name in names}}
    with pytest.raises(ValueError, match=rf"baselines\.{names[-1]}: there is a system .* already"):
        Recipe.of(values | {"data": {"bitext": [{"path": "pairs.tsv"}]}})


@pytest.mark.parametrize("name", ["a/b", r"a\b", "a:b", "what?", "dot.", "space ", "NUL", "com1.txt", ""])
def test_a_system_whose_folder_windows_does_not_take_is_refused(name):
    values = {"language": "sw", "teacher": {"model": "t"}, "baselines": {name: {}}}
    with pytest.raises(ValueError, match="not every system takes this"):
        Recipe.of(values | {"data": {"bitext": [{"path": "pairs.tsv"}]}})


def test_collections_whose_run_files_would_be_one_are_refused():
    one, other, third = (Collection(name, "sw", {}, {}, {}) for name in ("XQuAD", "xquad", "flores"))
    check_distinct([one, third, Collection("XQuAD", "so", {}, {}, {})])
    with pytest.raises(ValueError, match=r"'XQuAD\.sw' and 'xquad\.sw'"):
        check_distinct([one, third, other])


def test_a_process_that_starts_anew_makes_the_same_batches(bert, tmp_path):
    """macOS and Windows start the workers of a data loader anew, where Linux copies the process."""
    collator = CausalCollator(load_checkpoint(bert).get_processor().tokenizer)
    pairs = [{"source": "the cat", "target": "paka", "kind": "query", "language": "sw"}] * 2
    (tmp_path / "work").write_bytes(pickle.dumps((collator, pairs)))
    script = (
        "import pickle, sys; collate, pairs = pickle.load(open(sys.argv[1], 'rb')); print(collate(pairs)['input_ids'].tolist())"
    )
    environment = os.environ | {"PYTHONPATH": str(PACKAGE_FOLDER.parent)}
    words = [sys.executable, "-c", script, str(tmp_path / "work")]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == collator(pairs)["input_ids"].tolist()


def test_a_windows_path_is_no_hub_id():
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_checkpoint(r"C:\models\student")


def test_what_a_loaders_worker_needs_can_be_sent_to_a_process_that_is_spawned(bert, tmp_path):
    teacher = Teacher(load_checkpoint(bert), max_length=16)
    processor, cache = teacher.processor, TeacherCache(tmp_path, teacher)
    cache.build(["the cat"], show_progress_bar=False)
    pair = {"source": "the cat", "target": "paka", "kind": "query", "language": "sw"}
    row = {"query": "the cat", "passages": ["a", "b"], "scores": [1.0, 0.0], "known_positives": []}
    for collator, features in (
        (DistillationCollator(processor, cache), [pair]),
        (RetrievalCollator(processor, None, passages_per_query=2, seed=0), [row]),
        (CausalCollator(processor.tokenizer), [pair]),
    ):
        expected, found = collator(features), pickle.loads(pickle.dumps(collator))(features)
        assert found["input_ids"].tolist() == expected["input_ids"].tolist()


@pytest.mark.parametrize(("own", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_leave_the_core_to_others_unless_the_user_says_otherwise(own, expected):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"PYTHONPATH": str(PACKAGE_FOLDER.parent)} | ({"OMP_WAIT_POLICY": own} if own else {})
    script = (
        "import os, sys; from recipes.cli import main; main([]); print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == f"{expected} False", done.stderr
