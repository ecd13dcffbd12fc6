"""Options that the trainer prepares something for: passages, moving averages, kinds, and what is refused."""

import copy
import json

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file

from modeling_optical import OpticalForDistillation, TransportOptions
from trainer import OpticalTrainer, OpticalTrainingArguments, Teacher, TeacherCache
from trainer.distillation.moving_average import MovingAverage
from trainer.distillation.passages import PassageSet, read_passages
from trainer.distillation.symmetric import spread_kinds


def make_trainer(student, teacher, bitext, folder, *, objectives=None, transport=None, training=None, **kwargs):
    if transport is not None:
        student.config.transport = TransportOptions(**transport).to_dict()
    arguments = OpticalTrainingArguments(
        output_dir=str(folder),
        objectives=objectives or {"transport": 1.0},
        max_steps=2,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        **{"save_strategy": "no"} | (training or {}),
    )
    return OpticalTrainer(model=student, args=arguments, teacher=teacher, train_dataset=bitext, **kwargs)


def test_passages_are_read_from_lines_and_from_jsonl(tmp_path):
    (tmp_path / "p.txt").write_text("the cat\n\nthe dog\nthe cat\n")
    assert read_passages(tmp_path / "p.txt") == ["the cat", "the dog"]
    (tmp_path / "p.jsonl").write_text('{"text": "the cat"}\n{"text": "the mat", "id": 3}\n')
    assert read_passages(tmp_path / "p.jsonl") == ["the cat", "the mat"]
    (tmp_path / "bad.jsonl").write_text('{"text": "the cat"}\n{"body": "the mat"}\n')
    with pytest.raises(ValueError, match=r"bad\.jsonl:2: not a JSON object with the field 'text'"):
        read_passages(tmp_path / "bad.jsonl")
    (tmp_path / "one.txt").write_text("the cat\n")
    with pytest.raises(ValueError, match="holds 1 passages"):
        read_passages(tmp_path / "one.txt")
    with pytest.raises(FileNotFoundError, match=r"objectives\.score_kl\.passages"):
        read_passages(tmp_path / "none.txt")


def test_a_step_decides_its_passages_and_cache_and_memory_agree(teacher, tmp_path):
    passages = [f"the cat {word}" for word in ["sat", "on", "mat", "dog", "works", "search"]]
    cache = TeacherCache(tmp_path, teacher, dtype="float32")
    stored, kept = PassageSet(passages, cache), PassageSet(passages, teacher)
    for step in range(3):
        vectors, mask = stored.sample(4, step, seed=7)
        others, other_mask = kept.sample(4, step, seed=7)
        assert torch.equal(mask, other_mask)
        torch.testing.assert_close(vectors, others, rtol=1e-5, atol=1e-5)
    assert vectors.shape[0] == 4
    assert kept.sample(99, 0, seed=7)[0].shape[0] == 6
    assert not torch.equal(kept.sample(4, 0, seed=7)[0], kept.sample(4, 1, seed=7)[0])


def test_score_kl_over_passages_brings_the_rankings_together(student, teacher, bitext, tmp_path):
    passages = [f"the {word} works" for word in ("cat", "dog", "mat", "search", "teacher")]
    (tmp_path / "passages.txt").write_text("\n".join(passages))
    objectives = {
        "score_kl": {"weight": 1.0, "passages": str(tmp_path / "passages.txt"), "passages_per_step": 5, "temperature": 0.02}
    }
    trainer = make_trainer(student, teacher, bitext, tmp_path, objectives=objectives)
    trainer.args.max_steps, trainer.args.learning_rate = 60, 1e-2
    trainer.train()
    logged = [entry["score_kl"] for entry in trainer.state.log_history if "score_kl" in entry]
    assert sum(logged[-5:]) < 0.5 * sum(logged[:5])


def test_the_average_moves_by_its_decay_and_follows_the_first_updates(student):
    average = MovingAverage(student, decay=0.5)
    start = {name: value.clone() for name, value in student.state_dict().items()}
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    average.update(student, step=1)  # (1 + 1) / (10 + 1) is below the decay
    for name, value in average.model.state_dict().items():
        torch.testing.assert_close(value, start[name] + (1 - 2 / 11))
    average.update(student, step=1000)
    for name, value in average.model.state_dict().items():
        torch.testing.assert_close(value, start[name] + (1 - 1 / 11))


def test_the_average_is_in_the_checkpoint_and_not_in_the_student(student, teacher, bitext, tmp_path):
    trainer = make_trainer(student, teacher, bitext, tmp_path, transport={"plan_from": "ema", "ema_decay": 0.9})
    trainer.args.save_strategy, trainer.args.save_steps = "steps", 2
    trainer.train()
    assert (tmp_path / "checkpoint-2" / "moving_average.safetensors").is_file()
    own, average = student.state_dict(), trainer.moving_average.model.state_dict()
    assert set(own) == set(average)
    assert any(not torch.equal(own[name], average[name]) for name in own)
    assert not any(p.requires_grad for p in trainer.moving_average.model.parameters())


def test_training_ends_between_the_start_and_the_trained_weights_and_checkpoints_hold_the_trained(
    student, teacher, bitext, tmp_path
):
    start = {name: value.clone() for name, value in student.state_dict().items()}
    trained = copy.deepcopy(student)
    make_trainer(trained, teacher, bitext, tmp_path / "trained").train()
    training = {"start_share": 0.25, "save_strategy": "steps", "save_steps": 2}
    make_trainer(student, teacher, bitext, tmp_path / "mean", training=training).train()
    for name, value in student.state_dict().items():
        torch.testing.assert_close(value, 0.25 * start[name] + 0.75 * trained.state_dict()[name])
    assert any(not torch.equal(start[name], value) for name, value in student.state_dict().items())
    kept = load_file(tmp_path / "mean/checkpoint-2/model.safetensors")
    for name, value in kept.items():
        torch.testing.assert_close(value, trained.state_dict()[name])


def test_a_row_of_both_kinds_stands_twice():
    rows = {"source": ["a", "b", "c"], "target": ["x", "y", "z"], "kind": ["query", "both", "document"]}
    spread = spread_kinds(Dataset.from_dict(rows))
    assert spread["kind"] == ["query", "query", "document", "document"]
    assert spread["target"] == ["x", "y", "y", "z"]
    plain = Dataset.from_dict({"source": ["a"], "target": ["x"]})
    assert spread_kinds(plain) is plain
    with pytest.raises(ValueError, match="'x' is of the kind 'qery'; allowed: 'query', 'document', 'both'"):
        spread_kinds(Dataset.from_dict({"source": ["a"], "target": ["x"], "kind": ["qery"]}))


def test_a_stream_spreads_its_kinds_too():
    stream = Dataset.from_dict({"source": ["a"], "target": ["x"], "kind": ["both"]}).to_iterable_dataset()
    assert [row["kind"] for row in spread_kinds(stream)] == ["query", "document"]


def test_one_run_learns_queries_and_documents(backbones, bitext, tmp_path):
    torch.manual_seed(0)
    settings = {"embedding_dim": 8, "skiplist": "punctuation", "document_length": 24}
    teacher = Teacher(OpticalForDistillation.from_backbone(backbones["bert"], **settings), 24)
    student = OpticalForDistillation.from_backbone(backbones["xlm-roberta"], **settings)
    both = bitext.add_column("kind", ["both"] * len(bitext))
    cache = TeacherCache(tmp_path / "cache", teacher)
    for kind in ("query", "document"):
        cache.build(both["source"], kind, show_progress_bar=False)
    trainer = make_trainer(student, cache, both, tmp_path, eval_dataset=both)
    assert len(trainer.train_dataset) == 2 * len(bitext)
    trainer.train()
    metrics = trainer.evaluate()
    for name in ("eval_translation_success_at_1", "eval_document_translation_success_at_1"):
        assert 0 <= metrics[name] <= 1


@pytest.mark.parametrize(
    ("transport", "message"),
    [
        ({"marginals": "norm"}, r"transport.marginals='norm' needs a teacher .* weigh_tokens_by=\['norm'\]"),
        ({"tokens": "with_expansion"}, r"needs a teacher that expands texts: Teacher\(…, expand=True\)"),
        ({"plan_from": "lexical"}, "transport.plan_from='lexical' needs a translation table"),
        ({"lexical_prior": 0.5}, "transport.lexical_prior needs a translation table"),
    ],
)
def test_what_an_option_needs_is_asked_for_before_training(student, teacher, bitext, tmp_path, transport, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(student, teacher, bitext, tmp_path, transport=transport)


def test_an_expanding_teacher_takes_as_many_tokens_as_its_student(student, teacher, bitext, tmp_path):
    expanding = Teacher(teacher.model, max_length=12, expand=True)
    with pytest.raises(ValueError, match="the teacher takes 12 tokens, the student 32"):
        make_trainer(student, expanding, bitext, tmp_path, transport={"tokens": "with_expansion"})
    make_trainer(student, expanding, bitext, tmp_path, transport={"tokens": "with_expansion"}, max_length=12).train()


def test_languages_and_frequencies_of_a_stream_are_asked_for(student, teacher, bitext, tmp_path):
    stream = bitext.to_iterable_dataset()
    with pytest.raises(ValueError, match="needs to know all languages"):
        make_trainer(student, teacher, stream, tmp_path, objectives={"language_adversary": 1.0})
    with pytest.raises(ValueError, match=r"transport\.marginals='idf' needs token frequencies"):
        make_trainer(student, teacher, stream, tmp_path, transport={"marginals": "idf"})


@pytest.mark.parametrize(
    ("option", "value"),
    [("marginals", "idff"), ("plan_from", "teacher"), ("ema_decay", 1.0), ("tokens", "all")],
)
def test_a_wrong_transport_option_is_named(option, value):
    with pytest.raises(ValueError, match=f"transport.{option} is {value!r}; "):
        TransportOptions(**{option: value})


def test_frequencies_are_kept_with_the_checkpoint(student, teacher, bitext, tmp_path):
    trainer = make_trainer(student, teacher, bitext, tmp_path, transport={"marginals": "idf"})
    trainer.args.save_strategy, trainer.args.save_steps = "steps", 2
    trainer.train()
    assert (tmp_path / "checkpoint-2" / "token_frequencies.safetensors").is_file()
    assert json.loads((tmp_path / "checkpoint-2" / "config.json").read_text())["transport"]["marginals"] == "idf"
