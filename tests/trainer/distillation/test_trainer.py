"""Training: the same trajectory however it is cut up, resumed or cached."""

import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, TrainerCallback

from modeling_optical import OpticalForDistillation, OpticalModel, TransportOptions
from trainer import DistillationCollator, OpticalTrainer, OpticalTrainingArguments, Teacher, TeacherCache, parse_objectives
from trainer.vocabulary import VocabularyOptions, adapt_vocabulary


class Trajectory(TrainerCallback):
    """Collects the logged losses and gradient norms."""

    def __init__(self):
        self.losses: list[float] = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in (logs or {}):
            self.losses.append(float(logs["loss"]))


def fresh_student(backbones) -> OpticalForDistillation:
    torch.manual_seed(3)
    student = OpticalForDistillation.from_backbone(backbones["xlm-roberta"], embedding_dim=8)
    for module in student.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return student


def train(student, teacher, bitext, folder, *, resume=None, trainer_kwargs=None, **arguments):
    values = {
        "output_dir": str(folder),
        "max_steps": 6,
        "per_device_train_batch_size": 8,
        "logging_steps": 1,
        "learning_rate": 1e-3,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": 5,
    } | arguments
    trajectory = Trajectory()
    trainer = OpticalTrainer(
        model=student,
        args=OpticalTrainingArguments(**values),
        teacher=teacher,
        train_dataset=bitext,
        callbacks=[trajectory],
        **(trainer_kwargs or {}),
    )
    trainer.train(resume_from_checkpoint=resume)
    weights = torch.cat([p.detach().flatten() for p in student.parameters()])
    return trajectory.losses, weights, trainer


OBJECTIVES = [{"transport": 1.0}, {"pooled_mse": 1.0}, {"transport": 1.0, "pooled_mse": 0.5}]


@pytest.mark.parametrize("objectives", OBJECTIVES, ids=["transport", "pooled_mse", "both"])
def test_accumulating_two_half_batches_gives_the_trajectory_of_whole_ones(backbones, teacher, bitext, tmp_path, objectives):
    whole, weights, _ = train(fresh_student(backbones), teacher, bitext, tmp_path, objectives=objectives)
    halves, other, _ = train(
        fresh_student(backbones),
        teacher,
        bitext,
        tmp_path,
        objectives=objectives,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
    )
    np.testing.assert_allclose(halves, whole, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(other, weights, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("objectives", OBJECTIVES, ids=["transport", "pooled_mse", "both"])
def test_stopping_and_resuming_gives_the_same_numbers(backbones, teacher, bitext, tmp_path, objectives):
    arguments = {"objectives": objectives, "initial_epsilon": 0.5, "max_steps": 6}
    straight, weights, _ = train(fresh_student(backbones), teacher, bitext, tmp_path / "a", **arguments)

    class StopAfterThree(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step == 3

    saving = {"save_strategy": "steps", "save_steps": 3}
    student = fresh_student(backbones)
    trajectory = Trajectory()
    values = {"per_device_train_batch_size": 8, "logging_steps": 1, "learning_rate": 1e-3, "report_to": "none", "seed": 5}
    OpticalTrainer(
        model=student,
        args=OpticalTrainingArguments(
            output_dir=str(tmp_path / "b"), use_cpu=True, disable_tqdm=True, **values, **arguments, **saving
        ),
        teacher=teacher,
        train_dataset=bitext,
        callbacks=[trajectory, StopAfterThree()],
    ).train()
    resumed, other, _ = train(fresh_student(backbones), teacher, bitext, tmp_path / "b", resume=True, **arguments, **saving)
    np.testing.assert_allclose(trajectory.losses + resumed[-3:], straight, rtol=1e-5)
    torch.testing.assert_close(other, weights, rtol=1e-5, atol=1e-6)


def test_cached_and_live_teacher_give_the_same_trajectory(backbones, teacher, bitext, tmp_path):
    live, weights, _ = train(fresh_student(backbones), teacher, bitext, tmp_path)
    cache = TeacherCache(tmp_path / "cache", teacher, dtype="float32")
    cache.build(bitext["source"], show_progress_bar=False)
    cached, other, _ = train(fresh_student(backbones), cache, bitext, tmp_path)
    np.testing.assert_allclose(cached, live, rtol=1e-4)
    torch.testing.assert_close(other, weights, rtol=1e-3, atol=1e-4)


def test_the_same_seed_gives_the_same_student(backbones, teacher, bitext, tmp_path):
    first, weights, _ = train(fresh_student(backbones), teacher, bitext, tmp_path)
    second, other, _ = train(fresh_student(backbones), teacher, bitext, tmp_path)
    assert first == second
    assert torch.equal(weights, other)


def test_training_brings_the_student_to_its_teacher(backbones, teacher, bitext, tmp_path):
    losses, _, trainer = train(
        fresh_student(backbones), teacher, bitext, tmp_path, max_steps=60, learning_rate=3e-3, max_grad_norm=5.0
    )
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert all(not p.requires_grad for p in teacher.model.parameters())
    names = {name for name, _ in trainer.model.named_parameters()}
    assert names == {name for name, _ in OpticalModel(trainer.model.config).named_parameters()}


def test_epsilon_falls_geometrically_and_stays(backbones, teacher, bitext, tmp_path):
    student = fresh_student(backbones)
    student.config.transport = TransportOptions(epsilon=0.05).to_dict()
    _, _, trainer = train(student, teacher, bitext, tmp_path, initial_epsilon=0.8, epsilon_annealing_steps=4)
    seen = []
    for step in range(7):
        trainer.state.global_step = step
        seen.append(trainer.epsilon)
    np.testing.assert_allclose(seen, [0.8, 0.4, 0.2, 0.1, 0.05, 0.05, 0.05], rtol=1e-9)
    trainer.args.epsilon_annealing_steps = 0.5
    trainer.state.global_step = 3
    assert trainer.epsilon == pytest.approx(0.05)


def test_every_part_of_the_loss_is_logged_and_adds_up(backbones, teacher, bitext, tmp_path):
    weights = {"transport": 1.0, "pooled_mse": 0.5}
    _, _, trainer = train(fresh_student(backbones), teacher, bitext, tmp_path, objectives=weights, max_steps=3)
    for log in trainer.state.log_history[:3]:
        assert log["loss"] == pytest.approx(log["transport"] + 0.5 * log["pooled_mse"], rel=1e-3, abs=2e-4)
        assert 0 <= log["unconverged"] <= 1


def test_the_loss_logged_first_is_the_loss_of_the_untrained_student(backbones, teacher, bitext, tmp_path):
    student = fresh_student(backbones)
    small = bitext.select(range(8))
    batch = DistillationCollator(student.processor, teacher)([small[i] for i in range(8)])
    with torch.no_grad():
        expected = float(student(**batch).loss)
    losses, _, _ = train(student, teacher, small, tmp_path, max_steps=1, per_device_train_batch_size=8)
    assert losses[0] == pytest.approx(expected, rel=1e-3)


def test_evaluation_reports_loss_and_translation_retrieval(backbones, teacher, bitext, tmp_path):
    student = fresh_student(backbones)
    trainer = OpticalTrainer(
        model=student,
        args=OpticalTrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True, disable_tqdm=True),
        teacher=teacher,
        train_dataset=bitext,
        eval_dataset=bitext,
    )
    metrics = trainer.evaluate()
    assert 0 < metrics["eval_loss"] < 2
    assert 0 <= metrics["eval_translation_success_at_1"] <= metrics["eval_translation_rr_at_10"] <= 1


def test_a_student_that_is_its_teacher_finds_every_sentence(bert, bitext, tmp_path):
    torch.manual_seed(3)
    student = OpticalForDistillation.from_backbone(bert, embedding_dim=8)
    teacher_model = OpticalModel.from_backbone(bert, embedding_dim=8)
    teacher_model.load_state_dict(student.state_dict())
    teacher = Teacher(teacher_model, max_length=24)
    same = bitext.map(lambda row: {"target": row["source"]})
    trainer = OpticalTrainer(
        model=student,
        args=OpticalTrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True),
        teacher=teacher,
        train_dataset=same,
        max_length=24,
    )
    assert trainer.translation_retrieval(same)["translation_success_at_1"] == 1.0


def test_embeddings_may_learn_at_their_own_rate(backbones, teacher, bitext, tmp_path):
    student = fresh_student(backbones)
    _, _, trainer = train(student, teacher, bitext, tmp_path, embedding_learning_rate=0.01, lr_scheduler_type="constant")
    rates = {id(parameter): group["lr"] for group in trainer.optimizer.param_groups for parameter in group["params"]}
    assert len(rates) == sum(1 for _ in student.parameters())
    embeddings = {id(p) for p in student.get_input_embeddings().parameters()}
    assert all(rate == (0.01 if key in embeddings else 1e-3) for key, rate in rates.items())


def test_embeddings_with_a_learning_rate_of_zero_stay_and_cost_nothing(backbones, teacher, bitext, tmp_path):
    student = fresh_student(backbones)
    before = {name: parameter.detach().clone() for name, parameter in student.named_parameters()}
    _, _, trainer = train(student, teacher, bitext, tmp_path, embedding_learning_rate=0)
    table = student.get_input_embeddings().weight
    assert table.grad is None
    assert all(parameter is not table for group in trainer.optimizer.param_groups for parameter in group["params"])
    changed = {name for name, parameter in student.named_parameters() if not torch.equal(parameter, before[name])}
    (own_name,) = (name for name, parameter in student.named_parameters() if parameter is table)
    assert own_name not in changed
    assert len(changed) > len(before) / 2


def test_a_negative_learning_rate_of_the_embeddings_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"embedding_learning_rate is -0\.1; it must be at least 0"):
        OpticalTrainingArguments(output_dir=str(tmp_path), embedding_learning_rate=-0.1)


def test_a_lexical_prior_pulls_the_plan_towards_translations(bert, teacher, bitext, tmp_path):
    student = OpticalForDistillation.from_backbone(bert, embedding_dim=8)
    _, table = adapt_vocabulary(student, list(bitext["source"]) * 4, list(bitext["target"]) * 4, VocabularyOptions(size=150))
    features = [bitext[i] for i in range(4)]
    plain = DistillationCollator(student.processor, teacher)(features)
    prior = DistillationCollator(student.processor, teacher, translations=table, lexical_prior=2.0)(features)
    assert "solving_bonus" not in plain
    with torch.no_grad():
        without, with_prior = student(**plain).plan.plan, student(**prior).plan.plan
    translated = prior["solving_bonus"] > 1.0
    assert float(with_prior[translated].sum()) > 2 * float(without[translated].sum())


def test_checkpoints_hold_the_student_alone_and_load_as_a_model(backbones, teacher, bitext, tmp_path):
    _, weights, _ = train(fresh_student(backbones), teacher, bitext, tmp_path, save_strategy="steps", save_steps=6, max_steps=6)
    folder = tmp_path / "checkpoint-6"
    loaded = AutoModel.from_pretrained(folder)
    torch.testing.assert_close(torch.cat([p.detach().flatten() for p in loaded.parameters()]), weights)
    assert loaded.encode_query(["paka"])[0].shape[1] == 8
    assert json.loads((folder / "trainer_state.json").read_text())["global_step"] == 6


def test_wrong_input_is_refused_before_training(backbones, teacher, bitext, tmp_path):
    arguments = OpticalTrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True)
    other = OpticalForDistillation.from_backbone(backbones["bert"], embedding_dim=16)
    with pytest.raises(ValueError, match="8 dimensions, the student's 16"):
        OpticalTrainer(model=other, args=arguments, teacher=teacher, train_dataset=bitext)
    student = fresh_student(backbones)
    with pytest.raises(ValueError, match="lacks the column 'source'"):
        OpticalTrainer(model=student, args=arguments, teacher=teacher, train_dataset=bitext.remove_columns("source"))
    with pytest.raises(ValueError, match="unknown objective 'transprt'"):
        OpticalTrainingArguments(output_dir=str(tmp_path), objectives={"transprt": 1.0})
    with pytest.raises(ValueError, match="no objective has a weight above 0"):
        parse_objectives({"transport": 0})
    with pytest.raises(ValueError, match="initial_epsilon is 0"):
        OpticalTrainingArguments(output_dir=str(tmp_path), initial_epsilon=0.0)
    with pytest.raises(ValueError, match=r"start_share is 1\.0; it must be at least 0"):
        OpticalTrainingArguments(output_dir=str(tmp_path), start_share=1.0)
