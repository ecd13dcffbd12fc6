"""The transport loss under sentence-transformers' own trainer."""

from pathlib import Path

import pytest
import torch
from datasets import Dataset

from modeling_optical import OpticalModel, TransportOptions, transport_loss
from trainer import Teacher
from trainer.distillation.sentence_transformers_loss import OpticalTransportLoss, bitext_collator, marker_ids, teacher_labels

sentence_transformers = pytest.importorskip(
    "sentence_transformers", minversion="6.0", reason='needs sentence-transformers 6: pip install "modeling-optical[interop]"'
)

ENGLISH = ["the cat sat on the mat", "search works in English;", "a good teacher", "the dog barked!"]
SWAHILI = ["paka alikaa kwenye mkeka", "utafutaji hufanya kazi;", "mwalimu mzuri", "mbwa akabweka!"]


@pytest.fixture
def teacher(backbones: dict[str, str]) -> Teacher:
    torch.manual_seed(5)
    return Teacher(OpticalModel.from_backbone(backbones["bert"], embedding_dim=8, query_marker="[Q]", document_marker="[D]"))


@pytest.fixture
def student(backbones: dict[str, str]):
    torch.manual_seed(6)
    return sentence_transformers.MultiVectorEncoder(modules=modules(backbones["xlm-roberta"]), device="cpu")


def modules(backbone: str) -> list[torch.nn.Module]:
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.base.modules.dense import Dense
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    names = {"module_input_name": "token_embeddings", "module_output_name": "token_embeddings"}
    transformer = Transformer(backbone, transformer_task="feature-extraction", module_output_name="token_embeddings")
    dense = Dense(32, 8, bias=False, activation_function=torch.nn.Identity(), **names)
    return [transformer, dense, MultiVectorMask(), Normalize(**names)]


def train(student, dataset: Dataset, loss: OpticalTransportLoss, collator, folder: Path, steps: int = 12) -> list[float]:
    from sentence_transformers import MultiVectorEncoderTrainer
    from sentence_transformers.multi_vector_encoder.training_args import MultiVectorEncoderTrainingArguments

    arguments = MultiVectorEncoderTrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=4, learning_rate=5e-3, logging_steps=1,
        save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    trainer = MultiVectorEncoderTrainer(model=student, args=arguments, train_dataset=dataset, loss=loss, data_collator=collator)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_their_trainer_lowers_the_loss_and_leaves_the_teacher_alone(student, teacher, tmp_path):
    before = {name: value.clone() for name, value in teacher.model.state_dict().items()}
    loss = OpticalTransportLoss(student, teacher)
    bitext = Dataset.from_dict({"english": ENGLISH, "swahili": SWAHILI})
    losses = train(student, bitext, loss, bitext_collator(student, teacher), tmp_path)
    assert losses[-1] < 0.7 * losses[0]
    assert all(torch.equal(value, before[name]) for name, value in teacher.model.state_dict().items())
    assert all(name.startswith("model.") for name in loss.state_dict())
    assert len(list(loss.parameters())) == len(list(student.parameters()))


def test_precomputed_vectors_train_as_the_teacher_itself(student, teacher, backbones, tmp_path):
    weights = {name: value.clone() for name, value in student.state_dict().items()}
    live = train(
        student, Dataset.from_dict({"english": ENGLISH, "swahili": SWAHILI}), OpticalTransportLoss(student, teacher),
        bitext_collator(student, teacher), tmp_path / "live", steps=3,
    )  # fmt: skip
    student.load_state_dict(weights)
    dataset = Dataset.from_dict({"english": ENGLISH, "swahili": SWAHILI})
    dataset = dataset.map(lambda batch: {"label": teacher_labels(teacher, batch["english"])}, batched=True, batch_size=2)
    columns = dataset.select_columns(["swahili", "label"])
    cached = train(student, columns, OpticalTransportLoss(student), None, tmp_path / "cached", steps=3)
    assert cached == pytest.approx(live, rel=1e-4)


@pytest.mark.parametrize("tokens", ["content", "with_markers"])
def test_loss_and_gradient_are_those_of_the_transport_loss_on_the_same_vectors(student, teacher, tokens):
    student.eval()
    options = TransportOptions(tokens=tokens)
    loss = OpticalTransportLoss(student, teacher, transport=options)
    batch = bitext_collator(student, teacher)([{"e": e, "s": s} for e, s in zip(ENGLISH, SWAHILI, strict=True)])
    columns = [{key[2:]: value for key, value in batch.items() if key.startswith(prefix)} for prefix in ("e_", "s_")]
    student.zero_grad()
    value = loss(columns)
    value.backward()
    found = {name: parameter.grad.clone() for name, parameter in student.named_parameters() if parameter.grad is not None}

    student.zero_grad()
    outputs = student(dict(student.preprocess(SWAHILI, task="query")), task="query")
    attended = outputs["attention_mask"].bool()
    mask = attended.clone()
    if tokens == "content":  # without <s> and </s>
        mask[:, 0] = False
        mask[torch.arange(4), attended.sum(1) - 1] = False
    encoded = teacher.processor(ENGLISH, "query")
    content = encoded.pop("content_mask")
    given = teacher.model(**encoded)
    columns_mask = content if tokens == "content" else given.token_mask
    expected, _ = transport_loss(outputs["token_embeddings"], given.token_vectors.detach(), mask, columns_mask, options=options)
    expected.backward()
    torch.testing.assert_close(value, expected)
    assert found
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, student.get_parameter(name).grad, msg=name)


def test_expansion_tokens_and_markers_take_no_mass(backbones, teacher):
    torch.manual_seed(6)
    parts = modules(backbones["xlm-roberta"])
    student = sentence_transformers.MultiVectorEncoder(modules=parts, prompts={"query": "[Q] "}, device="cpu")
    student.tokenizer.add_tokens(["[Q] "])
    parts[0].model.resize_token_embeddings(len(student.tokenizer))
    marker = student.tokenizer.convert_tokens_to_ids("[Q] ")
    assert marker in marker_ids(student).tolist()
    assert student.tokenizer.unk_token_id not in marker_ids(student).tolist()

    batch = bitext_collator(student, teacher)([{"english": ENGLISH[0], "swahili": SWAHILI[0]}])
    assert marker in batch["swahili_input_ids"]
    assert torch.equal(batch["english_input_ids"], teacher.processor(ENGLISH[:1], "query")["input_ids"])

    loss = OpticalTransportLoss(student, teacher).eval()
    features = dict(student.preprocess(SWAHILI, task="query"))
    pad = torch.nn.functional.pad
    expanded = {
        "input_ids": pad(features["input_ids"], (0, 3), value=student.tokenizer.mask_token_id),
        "attention_mask": pad(features["attention_mask"], (0, 3)),
    }
    expanded["query_expansion_positions"] = torch.zeros_like(expanded["input_ids"])
    expanded["query_expansion_positions"][:, -3:] = 1
    source = dict(teacher.processor(ENGLISH, "query"))
    torch.testing.assert_close(loss([source, expanded]), loss([source, features]))


def test_columns_that_do_not_fit_are_named_with_the_remedy(student, teacher):
    features = dict(student.preprocess(SWAHILI, task="query"))
    vectors = torch.ones(4, 3, 8)
    for loss, columns, labels, message in (
        (
            OpticalTransportLoss(student, teacher),
            [features, features],
            None,
            r"data_collator=bitext_collator\(model, teacher\)",
        ),
        (OpticalTransportLoss(student, teacher), [features], None, "two text columns"),
        (OpticalTransportLoss(student), [features], None, "found none"),
        (OpticalTransportLoss(student), [features], torch.ones(4), r"shape \(4,\)"),
        (OpticalTransportLoss(student), [features, features], vectors, "one text column"),
    ):
        with pytest.raises(ValueError, match=message):
            loss(columns, labels)
    with pytest.raises(ValueError, match="lexical_prior"):
        OpticalTransportLoss(student, transport={"lexical_prior": 1.0})
    with pytest.raises(ValueError, match="Give the student the teacher's dimension"):
        OpticalTransportLoss(student)([features], torch.ones(4, 3, 6))


def test_the_model_card_has_the_options_and_the_citation(student, teacher):
    values = OpticalTransportLoss(student, teacher, transport={"epsilon": 0.1}).get_config_dict()
    assert values["transport"]["epsilon"] == 0.1
    assert OpticalTransportLoss(student).get_config_dict()["teacher"] == "precomputed"
    assert "Optimal Transport" in OpticalTransportLoss(student).citation
