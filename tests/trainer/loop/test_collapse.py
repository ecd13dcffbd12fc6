"""The monitor of collapse: what it measures, what the log gets, when it warns."""

from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F

from trainer import OpticalTrainer, OpticalTrainingArguments
from trainer.loop.collapse import CollapseMonitor, vector_spread


def naive_similarity(rows: torch.Tensor) -> float:
    similarities = F.normalize(rows, dim=-1) @ F.normalize(rows, dim=-1).T
    return float(similarities[~torch.eye(len(rows), dtype=torch.bool)].mean())


def test_the_values_are_those_of_their_definitions():
    torch.manual_seed(0)
    vectors = F.normalize(torch.randn(5, 7, 6), dim=-1)
    mask = torch.rand(5, 7) < 0.6
    mask[:, 0] = True
    found = vector_spread(vectors, mask)
    singular = torch.linalg.svdvals(vectors[mask])
    share = singular / singular.sum()
    assert float(found.effective_rank) == pytest.approx(float((-share * share.log()).sum().exp()), rel=1e-4)
    assert float(found.token_similarity) == pytest.approx(naive_similarity(vectors[mask]), abs=1e-6)
    pooled = torch.stack([rows[own].sum(0) for rows, own in zip(vectors, mask, strict=True)])
    assert float(found.pooled_similarity) == pytest.approx(naive_similarity(pooled), abs=1e-6)


def test_padding_changes_no_value():
    torch.manual_seed(0)
    vectors, mask = F.normalize(torch.randn(3, 4, 6), dim=-1), torch.ones(3, 4, dtype=torch.bool)
    wider = vector_spread(F.pad(vectors, (0, 0, 0, 3), value=float("nan")), F.pad(mask, (0, 3)))
    for name, value in asdict(vector_spread(vectors, mask)).items():
        torch.testing.assert_close(getattr(wider, name), value)


def test_equal_vectors_fill_one_direction_and_orthogonal_ones_all():
    equal = F.normalize(torch.ones(4, 3, 8), dim=-1)
    mask = torch.ones(4, 3, dtype=torch.bool)
    assert float(vector_spread(equal, mask).effective_rank) == pytest.approx(1.0, abs=0.02)
    assert float(vector_spread(equal, mask).token_similarity) == pytest.approx(1.0, abs=1e-5)
    axes = torch.eye(8).reshape(2, 4, 8)
    assert float(vector_spread(axes, torch.ones(2, 4, dtype=torch.bool)).effective_rank) == pytest.approx(8.0, abs=1e-4)


def test_an_empty_batch_has_a_spread():
    found = vector_spread(torch.zeros(2, 3, 4), torch.zeros(2, 3, dtype=torch.bool))
    assert all(torch.isfinite(value) for value in asdict(found).values())


def test_a_large_batch_is_not_kept():
    monitor = CollapseMonitor(0.25)
    vectors, mask = torch.randn(200, 3, 4), torch.ones(200, 3, dtype=torch.bool)
    monitor.see(vectors, mask, vectors, mask)
    assert all(len(t.untyped_storage()) <= 64 * 3 * 4 * 4 for t in monitor._seen)


def train(student, teacher, bitext, folder, **values):
    values = {
        "output_dir": str(folder), "max_steps": 12, "per_device_train_batch_size": 8, "logging_steps": 2, "report_to": "none",
        "use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "dataloader_pin_memory": False, "learning_rate": 0.01,
    } | values  # fmt: skip
    trainer = OpticalTrainer(model=student, args=OpticalTrainingArguments(**values), teacher=teacher, train_dataset=bitext)
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def test_the_log_has_the_spread_and_a_healthy_student_is_not_warned_about(student, teacher, bitext, tmp_path, caplog):
    entries = train(student, teacher, bitext, tmp_path)
    assert len(entries) == 6
    for entry in entries:
        assert 1 <= entry["effective_rank"] <= 8
        assert -1 <= entry["cosine_between_own_tokens"] <= 1
        assert -1 <= entry["cosine_between_own_texts"] <= 1
        assert 1 <= entry["teacher_effective_rank"] <= 8
    assert "collapsing" not in caplog.text


def test_a_collapsing_student_is_warned_about_once_with_advice(student, teacher, bitext, tmp_path, caplog):
    with torch.no_grad():  # every token vector becomes +v or -v
        student.projection.weight.copy_(student.projection.weight[:1].expand_as(student.projection.weight) * 1.0)
    entries = train(student, teacher, bitext, tmp_path, learning_rate=1e-8)
    assert entries[-1]["effective_rank"] < 0.25 * entries[-1]["teacher_effective_rank"]
    text = caplog.text.replace("\n", " ")
    assert text.count("token vectors are collapsing") == 1
    assert "Lower learning_rate" in text


def test_the_monitor_can_be_switched_off_and_a_wrong_threshold_is_named(student, teacher, bitext, tmp_path):
    assert "effective_rank" not in train(student, teacher, bitext, tmp_path, collapse_threshold=None, max_steps=2)[0]
    with pytest.raises(ValueError, match=r"collapse_threshold is 2; it must lie between 0 and 1"):
        OpticalTrainingArguments(output_dir=str(tmp_path), collapse_threshold=2, use_cpu=True)
