"""A demo of a tiny student, which is its own teacher."""

import json

import pytest
import torch

from hub_cards.space.engine import DemoSettings
from modeling_optical import OpticalModel


@pytest.fixture
def settings(bert, tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    model.config.teacher = str(tmp_path / "teacher")
    for name in ("student", "teacher"):
        model.save_pretrained(tmp_path / name)
    texts = {"U+1F408": "the cat sat on the mat", "U+1F415": "the dog barked", "plain": "search works in <b> English"}
    lines = [json.dumps({"_id": key, "text": text}) + "\n" for key, text in texts.items()]
    (tmp_path / "corpus.jsonl").write_text("".join(lines))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    student = str(tmp_path / "student")
    examples = {"sw": [["the cat", "paka alikaa"]], "ar": [["the dog", "mbwa"]]}
    return DemoSettings(
        {"sw": student, "ar": student}, None, str(tmp_path / "corpus.jsonl"), None, examples, other_students=True
    )
