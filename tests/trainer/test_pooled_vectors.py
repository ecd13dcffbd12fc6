"""Distilling the pooled vector beside the token vectors: cache, batches, objective, training, what is refused."""

import pytest
import torch
from torch.nn import functional

from modeling_optical import OpticalForDistillation, load_checkpoint
from trainer import OpticalTrainer, OpticalTrainingArguments, Teacher, TeacherCache
from trainer.distillation.collator import DistillationCollator
from trainer.objectives import NoOptions, ObjectiveContext, PooledVectorMSE
from trainer.teachers.projection import fit_projection, project_model

from .conftest import make_bitext

TEXTS = ["cat mat dog", "search works", "cat mat dog teacher vector"]


@pytest.fixture
def text_tower(clip: str) -> Teacher:
    return Teacher(load_checkpoint(clip), max_length=32)


def make_student(folder: str, **config) -> OpticalForDistillation:
    """A student with CLIP's dimension."""
    torch.manual_seed(3)
    values = {"embedding_dim": 24, "pooling_mode": "mean", "project_pooled": True} | config
    return OpticalForDistillation.from_backbone(folder, **values)


@pytest.fixture
def student(backbones: dict[str, str]) -> OpticalForDistillation:
    return make_student(backbones["xlm-roberta"])


def arguments(folder, **values) -> OpticalTrainingArguments:
    own = {"objectives": {"pooled_vector_mse": 1.0, "transport": 1.0}, "max_steps": 2, "per_device_train_batch_size": 4}
    return OpticalTrainingArguments(output_dir=str(folder), use_cpu=True, report_to="none", logging_steps=1, **own | values)


def test_the_loss_is_the_squared_distance_of_unit_vectors():
    generator = torch.Generator().manual_seed(0)
    one, two = torch.randn(5, 6, generator=generator), torch.randn(5, 6, generator=generator)
    loss, parts = PooledVectorMSE(NoOptions(), ObjectiveContext(dim=6))({"pooled_vector": one}, {"teacher_pooled": two})
    assert loss.item() == pytest.approx((2 - 2 * functional.cosine_similarity(one, two)).mean().item(), abs=1e-6)
    assert parts["pooled_vector_mse"] == loss
    same, _ = PooledVectorMSE(NoOptions(), ObjectiveContext(dim=6))({"pooled_vector": 3 * one}, {"teacher_pooled": one})
    assert same.item() == pytest.approx(0, abs=1e-6), "length does not count"


def test_the_cache_keeps_the_pooled_vector_of_each_text(text_tower, tmp_path):
    cache = TeacherCache(tmp_path, text_tower, dtype="float32", shard_size=2)
    cache.build(TEXTS, show_progress_bar=False)
    wanted = text_tower.model.encode_pooled(TEXTS, max_length=32)
    for text, vector in zip(TEXTS, wanted, strict=True):
        torch.testing.assert_close(TeacherCache(tmp_path, text_tower, dtype="float32")[text].pooled, vector)


@pytest.mark.parametrize("live", [True, False])
def test_a_batch_has_the_teachers_pooled_vectors_where_asked_for(text_tower, student, tmp_path, live):
    cache = TeacherCache(tmp_path, text_tower)
    cache.build(TEXTS, show_progress_bar=False)
    pairs = [{"source": text, "target": "paka"} for text in TEXTS]
    processor, teacher = student.get_processor(), text_tower if live else cache
    batch = DistillationCollator(processor, teacher, with_pooled=True)(pairs)
    torch.testing.assert_close(batch["teacher_pooled"], text_tower.model.encode_pooled(TEXTS), atol=2e-3, rtol=0)
    assert "teacher_pooled" not in DistillationCollator(processor, teacher)(pairs)


def test_training_brings_the_pooled_vectors_together(text_tower, student, tmp_path):
    bitext = make_bitext(16)
    teacher = text_tower.model.encode_pooled(bitext["source"])

    def distance() -> float:
        own = functional.normalize(student.encode_pooled(bitext["target"]), dim=-1)
        return (own - teacher).square().sum(1).mean().item()

    before = distance()
    own = arguments(tmp_path, max_steps=10, learning_rate=1e-3)
    trainer = OpticalTrainer(model=student, args=own, teacher=text_tower, train_dataset=bitext)
    trainer.train()
    assert distance() < 0.8 * before
    assert {"pooled_vector_mse", "transport"} <= set(trainer.state.log_history[0])


def test_a_text_tower_can_be_the_student(text_tower, clip, tmp_path):
    model = load_checkpoint(clip, model_class=OpticalForDistillation)
    trainer = OpticalTrainer(model=model, args=arguments(tmp_path), teacher=text_tower, train_dataset=make_bitext(8))
    trainer.train()
    assert trainer.state.log_history[0]["pooled_vector_mse"] > 0


@pytest.mark.parametrize(
    ("config", "values", "message"),
    [
        ({"pooling_mode": None, "project_pooled": False}, {}, "the student has none: set its pooling_mode"),
        ({"project_pooled": False}, {}, "24 dimensions, the student's 32"),
        ({}, {"gradient_cache_chunk_size": 2}, "cannot go together"),
    ],
)
def test_what_cannot_be_compared_is_refused(text_tower, backbones, tmp_path, config, values, message):
    model = make_student(backbones["xlm-roberta"], **config)
    with pytest.raises(ValueError, match=message):
        OpticalTrainer(model=model, args=arguments(tmp_path, **values), teacher=text_tower, train_dataset=make_bitext(8))


def test_a_teacher_without_a_pooled_vector_is_refused(teacher, backbones, tmp_path):
    model = make_student(backbones["xlm-roberta"], embedding_dim=8)
    with pytest.raises(ValueError, match="the teacher has none"):
        OpticalTrainer(model=model, args=arguments(tmp_path), teacher=teacher, train_dataset=make_bitext(8))


def test_a_text_tower_is_not_projected_out_of_the_space_of_its_images(text_tower):
    projection = fit_projection(text_tower.model, [row["source"] for row in make_bitext(30)], 4)
    with pytest.raises(ValueError, match="would leave the space of the images"):
        project_model(text_tower.model, projection)
