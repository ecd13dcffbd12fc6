"""What transformers asks of every model (its `ModelTesterMixin` is not part of the installed package), over five backbones."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import infer_auto_device_map
from safetensors.torch import load_file, save_file
from transformers.modeling_layers import GradientCheckpointingLayer

from modeling_optical import OpticalForDistillation, OpticalModel

ALL_FAMILIES = ("bert", "xlm-roberta", "modernbert", "xmod", "distilbert")
# Families whose learned positions count from the first column, padding or not.
POSITIONS_FROM_FIRST_COLUMN = ("bert", "distilbert")
TEXTS = ["the cat sat on the mat, and the dog barked!", "a dog", "search works in English; it fails in Somali."]


@pytest.fixture(params=ALL_FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(family: str, backbones: dict[str, str]) -> OpticalModel:
    torch.manual_seed(1)
    return OpticalModel.from_backbone(backbones[family], embedding_dim=8, query_marker="[Q]", document_marker="[D]")


@pytest.fixture
def folder(model: OpticalModel, tmp_path: Path) -> Path:
    return save(model, tmp_path / "saved")


@pytest.fixture
def batch(model: OpticalModel) -> dict[str, torch.Tensor]:
    return inputs(model)


def inputs(model: OpticalModel, texts: list[str] = TEXTS, kind: str = "query") -> dict[str, torch.Tensor]:
    encoded = dict(model.get_processor()(texts, kind))
    del encoded["content_mask"]
    return encoded


def save(model: OpticalModel, folder: Path, **kwargs) -> Path:
    model.save_pretrained(folder, **kwargs)
    model.get_processor().save_pretrained(folder)
    return folder


def vectors(model: OpticalModel, **batch) -> torch.Tensor:
    with torch.no_grad():
        return model(**batch).token_vectors.float()


# Saving and loading


def test_every_weight_of_a_sharded_checkpoint_returns_bit_equal(model, batch, tmp_path):
    save(model, tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    loaded, info = OpticalModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    for (name, old), (other, new) in zip(model.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(old, new), name
    assert torch.equal(vectors(model, **batch), vectors(loaded, **batch))


def test_missing_and_unexpected_keys_are_named_and_missing_ones_start_as_a_fresh_model_would(model, folder):
    weights = load_file(folder / "model.safetensors")
    absent = next(name for name in weights if name.endswith("weight") and weights[name].dim() == 1)  # of a layer norm
    del weights[absent], weights["projection.weight"]
    save_file({**weights, "somebody.elses": torch.zeros(2)}, folder / "model.safetensors", {"format": "pt"})
    loaded, info = OpticalModel.from_pretrained(folder, output_loading_info=True)
    assert info["missing_keys"] == {absent, "projection.weight"}
    assert info["unexpected_keys"] == {"somebody.elses"}
    assert torch.equal(loaded.get_parameter(absent), torch.ones_like(loaded.get_parameter(absent)))
    scale = loaded.projection.weight.std().item() * loaded.projection.in_features**0.5
    assert 0.8 < scale < 1.2


def test_a_weight_of_another_shape_is_refused_or_started_afresh_where_allowed(folder):
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        OpticalModel.from_pretrained(folder, embedding_dim=6)
    loaded, info = OpticalModel.from_pretrained(folder, embedding_dim=6, ignore_mismatched_sizes=True, output_loading_info=True)
    assert [key for key, *_ in info["mismatched_keys"]] == ["projection.weight"]
    assert loaded.projection.weight.shape[0] == 6


def test_no_weight_is_tied_to_another(model):
    assert not model.all_tied_weights_keys
    places = [parameter.data_ptr() for parameter in model.parameters()]
    assert len(set(places)) == len(places)


def test_buffers_that_no_checkpoint_holds_are_rebuilt_when_loading(model, folder, family):
    loaded = OpticalModel.from_pretrained(folder)
    saved = set(load_file(folder / "model.safetensors"))
    rebuilt = {name: buffer for name, buffer in loaded.named_buffers() if name not in saved}
    assert rebuilt, family
    for name, buffer in model.named_buffers():
        assert rebuilt[name].device.type == "cpu"
        assert torch.equal(rebuilt[name], buffer), name


def test_a_model_can_be_made_without_memory(model):
    with torch.device("meta"):
        empty = OpticalModel(model.config)
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}
    assert set(empty.state_dict()) == set(model.state_dict())


def test_the_backbone_and_the_model_share_one_configuration(model, folder):
    for one in (model, OpticalModel.from_pretrained(folder)):
        assert one.backbone.config is one.config.backbone_config


# Size of the vocabulary


@pytest.mark.parametrize("change", [7, -2])
def test_resizing_the_vocabulary_keeps_the_vectors_of_the_rest_and_is_saved(model, tmp_path, change):
    rows = model.get_input_embeddings().num_embeddings
    kept = torch.arange(5, rows - 2).unsqueeze(0)[:, :40]
    before = vectors(model, input_ids=kept)
    model.resize_token_embeddings(rows + change)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["backbone_config"]["vocab_size"] == rows + change
    loaded, info = OpticalModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert loaded.get_input_embeddings().num_embeddings == rows + change
    assert torch.equal(before, vectors(loaded, input_ids=kept))
    last = torch.arange(rows + change - 4, rows + change).unsqueeze(0)
    assert bool(vectors(loaded, input_ids=last).isfinite().all())


# Outputs


def test_tuples_hidden_states_and_attentions_come_where_asked_for(model, batch, folder):
    output = model(**batch)
    as_tuple = model(**batch, return_dict=False)
    assert torch.equal(as_tuple[0], output.token_vectors)
    assert torch.equal(as_tuple[1], output.token_mask)
    assert output.hidden_states is None
    eager = OpticalModel.from_pretrained(folder, attn_implementation="eager")
    asked = eager(**batch, output_hidden_states=True, output_attentions=True)
    length = batch["input_ids"].shape[1]
    assert [tuple(states.shape) for states in asked.hidden_states] == [(3, length, 32)] * 3
    assert [tuple(weights.shape) for weights in asked.attentions] == [(3, 2, length, length)] * 2
    configured = OpticalModel.from_pretrained(
        folder, output_hidden_states=True, output_attentions=True, attn_implementation="eager"
    )
    assert len(configured(**batch).hidden_states) == 3
    assert len(configured(**batch).attentions) == 2


def test_embeddings_can_stand_in_for_ids(model):
    batch = inputs(model, TEXTS[:1])
    embedded = {name: value for name, value in batch.items() if name != "input_ids"}
    given = vectors(model, inputs_embeds=model.get_input_embeddings()(batch["input_ids"]), **embedded)
    torch.testing.assert_close(given, vectors(model, **batch))
    with pytest.raises(ValueError, match="input_ids or inputs_embeds"):
        model()


# Training


def test_gradient_checkpointing_changes_no_gradient_and_computes_layers_twice(model, batch):
    student = OpticalForDistillation(model.config)
    student.load_state_dict(model.state_dict())
    for module in student.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    student.train()
    teacher = torch.nn.functional.normalize(torch.randn(3, 5, 8), dim=-1)
    layers = [module for module in student.modules() if isinstance(module, GradientCheckpointingLayer)]
    calls = []
    for layer in layers:
        inner = next(module for module in layer.modules() if isinstance(module, torch.nn.Linear))
        inner.register_forward_pre_hook(lambda *_: calls.append(1))

    def gradients() -> dict[str, torch.Tensor]:
        calls.clear()
        student.zero_grad()
        student(**batch, teacher_vectors=teacher).loss.backward()
        return {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}

    plain, plain_calls = gradients(), len(calls)
    student.gradient_checkpointing_enable()
    assert student.is_gradient_checkpointing
    checkpointed, checkpointed_calls = gradients(), len(calls)
    assert (plain_calls, checkpointed_calls) == (2, 4)
    assert plain.keys() == checkpointed.keys()
    assert any(name.endswith("embeddings.weight") or "tok_embeddings" in name for name in plain)
    for name, gradient in plain.items():
        torch.testing.assert_close(gradient, checkpointed[name], msg=name)
    student.gradient_checkpointing_disable()
    assert not student.is_gradient_checkpointing


def test_every_parameter_that_a_text_passes_gets_a_gradient(model, batch, family):
    student = OpticalForDistillation(model.config)
    teacher = torch.nn.functional.normalize(torch.randn(3, 5, 8), dim=-1)
    student(**batch, teacher_vectors=teacher).loss.backward()
    untouched = {name for name, parameter in student.named_parameters() if parameter.grad is None or not parameter.grad.any()}
    # Attention is blind to a bias of its keys; an X-MOD layer passes the adapter of one language only.
    unexplained = {name for name in untouched if "key.bias" not in name and "k_lin.bias" not in name}
    assert all("adapter_modules.en_XX" in name for name in unexplained), unexplained
    assert bool(unexplained) == (family == "xmod")


# Attention


@pytest.mark.parametrize("name", ["eager", "sdpa", pytest.param("flex_attention", marks=pytest.mark.slow), "flash_attention_2"])
def test_attention_implementations_agree(model, batch, folder, name, family):
    if name == "flash_attention_2" and not (torch.cuda.is_available() and importlib.util.find_spec("flash_attn")):
        pytest.skip("flash_attention_2 needs a GPU and the package flash_attn")
    if name == "flash_attention_2":
        half = OpticalModel.from_pretrained(folder, dtype=torch.bfloat16).to("cuda")
        on_device = {key: value.to("cuda") for key, value in batch.items()}
        expected = vectors(half, **on_device)
        half.set_attn_implementation(name)
        torch.testing.assert_close(vectors(half, **on_device), expected, atol=0.05, rtol=0)
        return
    expected = vectors(model, **batch)
    loaded = OpticalModel.from_pretrained(folder, attn_implementation=name)
    assert loaded.backbone.config._attn_implementation == name
    torch.testing.assert_close(vectors(loaded, **batch), expected, atol=1e-5, rtol=0)
    model.set_attn_implementation(name)
    assert model.backbone.config._attn_implementation == name
    torch.testing.assert_close(vectors(model, **batch), expected, atol=1e-5, rtol=0)


def test_the_attention_asked_for_reaches_a_new_model(family, backbones):
    model = OpticalModel.from_backbone(backbones[family], attn_implementation="eager")
    assert model.backbone.config._attn_implementation == model.config._attn_implementation == "eager"


# Padding and batches


@pytest.mark.parametrize("kind", ["query", "document"])
def test_a_batch_gives_what_its_texts_give_one_by_one(model, kind):
    together = model.encode(TEXTS, kind, batch_size=3)
    for text, vector in zip(TEXTS, together, strict=True):
        np.testing.assert_allclose(model.encode([text], kind)[0], vector, atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_gives_the_same_vectors(model, batch, family, side):
    columns = 6
    pad = (columns, 0) if side == "left" else (0, columns)
    padded = {name: torch.nn.functional.pad(value, pad) for name, value in batch.items()}
    added = slice(0, columns) if side == "left" else slice(-columns, None)
    padded["input_ids"][:, added] = model.get_processor().tokenizer.pad_token_id
    kept = slice(columns, None) if side == "left" else slice(0, -columns)
    if side == "left" and family in POSITIONS_FROM_FIRST_COLUMN:
        assert not torch.allclose(vectors(model, **padded)[:, kept], vectors(model, **batch), atol=1e-2)
        padded["position_ids"] = (
            (torch.arange(padded["input_ids"].shape[1]) - columns).clamp_min(0).expand_as(padded["input_ids"])
        )
    output = vectors(model, **padded)
    torch.testing.assert_close(output[:, kept], vectors(model, **batch), atol=1e-5, rtol=0)
    assert not output[:, added].any()


# Devices and precision


@pytest.mark.parametrize("device_map", ["cpu", "auto"])
def test_a_device_map_changes_nothing(batch, model, folder, device_map):
    loaded = OpticalModel.from_pretrained(folder, device_map=device_map)
    moved = {name: value.to(loaded.device) for name, value in batch.items()}
    torch.testing.assert_close(vectors(loaded, **moved).cpu(), vectors(model, **batch), atol=1e-5, rtol=0)


def test_a_layer_is_never_split_between_devices(model):
    assert model._no_split_modules
    with torch.device("meta"):
        empty = OpticalModel(model.config)
    layers = [name for name, module in empty.named_modules() if isinstance(module, GradientCheckpointingLayer)]
    whole = sum(p.numel() * p.element_size() for p in empty.parameters())
    splits = 0
    for share in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9):
        device_map = infer_auto_device_map(
            empty, max_memory={0: int(share * whole), "cpu": 2 * whole}, no_split_module_classes=list(empty._no_split_modules)
        )
        splits += len(set(device_map.values())) > 1
        assert not [place for place in device_map for layer in layers if place.startswith(f"{layer}.")], device_map
    assert splits


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_checkpoint_loads_in_the_precision_that_is_asked_for_or_its_own(model, batch, folder, tmp_path, dtype):
    half = OpticalModel.from_pretrained(folder, dtype=dtype)
    assert {parameter.dtype for parameter in half.parameters()} == {dtype}
    for (name, buffer), (_, single) in zip(half.named_buffers(), model.named_buffers(), strict=True):
        assert torch.equal(buffer, single), f"{name} lost precision"
    difference = vectors(half, **batch) - vectors(model, **batch)
    assert float(difference.abs().max()) < 0.05
    half.save_pretrained(tmp_path / "half")
    own = OpticalModel.from_pretrained(tmp_path / "half", dtype="auto")
    assert own.dtype == own.config.dtype == own.config.backbone_config.dtype == dtype
    assert torch.equal(vectors(own, **batch), vectors(half, **batch))
    assert OpticalModel.from_pretrained(tmp_path / "half", dtype=torch.float32).dtype == torch.float32


# Graphs


@pytest.mark.slow
def test_the_forward_pass_is_one_graph(model, batch):
    """torch.compile with `fullgraph`, which fails at anything that Python has to decide; the graph is run as it is."""
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=True)
    for given in (batch, inputs(model, TEXTS[:2], "document")):
        torch.testing.assert_close(vectors(compiled, **given), vectors(model, **given), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_the_loss_compiles_around_the_solver(backbones):
    model = OpticalForDistillation.from_backbone(backbones["bert"], embedding_dim=8)
    batch = dict(model.get_processor()(TEXTS, "query"))
    teacher = torch.nn.functional.normalize(torch.randn(3, 5, 8), dim=-1)
    found = {}
    for name, student in (("plain", model), ("compiled", torch.compile(model, backend="aot_eager"))):
        model.zero_grad()
        loss = student(**batch, teacher_vectors=teacher).loss
        loss.backward()
        found[name] = (loss.detach(), model.projection.weight.grad.clone())
    torch.testing.assert_close(found["compiled"], found["plain"])


def test_an_exported_program_takes_any_batch_and_length(model, batch):
    rows, columns = torch.export.Dim("batch", max=64), torch.export.Dim("length", max=60)
    shapes = {name: {0: rows, 1: columns} for name in batch}
    program = torch.export.export(model, (), batch, dynamic_shapes=shapes).module()
    for texts, kind in ((TEXTS[:1], "query"), (TEXTS * 3, "document"), (["a"], "document")):
        other = inputs(model, texts, kind)
        torch.testing.assert_close(program(**other).token_vectors, model(**other).token_vectors, atol=1e-5, rtol=0)


# X-MOD: one adapter for each language


def test_the_language_of_an_xmod_backbone_is_used_and_saved(backbones, tmp_path):
    model = OpticalModel.from_backbone(backbones["xmod"], embedding_dim=8)
    batch = inputs(model)
    swahili, english = (vectors(model, **batch, lang_ids=torch.full((3,), language)) for language in (1, 0))
    assert torch.equal(vectors(model, **batch), swahili)
    assert not torch.allclose(swahili, english, atol=1e-4)
    model.backbone.set_default_language("en_XX")
    loaded = OpticalModel.from_pretrained(save(model, tmp_path))
    assert torch.equal(vectors(loaded, **batch), english)
