"""A sentence encoder as the teacher of a whole run: its token vectors, their mean, and its pooled vector."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from modeling_optical import load_checkpoint
from modeling_optical.evaluation import read_results
from recipes.cli import main
from trainer import ObjectiveContext, Teacher, build_objectives

PAIRS = [("the cat sat", "paka alikaa"), ("the dog barked", "mbwa akabweka"), ("search works", "utafutaji hufanya"),
         ("a good teacher", "mwalimu mzuri"), ("the same vector", "vekta ileile"), ("the mat", "mkeka")]  # fmt: skip


@pytest.fixture
def sentence_encoder(bert: str, tmp_path: Path) -> str:
    """A SentenceTransformer with a dense layer behind its pooling, saved by its own library."""
    package = pytest.importorskip("sentence_transformers", reason="pip install 'sentence-transformers>=6'")
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(0)
    modules = [Transformer(bert, max_seq_length=24), Pooling(32, pooling_mode="mean"), Dense(32, 12), Normalize()]
    package.SentenceTransformer(modules=modules, device="cpu").save(str(tmp_path / "st"), create_model_card=False)
    return str(tmp_path / "st")


def test_a_recipe_distils_a_sentence_encoder(sentence_encoder: str, tmp_path: Path):
    (tmp_path / "pairs.tsv").write_text("".join(f"{en}\t{sw}\n" for en, sw in PAIRS * 3))
    arguments = ["distill", "--teacher", sentence_encoder, "--bitext", str(tmp_path / "pairs.tsv"), "--source", "0"]
    arguments += ["--target", "1", "--language", "sw", "--vocabulary", "60", "--output", str(tmp_path / "run")]
    overrides = ["training.max_steps=3", "training.logging_steps=1", "training.disable_tqdm=true", "data.held_out=0.2"]
    assert main([*arguments, *overrides]) == 0
    student = load_checkpoint(tmp_path / "run/student")
    log = json.loads((tmp_path / "run/student/training_log.json").read_text())
    assert {"transport", "contrastive"} <= set(log[0])
    assert student.encode_query(["paka"])[0].shape[1] == 32
    # The student of a sentence encoder is one, too.
    assert student.encode_pooled(["paka", "mbwa"], "query").shape == (2, 12)
    assert {row.system for row in read_results(tmp_path / "run/results.json")} >= {"floor", "start", "optical"}


def test_pooled_mse_is_between_the_means_of_unit_token_vectors(sentence_encoder: str):
    teacher = Teacher.from_pretrained(sentence_encoder, max_length=24)
    first, second = (entry.vectors for entry in teacher.encode(["the cat sat", "the dog"]))
    np.testing.assert_allclose(first.norm(dim=1), 1, atol=1e-5)
    wanted = ((first.mean(0) - second.mean(0)) ** 2).sum()
    output = {"token_vectors": first[None], "token_mask": torch.ones(1, len(first), dtype=torch.bool)}
    batch = {"teacher_vectors": second[None], "teacher_mask": torch.ones(1, len(second), dtype=torch.bool)}
    loss, _ = build_objectives({"pooled_mse": 1.0}, ObjectiveContext(dim=32))(output, batch, 0, 1)
    torch.testing.assert_close(loss, wanted)
