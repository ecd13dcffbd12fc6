"""What users of `transformers.Trainer` are used to hand over: each works, or one sentence says what to give instead."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from transformers import AutoModel, EarlyStoppingCallback, GPT2Config, GPT2LMHeadModel, TrainerCallback, TrainingArguments

from modeling_optical import OpticalModel
from modeling_optical.files.lock import locked
from tests.conftest import bytelevel_tokenizer
from tests.trainer.conftest import make_bitext, make_model
from trainer import (
    CausalDistillationArguments,
    CausalDistillationTrainer,
    OpticalTrainer,
    OpticalTrainingArguments,
    RetrievalTrainer,
    RetrievalTrainingArguments,
    Teacher,
)
from trainer.loop.inputs import inner_model

ROOT = Path(__file__).resolve().parents[2]
PAIRS = make_bitext(8).select_columns(["source", "target"]).to_list()
LABELLED = [{"query": row["target"], "passages": [row["source"], "dog good"]} for row in PAIRS]
QUICK = {"max_steps": 1, "warmup_steps": 0, "use_cpu": True, "report_to": "none", "disable_tqdm": True, "save_strategy": "no",
         "per_device_train_batch_size": 4, "per_device_eval_batch_size": 4}  # fmt: skip
ARGUMENTS = {
    OpticalTrainer: OpticalTrainingArguments,
    RetrievalTrainer: RetrievalTrainingArguments,
    CausalDistillationTrainer: CausalDistillationArguments,
}
KINDS = list(ARGUMENTS)


@pytest.fixture(scope="module")
def places(backbones, tmp_path_factory) -> dict[str, str]:
    """Folders of a student, a teacher and two causal models."""
    found = {name: str(tmp_path_factory.mktemp(name)) for name in ("student", "teacher", "causal", "causal_teacher")}
    make_model(backbones["bert"], document_length=24).save_pretrained(found["student"])
    make_model(backbones["xlm-roberta"], document_length=24).save_pretrained(found["teacher"])
    tokenizer = bytelevel_tokenizer()
    for seed, name in enumerate(("causal", "causal_teacher")):
        torch.manual_seed(seed)
        GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_positions=64, n_embd=16, n_layer=2, n_head=2)).save_pretrained(
            found[name]
        )
        tokenizer.save_pretrained(found[name])
    return found


@pytest.fixture
def make(places, tmp_path):
    """Makes a trainer of a class from what every habit shares, and what a habit changes."""

    def trainer(kind, **changed):
        settings = QUICK | {"output_dir": str(tmp_path / "out")} | changed.pop("settings", {})
        rows = LABELLED if kind is RetrievalTrainer else PAIRS
        given = {"model": places["causal" if kind is CausalDistillationTrainer else "student"], "train_dataset": rows}
        if kind is not RetrievalTrainer:
            given["teacher"] = places["causal_teacher" if kind is CausalDistillationTrainer else "teacher"]
        if "args" not in changed:
            given["args"] = ARGUMENTS[kind](**settings)
        return kind(**given | changed)

    return trainer


def loaded(kind, places):
    return GPT2LMHeadModel.from_pretrained(places["causal"]) if kind is CausalDistillationTrainer else load(places["student"])


def load(folder: str) -> OpticalModel:
    return AutoModel.from_pretrained(folder)


def renamed(rows):
    return [{f"my_{name}": value for name, value in row.items()} for row in rows]


# Name of a habit, as docs/interoperability.md lists it, to what it gives a trainer.
WORKS = {
    "`model`, `teacher` as paths": lambda kind, places: {},
    "`model` from `AutoModel.from_pretrained`": lambda kind, places: {"model": loaded(kind, places)},
    "`model_init`": lambda kind, places: {"model": None, "model_init": lambda: loaded(kind, places)},
    "rows as a list of dicts": lambda kind, places: {"eval_dataset": LABELLED if kind is RetrievalTrainer else PAIRS},
    "rows as a `Dataset`": lambda kind, places: {
        "train_dataset": datasets.Dataset.from_list(LABELLED if kind is RetrievalTrainer else PAIRS)
    },
    "rows as a dict of columns": lambda kind, places: {
        "train_dataset": datasets.Dataset.from_list(LABELLED if kind is RetrievalTrainer else PAIRS).to_dict()
    },
    "rows as a stream": lambda kind, places: {
        "train_dataset": datasets.Dataset.from_list(LABELLED if kind is RetrievalTrainer else PAIRS).to_iterable_dataset()
    },
    "rows as a torch data set": lambda kind, places: {"train_dataset": Rows(LABELLED if kind is RetrievalTrainer else PAIRS)},
    "columns of other names, `columns={…}`": lambda kind, places: {
        "train_dataset": renamed(LABELLED if kind is RetrievalTrainer else PAIRS),
        "columns": {name: f"my_{name}" for name in kind._COLUMNS},
    },
    "`callbacks`, `optimizers`": lambda kind, places: {
        "callbacks": [TrainerCallback],
        **(lambda model: {"model": model, "optimizers": (torch.optim.SGD(model.parameters(), 1e-3), None)})(
            loaded(kind, places)
        ),
    },
}


class Rows(torch.utils.data.Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


# Name of a habit to what it gives and the sentence that answers it.
REFUSED = {
    "plain `TrainingArguments`": (
        lambda kind, places: {"args": TrainingArguments("out", use_cpu=True)},
        "args is a TrainingArguments: give {arguments}(…)",
    ),
    "`compute_loss_func`": (lambda kind, places: {"compute_loss_func": len}, "the loss is the weighted sum of `objectives`"),
    "`label_smoothing_factor`": (
        lambda kind, places: {"settings": {"label_smoothing_factor": 0.1}},
        "label_smoothing_factor has no effect here",
    ),
    "`remove_unused_columns`": (
        lambda kind, places: {"settings": {"remove_unused_columns": True}},
        "remove_unused_columns must be False",
    ),
    "a `DatasetDict` as `train_dataset`": (
        lambda kind, places: {"train_dataset": datasets.DatasetDict(train=datasets.Dataset.from_list(PAIRS))},
        r"train_dataset holds several data sets (train): give one of them",
    ),
    "the path of a file as `train_dataset`": (
        lambda kind, places: {"train_dataset": "pairs.tsv"},
        "train_dataset is a str: give a datasets.Dataset",
    ),
    "columns that nobody names": (
        lambda kind, places: {"train_dataset": renamed(LABELLED if kind is RetrievalTrainer else PAIRS)},
        "train_dataset lacks the column {column!r} (it has: my_",
    ),
    "a model of another kind": (
        lambda kind, places: {"model": torch.nn.Linear(2, 2)},
        "model is a Linear: give a",
    ),
    "neither `model` nor `model_init`": (
        lambda kind, places: {"model": None},
        "give either model (a model or a path) or model_init",
    ),
}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("habit", WORKS)
def test_what_works_with_transformers_works_here(kind, habit, make, places):
    given = WORKS[habit](kind, places)
    trainer = make(kind, **given)
    before = [parameter.detach().clone() for parameter in trainer.trained.parameters()]
    if "model_init" in given:
        before = [parameter.detach().clone() for parameter in loaded(kind, places).parameters()]
    assert trainer.train().global_step == 1
    changed = [not torch.equal(a, b) for a, b in zip(before, trainer.trained.parameters(), strict=True)]
    assert any(changed)
    if "model" in given and given["model"] is not None:
        assert trainer.model is given["model"]  # it is the user's own object that is trained
    if "eval_dataset" in given:
        assert trainer.evaluate()["eval_loss"] > 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("habit", REFUSED)
def test_what_cannot_work_is_refused_in_a_sentence_that_says_what_to_give(kind, habit, make, places):
    given, sentence = REFUSED[habit]
    expected = sentence.format(arguments=ARGUMENTS[kind].__name__, column=kind._COLUMNS[0])
    with pytest.raises((TypeError, ValueError), match=re.escape(expected)):
        make(kind, **given(kind, places))


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (OpticalTrainer, lambda model: {"model": model, "teacher": model}),
        (OpticalTrainer, lambda model: {"model": model, "teacher": Teacher(model)}),
        (RetrievalTrainer, lambda model: {"model": model, "document_encoder": model}),
        (CausalDistillationTrainer, lambda model: {"model": model, "teacher": model}),
    ],
    ids=["model", "teacher", "document_encoder", "causal"],
)
def test_a_student_that_is_its_own_teacher_is_refused(kind, given, make, places):
    with pytest.raises(ValueError, match="are the same object, which would be frozen"):
        make(kind, **given(loaded(kind, places)))


@pytest.mark.parametrize("form", [load, lambda folder: Teacher(load(folder)), str], ids=["model", "Teacher", "path"])
def test_a_teacher_may_be_a_model_a_teacher_or_a_path(form, make, places):
    trainer = make(OpticalTrainer, teacher=form(places["teacher"]))
    assert isinstance(trainer.teacher, Teacher)
    assert not any(parameter.requires_grad for parameter in trainer.teacher.model.parameters())
    assert trainer.train().global_step == 1


@pytest.mark.parametrize("kind", [OpticalTrainer, RetrievalTrainer], ids=lambda kind: kind.__name__)
def test_a_tokenizer_as_processing_class_is_refused(kind, make, places):
    with pytest.raises(TypeError, match="leave it out, so that the model's own processor is used"):
        make(kind, processing_class=load(places["student"]).get_processor().tokenizer)


EXPECTED = {OpticalTrainer: "translation_success_at_1", RetrievalTrainer: "success_at_1", CausalDistillationTrainer: "loss"}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("streamed", [False, True])
def test_evaluation_by_language_gives_every_metric_under_its_name(kind, streamed, make):
    rows = datasets.Dataset.from_list(LABELLED if kind is RetrievalTrainer else PAIRS)
    parts = {
        name: part.to_iterable_dataset() if streamed else part for name, part in (("sw", rows), ("so", rows.select([0, 1])))
    }
    trainer = make(kind, eval_dataset=parts)
    by_name = trainer.evaluate()
    for name, part in parts.items():
        assert {f"eval_{name}_loss", f"eval_{name}_{EXPECTED[kind]}"} <= set(by_name)
        alone = trainer.evaluate(part)
        assert alone[f"eval_{EXPECTED[kind]}"] == pytest.approx(by_name[f"eval_{name}_{EXPECTED[kind]}"])


class Seen(TrainerCallback):
    def __init__(self):
        self.metrics = {}

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        self.metrics = dict(metrics)


@pytest.mark.parametrize("kind", [OpticalTrainer, RetrievalTrainer], ids=lambda kind: kind.__name__)
def test_callbacks_see_what_evaluate_returns_and_training_stops_by_it(kind, make):
    metric, seen = f"eval_{EXPECTED[kind]}", Seen()
    rows = LABELLED if kind is RetrievalTrainer else PAIRS
    settings = {"max_steps": 9, "eval_strategy": "steps", "eval_steps": 1, "learning_rate": 0.0, "save_strategy": "best",
                "metric_for_best_model": metric, "load_best_model_at_end": True}  # fmt: skip
    trainer = make(
        kind, eval_dataset=rows, callbacks=[seen, EarlyStoppingCallback(early_stopping_patience=2)], settings=settings
    )
    trainer.train()
    assert metric in seen.metrics
    assert trainer.state.global_step == 3  # never better than at the first step
    assert trainer.state.best_metric == seen.metrics[metric]
    logged = next(entry for entry in trainer.state.log_history if "eval_loss" in entry)
    assert metric in logged


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_predict_and_compute_metrics_get_predictions_and_labels(kind, make):
    rows = LABELLED if kind is RetrievalTrainer else PAIRS
    given = []

    def compute_metrics(prediction):
        given.append(prediction)
        return {"mine": 0.5}

    trainer = make(kind, eval_dataset=rows, compute_metrics=compute_metrics)
    assert trainer.evaluate()["eval_mine"] == 0.5
    output = trainer.predict(rows)
    assert output.metrics["test_mine"] == 0.5
    assert f"test_{EXPECTED[kind]}" in output.metrics
    for one in (given[0], output):
        predictions = one.predictions if isinstance(one.predictions, tuple) else (one.predictions,)
        labels = one.label_ids if isinstance(one.label_ids, tuple) else (one.label_ids,)
        assert {len(part) for part in (*predictions, *labels)} == {len(rows)}
    if kind is OpticalTrainer:
        vectors, mask = output.predictions
        expected = trainer.trained.encode_query([row["target"] for row in rows])
        for row, own in enumerate(expected):
            np.testing.assert_allclose(vectors[row][mask[row] == 1], own, atol=1e-5)
    if kind is RetrievalTrainer:
        query, passages = rows[0]["query"], rows[0]["passages"]
        vectors = trainer.trained.encode_query(query)
        expected = [(vectors @ own.T).max(1).mean() for own in trainer.trained.encode_document(passages)]
        np.testing.assert_allclose(output.predictions[0], expected, atol=1e-5)


def test_model_init_makes_a_new_student_for_every_training(make, places):
    made = []

    def model_init():
        made.append(load(places["student"]))
        return made[-1]

    trainer = make(OpticalTrainer, model=None, model_init=model_init, settings={"start_share": 0.5})
    for _ in range(2):
        trainer.train()
        assert inner_model(trainer.model) is made[-1]
    first, second = ([p.detach() for p in model.parameters()] for model in made[-2:])
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))  # the same start, the same seed


def test_hyperparameters_are_searched(make, places):
    pytest.importorskip("optuna", reason="optuna is not installed")
    trainer = make(OpticalTrainer, model=None, model_init=lambda: load(places["student"]), eval_dataset=PAIRS)
    best = trainer.hyperparameter_search(
        hp_space=lambda trial: {"learning_rate": trial.suggest_float("learning_rate", 1e-5, 1e-3, log=True)},
        compute_objective=lambda metrics: metrics["eval_translation_rr_at_10"],
        direction="maximize",
        backend="optuna",
        n_trials=2,
    )
    assert 1e-5 <= best.hyperparameters["learning_rate"] <= 1e-3
    assert 0 <= best.objective <= 1


@pytest.mark.parametrize(
    ("kind", "objectives", "told"),
    [
        (OpticalTrainer, {"transport": 1.0}, False),
        (OpticalTrainer, {"contrastive": 1.0}, True),
        (OpticalTrainer, {"score_kl": 1.0}, True),
        (RetrievalTrainer, {"contrastive": 1.0}, True),
        (RetrievalTrainer, {"contrastive": {"weight": 1.0, "in_batch": False}}, False),
        (CausalDistillationTrainer, {"transport": 1.0, "contrastive": 1.0}, True),
    ],
)
def test_a_loss_that_depends_on_the_batch_says_so_beside_the_number(kind, objectives, told, make):
    rows, found = LABELLED if kind is RetrievalTrainer else PAIRS, {}
    for size in (2, 4):
        settings = {"objectives": objectives, "per_device_eval_batch_size": size}
        metrics = make(kind, eval_dataset=rows, settings=settings).evaluate()
        assert metrics.get("eval_texts_compared") == (size if told else None)
        found[size] = metrics["eval_loss"]
    assert (found[2] == pytest.approx(found[4], rel=1e-4)) is not told


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_processes_that_a_launcher_started_and_that_are_alone_do_not_train(kind, make, monkeypatch, tmp_path):
    args = ARGUMENTS[kind](str(tmp_path / "out"), **QUICK)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"started 2 processes .* they do not see each other.*use_cpu=True"):
        make(kind, args=args)


def test_a_folder_takes_one_training_at_a_time(make, tmp_path):
    trainer, place = make(OpticalTrainer), tmp_path / "out" / "_training"
    with locked(place), ThreadPoolExecutor() as others, pytest.raises(TimeoutError, match=f"{place} is in use"):
        others.submit(trainer.train).result()
    assert trainer.train().global_step == 1
    assert not place.exists()


@pytest.mark.parametrize("name", [*WORKS, *REFUSED])
def test_the_page_lists_every_habit(name):
    page = (ROOT / "docs/interoperability.md").read_text(encoding="utf-8")
    assert f"| {name} |" in page
