"""Exports: what is refused, what stays whole, and one folder for two packages."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from modeling_optical import OpticalModel, load_checkpoint
from modeling_optical.checkpoints import EXPORT_FORMATS, add_sentence_transformers, export_checkpoint
from recipes.cli import main

TEXTS = ["the cat sat on the mat, and the dog barked!", "mwalimu mzuri", "अंग्रेज़ी में खोज", ""]


@pytest.fixture
def student(bert, tmp_path) -> OpticalModel:
    torch.manual_seed(0)
    values = {"query_length": 16, "document_length": 40, "query_expansion": "fixed", "skiplist": "punctuation"}
    model = OpticalModel.from_backbone(bert, embedding_dim=8, query_marker="[Q]", document_marker="[D]", **values)
    model.save_pretrained(tmp_path / "student")
    return load_checkpoint(tmp_path / "student")


def assert_alike(one: OpticalModel, other: OpticalModel) -> None:
    for kind in ("query", "document"):
        for a, b in zip(one.encode(TEXTS, kind), other.encode(TEXTS, kind), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("name", ["sentence-transformers", "pylate"])
def test_an_export_read_again_gives_the_same_vectors(name, student, tmp_path):
    assert export_checkpoint(student, tmp_path / "out", name) == []
    assert_alike(student, load_checkpoint(tmp_path / "out"))


@pytest.mark.parametrize("name", ["sentence-transformers", "pylate"])
def test_a_projection_of_several_layers_survives(name, bert, tmp_path):
    torch.manual_seed(0)
    layers = [
        {"out_features": 24, "bias": True, "activation": "GELU", "residual": True},
        {"out_features": 24, "bias": True, "activation": "Tanh", "residual": True},
        {"out_features": 8, "bias": False},
    ]
    model = OpticalModel.from_backbone(bert, projection_layers=layers)
    export_checkpoint(model, tmp_path / "out", name)
    again = load_checkpoint(tmp_path / "out")
    assert again.config.projection_layers == model.config.projection_layers
    assert again.config.embedding_dim == 8
    assert_alike(model, again)


def test_a_model_without_a_projection_stays_as_it_is(bert, tmp_path):
    model = OpticalModel.from_backbone(bert, embedding_dim=None)
    for name in ("sentence-transformers", "pylate"):
        export_checkpoint(model, tmp_path / name, name)
        assert_alike(model, load_checkpoint(tmp_path / name))


def test_settings_that_a_format_cannot_say_are_refused_by_name_and_changed_on_request(bert, tmp_path):
    model = OpticalModel.from_backbone(
        bert, embedding_dim=8, query_expansion="min", query_length=12, scored_query_tokens="content", query_prompt="find "
    )
    with pytest.raises(ValueError, match=r"query_expansion: 'min' becomes 'fixed'.*query_prompt: 'find '.*--nearest"):
        export_checkpoint(model, tmp_path / "out", "pylate")
    assert not (tmp_path / "out").exists()
    changes = export_checkpoint(model, tmp_path / "out", "pylate", nearest=True)
    assert {change.setting for change in changes} == {"query_expansion", "query_prompt", "scored_query_tokens"}
    assert load_checkpoint(tmp_path / "out").config.query_expansion == "fixed"
    with pytest.raises(ValueError, match=r"scored_query_tokens: 'content' becomes 'all'"):
        export_checkpoint(model, tmp_path / "other", "sentence-transformers")
    with pytest.raises(ValueError, match=r"has none for queries"):
        export_checkpoint(model, tmp_path / "other", "stanford", nearest=True)


def test_a_folder_that_is_there_is_not_replaced_unasked(student, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="--overwrite"):
        export_checkpoint(student, tmp_path / "out", "pylate")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "precious"
    with pytest.raises(ValueError, match="allowed: sentence-transformers, pylate, stanford, onnx"):
        export_checkpoint(student, tmp_path / "other", "gguf")
    assert set(EXPORT_FORMATS) == {"sentence-transformers", "pylate", "stanford", "onnx"}


def test_an_export_leaves_the_model_as_it_was(student, tmp_path):
    before = student.encode(TEXTS, "query")
    vocabulary, special = student.processor.tokenizer.get_vocab(), student.processor.tokenizer.all_special_tokens
    for name in ("sentence-transformers", "pylate"):
        export_checkpoint(student, tmp_path / name, name)
    assert student.processor.tokenizer.get_vocab() == vocabulary
    assert student.processor.tokenizer.all_special_tokens == special
    for a, b in zip(before, student.encode(TEXTS, "query"), strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_folder_loads_with_both_packages(student, tmp_path, capsys):
    package = pytest.importorskip("sentence_transformers", reason="pip install 'sentence-transformers>=6'")
    folder = tmp_path / "student"
    assert main(["export", str(folder), "--also", "sentence-transformers"]) == 0
    assert "the backbone is there twice" in capsys.readouterr().out
    assert json.loads((folder / "config.json").read_text())["model_type"] == "optical"
    assert_alike(student, load_checkpoint(folder))
    theirs = package.MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)
    for a, b in zip(student.encode_query(TEXTS), theirs.encode_query(TEXTS, convert_to_numpy=True), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    for a, b in zip(student.encode_document(TEXTS), theirs.encode_document(TEXTS, convert_to_numpy=True), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_adding_to_a_folder_that_holds_no_model_is_an_error(student, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="save_pretrained"):
        add_sentence_transformers(student, tmp_path / "empty")


def test_the_command_names_what_is_missing(student, tmp_path, capsys):
    folder = str(tmp_path / "student")
    assert main(["export", folder, "--format", "pylate"]) == 2
    assert "--format needs --output" in capsys.readouterr().err
    for given in (["--also", "sentence-transformers", "--output", "x"], ["--also", "sentence-transformers", "--overwrite"]):
        assert main(["export", folder, *given]) == 2
        assert "--also writes into the model's own folder" in capsys.readouterr().err
    assert main(["export", folder, "--format", "onnx", "--texts", "t.txt", "--output", str(tmp_path / "x")]) == 2
    assert "--texts belongs to --int8" in capsys.readouterr().err
    assert main(["export", folder, "--format", "pylate", "--int8", "--output", str(tmp_path / "x")]) == 2
    assert "--int8 belongs to --format onnx" in capsys.readouterr().err
    assert main(["export", folder, "--format", "pylate", "--output", str(tmp_path / "x")]) == 0
    assert "pylate: " in capsys.readouterr().out
    assert sorted(p.name for p in Path(tmp_path / "x").iterdir() if p.suffix == "") == ["1_Dense"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        ("bert", torch.float32),
        ("xlm-roberta", torch.float32),
        ("modernbert", torch.float32),
        ("bert", torch.float16),
        ("bert", torch.bfloat16),
    ],
)
def test_the_onnx_graph_gives_the_same_vectors_in_both_modes_and_any_shape(family, dtype, backbones, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason='pip install "modeling-optical[onnx]"')
    from modeling_optical.checkpoints.onnx import OnnxEncoder, quantize

    torch.manual_seed(0)
    values = {"query_length": 16, "document_length": 40, "query_expansion": "fixed", "skiplist": "punctuation"}
    # The tiny ModernBERT's local attention spans less than a query: an expansion token far from all that attention sees has
    # no defined vector, in PyTorch neither.
    values["attend_to_expansion_tokens"] = family == "modernbert"
    model = OpticalModel.from_backbone(backbones[family], embedding_dim=8, query_marker="[Q]", document_marker="[D]", **values)
    model.to(dtype).save_pretrained(tmp_path / "stored")
    model = load_checkpoint(tmp_path / "stored")
    assert model.dtype == dtype
    export_checkpoint(model, tmp_path / "onnx", "onnx")
    assert model.dtype == dtype
    model.float()  # the graph computes in single precision with the weights as they are
    encoder = OnnxEncoder(tmp_path / "onnx")
    texts = [*TEXTS, "cat " * 60, "😀"]
    for kind in ("query", "document"):
        for batch_size in (1, 3):
            for a, b in zip(model.encode(texts, kind), encoder.encode(texts, kind, batch_size=batch_size), strict=True):
                np.testing.assert_allclose(a, b, atol=1e-5)
    loss = quantize(tmp_path / "onnx")
    assert (tmp_path / "onnx" / "model_int8.onnx").is_file()
    assert 0.9 < loss.mean_cosine <= 1.0 + 1e-6
    assert loss.least_cosine <= loss.mean_cosine


def test_a_missing_graph_says_how_to_make_it(tmp_path):
    pytest.importorskip("onnxruntime", reason='pip install "modeling-optical[onnx]"')
    from modeling_optical.checkpoints.onnx import OnnxEncoder

    with pytest.raises(FileNotFoundError, match="--format onnx"):
        OnnxEncoder(tmp_path)
