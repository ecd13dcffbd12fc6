"""Training on labelled queries: the losses are the formulas, and the way there does not matter."""

import math
from pathlib import Path

import numpy as np
import pytest
import retrieval_run
import torch
import training_script
from training_script import same

from modeling_optical import OpticalModel, load_checkpoint
from trainer import LabelledDataset, RetrievalCollator, RetrievalTrainer, RetrievalTrainingArguments
from trainer.retrieval.labelled_evaluation import labelled_retrieval

train, examples, make_model = retrieval_run.train, retrieval_run.examples, retrieval_run.make_model

CASES = {
    "contrastive": {"objectives": {"contrastive": {"weight": 1.0, "temperature": 0.2}}},
    "own": {"objectives": {"contrastive": {"weight": 1.0, "temperature": 0.2, "in_batch": False}}},
    "distillation": {"objectives": {"distillation": {"weight": 1.0, "temperature": 0.1, "teacher_temperature": 2.0}}},
    "sum": {"objectives": {"contrastive": 0.3, "distillation": {"initial": 1.0, "final": 0.2, "steps": 0.5}}},
    "frozen": {"objectives": {"contrastive": 0.1, "distillation": 0.5}, "frozen": True},
}
PER_QUERY = ("own", "distillation")


@pytest.fixture(scope="module")
def whole(backbones, tmp_path_factory):
    """Name of a case to the trajectory of whole batches on one process, computed once."""
    known: dict = {}

    def trajectory(name):
        if name not in known:
            known[name] = train(backbones["bert"], tmp_path_factory.mktemp("whole"), **CASES[name])
        return known[name]

    return trajectory


def plain_scores(model: OpticalModel, query: str, passages: list[str], documents: OpticalModel | None = None) -> list[float]:
    """MaxSim over the number of query tokens, one text at a time, as docs/method.md §1 writes it."""
    vectors = torch.as_tensor(model.encode_query([query])[0])
    return [
        float((vectors @ torch.as_tensor((documents or model).encode_document([passage])[0]).T).amax(1).sum() / len(vectors))
        for passage in passages
    ]


def make_trainer(model: OpticalModel, folder: Path, objectives: dict, documents: OpticalModel | None = None, **arguments):
    values = {"use_cpu": True, "report_to": "none", "passages_per_query": 3, "disable_tqdm": True} | arguments
    args = RetrievalTrainingArguments(output_dir=str(folder), objectives=objectives, **values)
    return RetrievalTrainer(
        model=model, args=args, train_dataset=examples(), eval_dataset=examples(12), document_encoder=documents
    )


def batch_of(trainer: RetrievalTrainer, rows: list[dict]) -> dict[str, torch.Tensor]:
    return trainer.data_collator(rows)


ROWS = [
    {
        "query": "cat mat",
        "passages": ["cat mat dog", "dog good", "cat vector"],
        "scores": [3.0, -1.0, 0.5],
        "known_positives": [],
    },
    {"query": "search works", "passages": ["search works english", "good same"], "scores": [1.0, 2.0], "known_positives": []},
    # Its second positive is the first query's negative, and its own negative is the second query's positive.
    {
        "query": "dog",
        "passages": ["dog teacher", "search works english"],
        "scores": [0.1, 0.2],
        "known_positives": ["dog teacher", "dog good"],
    },
]


@pytest.mark.parametrize("frozen", [False, True])
def test_the_contrastive_loss_is_the_cross_entropy_over_all_passages_that_are_not_known_to_be_relevant(bert, tmp_path, frozen):
    model = make_model(bert, 0)
    documents = make_model(bert, 1) if frozen else None
    trainer = make_trainer(model, tmp_path, {"contrastive": {"weight": 1.0, "temperature": 0.1}}, documents)
    passages = [passage for row in ROWS for passage in row["passages"]]
    terms = []
    for row in ROWS:
        scores = plain_scores(model, row["query"], passages, documents)
        own = passages.index(row["passages"][0])
        kept = [
            i for i, passage in enumerate(passages) if i == own or passage not in (row["passages"][0], *row["known_positives"])
        ]
        terms.append(-scores[own] / 0.1 + math.log(sum(math.exp(scores[i] / 0.1) for i in kept)))
    loss = trainer.compute_loss(model.eval(), batch_of(trainer, ROWS))
    assert loss.item() == pytest.approx(sum(terms) / 3, abs=1e-4)


def test_without_in_batch_negatives_a_query_sees_its_own_passages_alone(bert, tmp_path):
    model = make_model(bert, 0)
    trainer = make_trainer(model, tmp_path, {"contrastive": {"weight": 2.0, "temperature": 0.1, "in_batch": False}})
    terms = []
    for row in ROWS:
        scores = torch.tensor(plain_scores(model, row["query"], row["passages"])) / 0.1
        terms.append(-scores.log_softmax(0)[0].item())
    loss = trainer.compute_loss(model.eval(), batch_of(trainer, ROWS))
    assert loss.item() == pytest.approx(2 * sum(terms) / 3, abs=1e-4)


def test_distillation_is_the_divergence_from_the_given_scores_over_lists_of_any_length(bert, tmp_path):
    model = make_model(bert, 0)
    asked = {"distillation": {"weight": 1.0, "temperature": 0.2, "teacher_temperature": 0.5}}
    trainer = make_trainer(model, tmp_path, asked)
    terms = []
    for row in ROWS:
        wanted = (torch.tensor(row["scores"]) / 0.5).log_softmax(0)
        found = (torch.tensor(plain_scores(model, row["query"], row["passages"])) / 0.2).log_softmax(0)
        terms.append((wanted.exp() * (wanted - found)).sum().item())
    loss = trainer.compute_loss(model.eval(), batch_of(trainer, ROWS))
    assert loss.item() == pytest.approx(sum(terms) / 3, abs=1e-4)


def test_a_frozen_document_encoder_stays_what_it_is_and_out_of_the_checkpoint(bert, tmp_path):
    model, documents = make_model(bert, 0), make_model(bert, 1)
    before = [p.clone() for p in documents.parameters()]
    trainer = make_trainer(model, tmp_path, {"contrastive": 1.0}, documents, max_steps=2, learning_rate=0.1, save_steps=2)
    trainer.train()
    assert all(torch.equal(p, q) for p, q in zip(documents.parameters(), before, strict=True))
    loaded = load_checkpoint(tmp_path / "checkpoint-2")  # processor and weights, nothing else
    for found, wanted in zip(loaded.encode_query(["cat mat"]), model.encode_query(["cat mat"]), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert {name.split(".")[0] for name in loaded.state_dict()} == {"backbone", "projection"}


@pytest.mark.parametrize("name", PER_QUERY)
def test_two_accumulated_halves_are_one_batch(backbones, whole, tmp_path, name):
    halves = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    same(train(backbones["bert"], tmp_path, **CASES[name], **halves), whole(name))


@pytest.mark.parametrize("name", CASES)
def test_stopping_and_resuming_changes_nothing(backbones, whole, tmp_path, name):
    saving = {"save_strategy": "steps", "save_steps": 4}
    before, _ = train(backbones["bert"], tmp_path, **CASES[name], **saving, stop_after=4)
    after, weights = train(backbones["bert"], tmp_path, **CASES[name], **saving, resume=True)
    same((before + after[-5:], weights), whole(name))


def test_stopping_and_resuming_changes_nothing_with_dropout(backbones, tmp_path):
    case = CASES["sum"] | {"dropout": 0.2, "save_strategy": "steps", "save_steps": 4}
    wanted = train(backbones["bert"], tmp_path / "whole", **case)
    before, _ = train(backbones["bert"], tmp_path / "cut", **case, stop_after=4)
    after, weights = train(backbones["bert"], tmp_path / "cut", **case, resume=True)
    same((before + after[-5:], weights), wanted)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("chunk_size", [5, 100])
def test_gradient_caching_changes_nothing(backbones, whole, tmp_path, name, chunk_size):
    same(train(backbones["bert"], tmp_path, **CASES[name], gradient_cache_chunk_size=chunk_size), whole(name))


def test_the_same_run_gives_the_same_weights(backbones, whole, tmp_path):
    again = train(backbones["bert"], tmp_path, **CASES["sum"])
    np.testing.assert_array_equal(again[1], whole("sum")[1])


def test_the_trajectories_are_not_standing_still(whole):
    for name in CASES:
        losses, weights = whole(name)
        assert np.ptp(losses) > 1e-2, name
        assert np.isfinite(weights).all()


@pytest.fixture(scope="module")
def on_two_processes(backbones, tmp_path_factory):
    """Trajectories of all cases on two processes with half of each batch, by one launch."""
    folder = tmp_path_factory.mktemp("two")
    cases = {name: case | {"per_device_train_batch_size": 4} for name, case in CASES.items()}
    cases["sum cached"] = cases["sum"] | {"gradient_cache_chunk_size": 3}
    return training_script.on_two_processes(Path(retrieval_run.__file__), backbones["bert"], cases, folder)


@pytest.mark.parametrize("name", [*CASES, "sum cached"])
def test_two_processes_are_one(on_two_processes, whole, name):
    same(on_two_processes[name], whole(name.removesuffix(" cached")))


def learn_by_heart(model: OpticalModel, pairs: LabelledDataset, folder: Path, documents: OpticalModel | None = None):
    args = RetrievalTrainingArguments(
        output_dir=str(folder), max_steps=150, learning_rate=1e-2, per_device_train_batch_size=10, use_cpu=True,
        report_to="none", disable_tqdm=True, save_strategy="no", seed=1,
    )  # fmt: skip
    trainer = RetrievalTrainer(model=model, args=args, train_dataset=pairs, eval_dataset=pairs, document_encoder=documents)
    before = labelled_retrieval(model, documents or model, pairs)
    trainer.train()
    return before, trainer.evaluate()


def test_ten_pairs_are_learnt_by_heart(bert, tmp_path):
    queries = ["cat dog", "mat same", "search good", "teacher vector", "english mat"]
    queries += ["somali cat", "works dog", "same translation", "vector works", "good teacher"]
    # No query shares a word with its passage.
    passages = [f"{query} {query.split()[0]}" for query in queries[5:] + queries[:5]]
    rows = [{"query": query, "passages": [passage]} for query, passage in zip(queries, passages, strict=True)]
    pairs, teacher = LabelledDataset.from_list(rows), make_model(bert, 4)
    # First a retriever that encodes both sides, then another one for the queries over the first one's documents.
    for model, documents in ((teacher, None), (make_model(bert, 5), teacher)):
        before, after = learn_by_heart(model, pairs, tmp_path, documents)
        assert before["success_at_1"] < 0.5
        assert after["eval_success_at_1"] == after["eval_rr_at_10"] == 1.0


def test_every_epoch_draws_other_negatives_and_every_process_the_same(bert):
    processor = make_model(bert, 0).processor
    rows = [examples(negatives=8)[i] for i in range(6)]

    def drawn(epoch, chosen=rows):
        collator = RetrievalCollator(processor, passages_per_query=3, seed=7)
        collator.epoch = epoch
        batch = collator(chosen)
        return batch["passage_keys"].view(-1, 3)

    assert torch.equal(drawn(0), drawn(0))
    assert torch.equal(drawn(0)[3:], drawn(0, rows[3:]))
    assert torch.equal(drawn(0)[:, 0], drawn(1)[:, 0]), "the positive is always there"
    assert not torch.equal(drawn(0), drawn(1))


def test_workers_that_outlive_an_epoch_draw_its_negatives(bert):
    rows = [examples(negatives=8)[i] for i in range(4)]
    collator = RetrievalCollator(make_model(bert, 0).processor, passages_per_query=3, seed=7)
    loader = torch.utils.data.DataLoader(rows, batch_size=4, collate_fn=collator, num_workers=1, persistent_workers=True)
    drawn = []
    for collator.epoch in range(3):
        drawn += [batch["passage_keys"].clone() for batch in loader]
    assert not torch.equal(drawn[0], drawn[1])
    collator.epoch = 1
    assert torch.equal(collator(rows)["passage_keys"], drawn[1])


def test_held_out_queries_search_among_the_passages_of_all(bert):
    model = make_model(bert, 0)
    rows = [
        {"query": "cat mat", "passages": ["cat mat", "dog"], "known_positives": ["cat mat", "teacher"]},
        {"query": "cat mat", "passages": ["teacher", "dog"], "known_positives": ["cat mat", "teacher"]},
        {"query": "good vector", "passages": ["good vector"]},
    ]
    found = labelled_retrieval(model, model, LabelledDataset.from_list(rows))
    assert set(found) == {"rr_at_10", "ndcg_at_10", "success_at_1"}
    assert 0 < found["ndcg_at_10"] <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"objectives": {"transport": 1.0}}, "unknown objective 'transport'; known: contrastive, distillation"),
        ({"objectives": {"contrastive": {"weight": 1, "temprature": 1}}}, "Did you mean 'temperature'"),
        ({"objectives": {"contrastive": 0}}, "no objective has a weight above 0"),
        ({"passages_per_query": 0}, "passages_per_query is 0"),
        ({"gradient_cache_chunk_size": 0}, "gradient_cache_chunk_size is 0"),
    ],
)
def test_wrong_arguments_fail_where_they_are_set(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        RetrievalTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **arguments)


def test_distillation_needs_scores(bert, tmp_path):
    trainer = make_trainer(make_model(bert, 0), tmp_path, {"distillation": 1.0})
    with pytest.raises(ValueError, match=r"the query 'cat mat' has 0 scores for 3 passages.*Leave it out"):
        batch_of(trainer, [ROWS[0] | {"scores": []}])


def test_models_of_different_dimension_are_refused(bert, tmp_path):
    other = OpticalModel.from_backbone(bert, embedding_dim=4)
    with pytest.raises(ValueError, match="documents' vectors have 4 dimensions, the model's 8"):
        make_trainer(make_model(bert, 0), tmp_path, {"contrastive": 1.0}, other)


def test_a_data_set_without_a_column_is_refused(bert, tmp_path):
    args = RetrievalTrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    with pytest.raises(ValueError, match="train_dataset lacks the column 'passages'"):
        RetrievalTrainer(model=make_model(bert, 0), args=args, train_dataset=[{"query": "cat"}])


def test_embeddings_may_stay_and_training_may_end_between_start_and_trained(backbones, tmp_path):
    models = {share: OpticalModel.from_backbone(backbones["bert"], embedding_dim=8) for share in (0.0, 0.5)}
    models[0.5].load_state_dict(models[0.0].state_dict())
    start = {name: value.clone() for name, value in models[0.0].state_dict().items()}
    for share, model in models.items():
        settings = {"max_steps": 2, "learning_rate": 1e-2, "embedding_learning_rate": 0, "start_share": share}
        make_trainer(model, tmp_path / str(share), {"contrastive": 1.0}, **settings).train()
    trained, mean = (model.state_dict() for model in models.values())
    word = "backbone.embeddings.word_embeddings.weight"
    assert torch.equal(trained[word], start[word])
    assert any(not torch.equal(trained[name], start[name]) for name in start)
    for name, value in mean.items():
        torch.testing.assert_close(value, (start[name] + trained[name]) / 2)
