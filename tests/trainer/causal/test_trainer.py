"""Distilling a causal model: what is compared, what stays frozen, and that the translation comes to be read as the English."""

import json

import pytest
import torch
from datasets import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from modeling_optical import TransportOptions, transport_loss
from tests.conftest import bytelevel_tokenizer
from trainer import CausalCollator, CausalDistillationArguments, CausalDistillationTrainer, NonFiniteLossError
from trainer.causal.arguments import parse_causal_objectives
from trainer.causal.trainer import checked_layers, next_token_loss

PAIRS = [
    ("the cat sat", "paka alikaa"),
    ("the dog barked", "mbwa akabweka"),
    ("a good teacher", "mwalimu mzuri"),
    ("search works", "utafutaji"),
]


@pytest.fixture(scope="module")
def tokenizer():
    tokenizer = bytelevel_tokenizer()
    tokenizer.backend_tokenizer.post_processor = None
    return tokenizer


def gpt2(tokenizer, seed: int = 0, layers: int = 3) -> GPT2LMHeadModel:
    torch.manual_seed(seed)
    sizes = {"n_embd": 32, "n_layer": layers, "n_head": 2, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_positions=64, **sizes))


def llama(tokenizer, seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **sizes))


def bitext(kind: str = "query") -> Dataset:
    return Dataset.from_list([{"source": source, "target": target, "kind": kind} for source, target in PAIRS])


def trainer(tmp_path, tokenizer, model, teacher, *, data=None, **options) -> CausalDistillationTrainer:
    settings = {"use_cpu": True, "report_to": "none", "per_device_train_batch_size": 4, "max_steps": 2, "logging_steps": 1,
                "disable_tqdm": True, "save_strategy": "no"}  # fmt: skip
    arguments = CausalDistillationArguments(output_dir=str(tmp_path / "out"), **settings | options)
    return CausalDistillationTrainer(
        model=model,
        args=arguments,
        teacher=teacher,
        processing_class=tokenizer,
        train_dataset=bitext() if data is None else data,
    )


@pytest.mark.parametrize("make", [gpt2, llama])
def test_the_loss_is_the_transport_between_unit_hidden_states_of_the_texts_alone(tmp_path, tokenizer, make):
    student, teacher = make(tokenizer), make(tokenizer, seed=1)
    own = trainer(tmp_path, tokenizer, student, teacher, objectives={"transport": 1.0}, layers=[1, -1])
    batch = CausalCollator(tokenizer)([dict(row) for row in bitext()])
    found = own.compute_loss(student, batch).item()
    values = []
    for layer in (1, 3):
        sides = []
        for model, prefix in ((student, ""), (teacher, "source_")):
            with torch.no_grad():
                states = model(
                    input_ids=batch[f"{prefix}input_ids"],
                    attention_mask=batch[f"{prefix}attention_mask"],
                    output_hidden_states=True,
                ).hidden_states[layer]
            sides.append((torch.nn.functional.normalize(states, dim=-1), batch[f"{prefix}content_mask"]))
        (vectors, mask), (frozen, frozen_mask) = sides
        values.append(transport_loss(vectors, frozen, mask, frozen_mask, options=TransportOptions())[0].item())
    assert found == pytest.approx(sum(values) / 2, abs=1e-5)


def test_the_marker_and_the_padding_take_no_mass(tokenizer):
    batch = CausalCollator(tokenizer)(
        [{"source": s, "target": t, "kind": k} for (s, t), k in zip(PAIRS, ("query", "document") * 2, strict=True)]
    )
    for row, (source, target) in enumerate(PAIRS):
        for prefix, text in (("", target), ("source_", source)):
            content = batch[f"{prefix}input_ids"][row][batch[f"{prefix}content_mask"][row]]
            assert tokenizer.decode(content).strip() == text
            seen = batch[f"{prefix}input_ids"][row][batch[f"{prefix}attention_mask"][row].bool()]
            assert tokenizer.decode(seen) == ("Question: ", "Answer: ")[row % 2] + text


def test_a_long_text_is_cut(tokenizer):
    batch = CausalCollator(tokenizer, max_length=12)([{"source": "the cat " * 20, "target": "paka " * 20}])
    assert batch["input_ids"].shape == (1, 12)
    assert batch["source_input_ids"].shape == (1, 12)


def test_the_student_comes_to_read_the_translation_as_the_teacher_reads_english(tmp_path, tokenizer):
    student, teacher = gpt2(tokenizer), gpt2(tokenizer)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    own = trainer(tmp_path, tokenizer, student, teacher, objectives={"transport": 1.0}, max_steps=40, learning_rate=5e-3)
    own.train()
    losses = [entry["transport"] for entry in own.state.log_history if "transport" in entry]
    assert losses[-1] < 0.5 * losses[0]
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items()), "the teacher is frozen"


def test_every_objective_is_logged_and_both_kinds_are_learnt(tmp_path, tokenizer):
    weights = {"transport": 1.0, "pooled_mse": 0.5, "contrastive": 0.5, "next_token": 1.0}
    own = trainer(tmp_path, tokenizer, gpt2(tokenizer), gpt2(tokenizer, 1), data=bitext("both"), objectives=weights)
    assert len(own.train_dataset) == 2 * len(PAIRS)
    own.train()
    logged = next(entry for entry in own.state.log_history if "loss" in entry)
    assert float(logged["loss"]) == pytest.approx(sum(w * logged[name] for name, w in weights.items()), abs=1e-3)


@pytest.mark.parametrize("objectives", [{"transport": 1.0}, {"pooled_mse": 1.0, "next_token": 1.0}])
def test_a_loss_that_is_not_a_number_ends_the_training_and_leaves_the_texts(tmp_path, tokenizer, objectives):
    student, teacher = gpt2(tokenizer), gpt2(tokenizer, 1)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    with torch.no_grad():
        teacher.transformer.wte.weight.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"the loss of step 1 is n(an|ot a number)") as caught:
        trainer(tmp_path, tokenizer, student, teacher, objectives=objectives).train()
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())
    written = json.loads((caught.value.folder / "batch.json").read_text())
    assert sorted(text["source"] for text in written["texts"]) == sorted(source for source, _ in PAIRS)


def test_without_hidden_states_it_is_plain_language_modelling(tmp_path, tokenizer):
    student = gpt2(tokenizer)
    own = trainer(tmp_path, tokenizer, student, gpt2(tokenizer, 1), objectives={"transport": 0.0, "next_token": 1.0})
    batch = CausalCollator(tokenizer)([dict(row) for row in bitext()])
    labels = batch["input_ids"].masked_fill(~batch["content_mask"], -100)
    expected = student(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
    assert own.compute_loss(student, batch).item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_text_without_tokens_that_count_has_no_loss():
    logits, ids = torch.randn(1, 3, 5, requires_grad=True), torch.zeros(1, 3, dtype=torch.long)
    loss = next_token_loss(logits, ids, torch.zeros(1, 3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().sum() == 0


def test_accumulating_gives_the_update_of_the_large_batch(tmp_path, tokenizer):
    weights = []
    # Pairs of one length each, so that the mean over tokens of the parts is that of the whole.
    rows = [{"source": "the cat sat", "target": "paka alikaa"}, {"source": "the mat", "target": "paka alikaa"}]
    for batch, steps in ((2, 1), (1, 2)):
        student = gpt2(tokenizer)
        trainer(
            tmp_path, tokenizer, student, gpt2(tokenizer, 1), data=Dataset.from_list(rows), max_steps=2, learning_rate=1e-2,
            per_device_train_batch_size=batch, gradient_accumulation_steps=steps,
        ).train()  # fmt: skip
        weights.append(student.transformer.wte.weight.detach().clone())
    assert torch.allclose(*weights, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"objectives": {"score_kl": 1.0}}, "a causal model is distilled by transport, pooled_mse"),
        ({"objectives": {"next_token": 0.0}}, "no objective has a weight above 0"),
        ({"transport": {"marginals": "idf"}}, "marginals are 'uniform'"),
        ({"layers": [4]}, "4 is none of the model's 3 layers"),
        ({"layers": [0]}, "0 is none of the model's 3 layers"),
        ({"layers": [3, -1]}, "each once"),
        ({"max_length": 2}, "at least 4"),
    ],
)
def test_what_cannot_work_is_told(tmp_path, tokenizer, options, message):
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path, tokenizer, gpt2(tokenizer), gpt2(tokenizer), **options)


def test_models_of_different_size_are_refused(tokenizer):
    with pytest.raises(ValueError, match="same hidden size and number of layers"):
        checked_layers(gpt2(tokenizer), gpt2(tokenizer, layers=2), None)
    assert checked_layers(gpt2(tokenizer), gpt2(tokenizer), None) == [1]


def test_objectives_are_told_apart_from_the_next_token():
    hidden, weight = parse_causal_objectives(
        {"transport": 1.0, "contrastive": {"weight": 2.0, "temperature": 0.1}, "next_token": 0.5}
    )
    assert list(hidden) == ["transport", "contrastive"]
    assert weight.largest == 0.5
