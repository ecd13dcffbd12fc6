"""Names of models, given by the user or brought by a file: nothing is imported, nothing outside is read, none depends on where
the user stands."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from modeling_optical import OpticalModel, OpticalRetriever, load_checkpoint
from modeling_optical.checkpoints.names import brought_name, resolve_model_path, teacher_of
from modeling_optical.encoding.encoded_corpus import Encoder
from modeling_optical.retriever import retriever_for_index
from recipes.cli import main

CODE = "import pathlib; (pathlib.Path(__file__).parent / 'ran').touch()\n"


@pytest.fixture(scope="module")
def student(backbones, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("names") / "student"
    OpticalModel.from_backbone(backbones["bert"], embedding_dim=8).save_pretrained(folder)
    return folder


@pytest.fixture
def shared(student, tmp_path, monkeypatch) -> Path:
    """A folder that a stranger shared, with the user in it: an index, a model, and packages that must not run."""
    shutil.copytree(student, tmp_path / "evil" / "model")
    for package in ("evil", "evil/inner"):
        (tmp_path / package).mkdir(exist_ok=True)
        (tmp_path / package / "__init__.py").write_text(CODE)
    OpticalRetriever.from_pretrained(student).index({"a": "the cat"}, tmp_path / "index", show_progress_bar=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def ran(folder: Path) -> bool:
    return bool(list(folder.rglob("ran"))) or any(name == "evil" or name.startswith("evil.") for name in sys.modules)


NAMES = [
    "package:evil/model",
    "package:evil.inner/model",
    "package:evil.inner.x/model",
    "package:.evil/model",
    "package:/model",
    "package:os.path/model",
    "package:venv.__main__/x",
    "package:torch/../evil/model",
    "package:torch/..",
    "package:torch//etc",
    "evil/model",
    "./evil/model",
    "../" * 9 + "etc",
    "evil/../evil/model",
    "~/x",
    "//host/share",
    "\\\\host\\share",
    "a\0b",
    "",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_an_index_brings_runs_nothing_and_is_refused_unless_it_is_plain(name, shared, student):
    manifest = json.loads((shared / "index/index.json").read_text())
    manifest["encoder"]["name"] = name
    (shared / "index/index.json").write_text(json.dumps(manifest))
    for queries in (None, student):
        with pytest.raises((ValueError, FileNotFoundError), match=r"documents=… \(--documents-model\)"):
            retriever_for_index(shared / "index", queries)
    assert not ran(shared)
    assert retriever_for_index(shared / "index", documents=student).search("cat")[0].id == "a"


@pytest.mark.parametrize("name", NAMES)
def test_a_teacher_that_a_student_names_runs_nothing_and_is_refused_unless_it_is_plain(name, shared):
    with pytest.raises((ValueError, FileNotFoundError), match="--teacher NAME"):
        teacher_of(name, "student", None)
    assert not ran(shared)
    assert teacher_of(name, "student", "mine") == "mine"


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("package:")])
def test_a_package_that_the_user_names_is_not_imported_either(name, shared):
    with pytest.raises((ValueError, FileNotFoundError), match=r"package"):
        resolve_model_path(name)
    assert not ran(shared)


@given(name=some.text(max_size=30) | some.from_regex(r"(package:)?[a-z./~]{0,12}", fullmatch=True))
def test_any_name_that_is_brought_is_plain_or_refused(name):
    before = set(sys.modules)
    try:
        found = brought_name(name, "index.json", "--model NAME")
    except (ValueError, FileNotFoundError) as error:
        assert "--model NAME" in str(error)  # noqa: PT017
    else:
        assert found == name
        assert ".." not in name
        assert "\0" not in name
    assert {module.partition(".")[0] for module in set(sys.modules) - before} <= set(sys.stdlib_module_names)


def test_an_installed_package_is_found_without_importing_it():
    site = Path(next(path for path in sys.path if path.endswith("site-packages")))
    script = "import sys; from modeling_optical.checkpoints import resolve_model_path\n"
    script += "print(resolve_model_path('package:pytest'), 'pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(site / "pytest"), "False"]


def test_an_index_that_was_made_here_is_searched_from_anywhere_without_naming_its_model(student, tmp_path, monkeypatch, capsys):
    shutil.copytree(student, tmp_path / "student")
    (tmp_path / "corpus.jsonl").write_text('{"_id": "a", "text": "the cat"}\n')
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["index", "corpus.jsonl", "--model", "student", "--output", "index"]) == 0
    for model in ([], ["--model", "student"], ["--model", str(student)]):
        assert main(["search", "index", "cat", *model]) == 0
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["search", "../index", "cat"]) == 0
    assert Encoder.of(load_checkpoint("../student")).name == str(tmp_path / "student")
    shutil.move(tmp_path / "student", tmp_path / "moved")
    assert main(["search", "../index", "cat"]) == 2
    assert "--documents-model" in capsys.readouterr().err
    assert main(["search", "../index", "cat", "--documents-model", "../moved"]) == 0
