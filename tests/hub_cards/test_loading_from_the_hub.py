"""Loading from the Hub: what `from_pretrained` is given finds the weights, the settings and the tokenizer, by every way in."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hub_server import Repository
from transformers import AutoModel, AutoProcessor

from modeling_optical import OpticalModel, OpticalProcessor, OpticalRetriever, load_checkpoint

TEXT = "the cat sat on the mat"


def with_processor(name, **given):
    model = AutoModel.from_pretrained(name, **given)
    model.processor = AutoProcessor.from_pretrained(name, **given)
    return model


WAYS = {
    "AutoModel": AutoModel.from_pretrained,
    "OpticalModel": OpticalModel.from_pretrained,
    "AutoProcessor": with_processor,
    "load_checkpoint": load_checkpoint,
    "retriever": lambda name, **given: OpticalRetriever.from_pretrained(name, **given).query_model,
}


@pytest.fixture(scope="module")
def models(backbones) -> dict[str, OpticalModel]:
    """Three students with weights, settings and tokenizers of their own."""
    made = {}
    for seed, (place, family) in enumerate({"root": "bert", "v1.0": "xlm-roberta", "student": "modernbert"}.items()):
        torch.manual_seed(seed)
        made[place] = OpticalModel.from_backbone(backbones[family], embedding_dim=8, query_length=6 + seed)
    return made


@pytest.fixture
def private(hub, models, tmp_path):
    """A private repository: a student in its root, another at the tag v1.0, a third in the subfolder `student` of that tag."""

    def files(place, prefix=""):
        models[place].save_pretrained(tmp_path / place)
        return {prefix + path.name: path.read_bytes() for path in (tmp_path / place).iterdir()}

    tagged = Repository(private=True, commits=["1" * 40], files=files("v1.0") | files("student", "student/"))
    hub.repositories["model", "org/private"] = Repository(private=True, files=files("root"), tags={"v1.0": tagged})
    return hub


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("place", "given"),
    [("v1.0", {"revision": "v1.0"}), ("student", {"revision": "v1.0", "subfolder": "student"})],
)
def test_every_file_comes_from_the_revision_and_subfolder_that_were_given_and_with_the_token(
    private, models, monkeypatch, tmp_path, way, place, given
):
    monkeypatch.delenv("HF_TOKEN")
    given = given | {"token": "hf_good", "cache_dir": str(tmp_path / "cache")}
    model = WAYS[way]("org/private", **given)
    assert np.array_equal(model.encode_query(TEXT * 9), models[place].encode_query(TEXT * 9))
    assert model.get_processor().tokenizer.get_vocab() == models[place].processor.tokenizer.get_vocab()
    assert not list((tmp_path / "hub-cache").rglob("snapshots/*/*"))  # nothing came past the cache that was named
    model.save_pretrained(tmp_path / "saved")
    assert "hf_good" not in "".join(path.read_text() for path in (tmp_path / "saved").glob("*.json"))
    assert np.array_equal(AutoModel.from_pretrained(tmp_path / "saved").encode_query(TEXT), models[place].encode_query(TEXT))
    # What is in the cache is enough from now on.
    private.requests.clear()
    again = WAYS[way]("org/private", **given, local_files_only=True)
    assert np.array_equal(again.encode_query(TEXT), model.encode_query(TEXT))
    # transformers itself looks for an adapter all the same.
    assert not [request for request in private.requests if not request.endswith("adapter_config.json")]


def test_a_retrievers_documents_are_read_with_the_same_token(private, models, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    private.repositories["model", "org/teacher"] = private.repositories["model", "org/private"].at("v1.0")
    retriever = OpticalRetriever.from_pretrained(
        "org/private", "org/teacher", token="hf_good", revision="v1.0", subfolder="student", cache_dir=str(tmp_path / "cache")
    )
    assert np.array_equal(retriever.document_model.encode_document(TEXT), models["v1.0"].encode_document(TEXT))


@pytest.mark.parametrize("family", ["bert", "xlm-roberta"])
def test_an_encoder_in_a_subfolder_of_a_private_repository_starts_a_student(hub, backbones, monkeypatch, tmp_path, family):
    monkeypatch.delenv("HF_TOKEN")
    saved = {f"encoder/{path.name}": path.read_bytes() for path in Path(backbones[family]).iterdir()}
    hub.repositories["model", "org/encoder"] = Repository(private=True, files=saved)
    expected = load_checkpoint(backbones[family]).encode_query(TEXT)
    for start in (OpticalModel.from_backbone, load_checkpoint):
        model = start("org/encoder", subfolder="encoder", token="hf_good")
        assert np.array_equal(model.encode_query(TEXT), expected)
        with pytest.raises(OSError):
            start("org/encoder", subfolder="encoder", token="hf_unknown", cache_dir=str(tmp_path / "other"))


def test_a_subfolder_of_a_folder_is_read_alike(models, tmp_path):
    models["root"].save_pretrained(tmp_path)
    models["student"].save_pretrained(tmp_path / "student")
    for way in ("AutoModel", "OpticalModel", "AutoProcessor", "load_checkpoint"):
        model = WAYS[way](tmp_path, subfolder="student")
        assert np.array_equal(model.encode_query(TEXT), models["student"].encode_query(TEXT)), way


def test_the_processor_alone_takes_settings_in_place_of_the_checkpoints(models, tmp_path):
    models["root"].save_pretrained(tmp_path)
    processor = OpticalProcessor.from_pretrained(tmp_path, query_length=4)
    assert len(processor.tokenize(TEXT)[0]["input_ids"]) == 4
