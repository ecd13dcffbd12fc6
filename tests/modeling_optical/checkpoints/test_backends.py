"""One model in every backend: the same interface, the same vectors, the same fingerprint."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from modeling_optical import OpticalRetriever, load_checkpoint
from modeling_optical.checkpoints import backends
from modeling_optical.checkpoints.backends import TOLERANCE, BackendChoice
from modeling_optical.encoding.encoded_corpus import Encoder

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
TEXTS = ["the cat sat on the mat", "paka alikaa", ""]


@pytest.fixture(scope="module")
def folder(backbones: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with its exported graphs beside it."""
    folder = tmp_path_factory.mktemp("backends") / "model"
    model = load_checkpoint(backbones["bert"], embedding_dim=8, pooling_mode="mean", query_marker="[Q]")
    model.save_pretrained(folder)
    load_checkpoint(folder, backend="onnx-int8")
    return folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "modeling-optical"


def exports(folder: Path) -> list[Path]:
    return sorted(folder.rglob("model.onnx"))


def test_the_graph_is_exported_once_beside_the_model_where_no_push_takes_it_along(folder):
    (graph,) = exports(folder)
    made = graph.stat().st_mtime_ns
    encoder = load_checkpoint(folder, backend="onnx")
    torch_model = load_checkpoint(folder)
    assert exports(folder) == [graph]
    assert graph.stat().st_mtime_ns == made
    assert graph.relative_to(folder).parts[0].startswith(".")
    for kind in ("query", "document"):
        for ours, theirs in zip(encoder.encode(TEXTS, kind), torch_model.encode(TEXTS, kind), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_allclose(encoder.encode_pooled(TEXTS), torch_model.encode_pooled(TEXTS), atol=1e-4)
    assert encoder.encode_query("paka").shape == torch_model.encode_query("paka").shape
    assert Encoder.of(encoder) == Encoder.of(torch_model)
    scores = [m.similarity(m.encode_query(TEXTS[:2]), m.encode_document(TEXTS)) for m in (encoder, torch_model)]
    np.testing.assert_allclose(*scores, atol=1e-3)


def test_int8_has_a_fingerprint_of_its_own_where_its_vectors_are_beyond_the_tolerance(folder):
    (record,) = folder.rglob("int8.json")
    encoder, exact = load_checkpoint(folder, backend="onnx-int8"), Encoder.of(load_checkpoint(folder))
    assert encoder.encode_query("paka").shape[1] == 8
    for distance in (TOLERANCE / 2, TOLERANCE * 2):
        record.write_text(json.dumps({"greatest_distance": distance}))
        same = Encoder.of(load_checkpoint(folder, backend="onnx-int8")) == exact
        assert same == (distance < TOLERANCE)


def test_openvino_gives_the_same_vectors_and_may_search_what_pytorch_has_indexed(folder):
    pytest.importorskip("openvino", reason="openvino is not installed")
    encoder, model = load_checkpoint(folder, backend="openvino"), load_checkpoint(folder)
    for kind in ("query", "document"):
        for ours, theirs in zip(encoder.encode(TEXTS, kind), model.encode(TEXTS, kind), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-4)
    np.testing.assert_allclose(encoder.encode_pooled(TEXTS), model.encode_pooled(TEXTS), atol=1e-4)
    assert Encoder.of(encoder) == Encoder.of(model)


def test_openvino_keeps_to_the_precision_that_is_asked_for(folder, monkeypatch):
    pytest.importorskip("openvino", reason="openvino is not installed")
    monkeypatch.setenv("OPTICAL_PRECISION", "bf16")
    encoder = load_checkpoint(folder, backend="openvino", precision="auto")
    taken = []
    whole = encoder._compiled_for
    monkeypatch.setattr(encoder, "_compiled_for", lambda name: taken.append(name) or whole("f32"))
    encoder.encode_query("a short query")  # bf16, too: no weights are converted for it
    encoder.encode_query("a short query", precision="fp32")
    assert taken == ["bf16", "f32"]


def test_another_model_in_the_folder_has_another_graph(folder, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(backends.onnx, "write", lambda model, into: written.append(model) or (into / "x").touch())
    shutil.copytree(folder, tmp_path / "model")
    model = load_checkpoint(folder)
    model.projection.weight.data.mul_(1.5)
    model.save_pretrained(tmp_path / "model")
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "model", backend="onnx")
    assert len(written) == 1


def test_the_graph_of_an_installed_model_is_in_the_cache(folder, cache, monkeypatch):
    monkeypatch.setattr(backends.sysconfig, "get_paths", lambda: {"purelib": str(folder.parent)})
    (beside,) = exports(folder)
    shutil.copytree(beside.parent, cache / "onnx" / beside.parent.name)
    shutil.move(folder / ".onnx", folder / ".hidden")
    try:
        load_checkpoint(folder, backend="onnx")
        assert not (folder / ".onnx").exists()
    finally:
        shutil.move(folder / ".hidden", folder / ".onnx")


def test_auto_takes_the_fastest_for_few_and_for_many_tokens_and_measures_once(folder, cache, monkeypatch):
    calls = []

    def measured(model, candidates):
        calls.append(sorted(candidates))
        return {"small": {"torch": 2.0, "onnx": 1.0}, "large": {"torch": 1.0, "onnx": 2.0}}

    monkeypatch.setattr(backends, "_measure", measured)
    model = load_checkpoint(folder, backend="auto")
    assert isinstance(model, BackendChoice)
    seen = []
    for name in ("small", "large"):
        getattr(model, name).register_forward_pre_hook(lambda *_, name=name: seen.append(name))
    model.encode_query("paka")
    model.encode_document(TEXTS * 10)
    assert seen == ["small", "large"]
    assert Encoder.of(model) == Encoder.of(load_checkpoint(folder))
    load_checkpoint(folder, backend="auto")
    assert set(calls[0]) - {"openvino"} == {"onnx", "onnx-int8", "torch"}
    assert len(calls) == 1
    assert len(list((cache / "backends").iterdir())) == 1


def test_what_is_beyond_the_tolerance_is_not_measured(folder, monkeypatch):
    model = load_checkpoint(folder)
    far = load_checkpoint(folder)
    far.projection.weight.data.neg_()
    found = backends._measure(model, {"torch": lambda: model, "onnx-int8": lambda: far})
    assert set(found) == {"small", "large"}
    assert all(set(times) == {"torch"} for times in found.values())


def test_a_retriever_searches_with_a_graph_what_pytorch_has_indexed(folder, tmp_path):
    corpus = {"a": "the cat sat on the mat", "b": "a good teacher"}
    OpticalRetriever.from_pretrained(folder).index(corpus, tmp_path / "index", show_progress_bar=False)
    retriever = OpticalRetriever.from_pretrained(folder, backend="onnx")
    retriever.open(tmp_path / "index")
    assert retriever.search("the cat sat on the mat", k=1)[0].id == "a"
    assert retriever.explain("cat", "the cat sat").score > 0


def test_a_wrong_backend_is_an_error_that_lists_the_right_ones(folder):
    with pytest.raises(ValueError, match="torch, onnx, onnx-int8, openvino, auto"):
        load_checkpoint(folder, backend="onyx")
