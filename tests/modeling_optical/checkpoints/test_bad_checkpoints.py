"""Checkpoints as nobody should make them: loaded, or refused by their name; no code of theirs runs, no file outside is read."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from safetensors.torch import load_file, save_file

from modeling_optical import OpticalForDistillation, OpticalModel, OpticalProcessor, load_checkpoint
from modeling_optical.checkpoints.exporting import export_checkpoint
from modeling_optical.checkpoints.files import CheckpointFiles

FORMATS = ("optical", "encoder", "sentence-transformers", "pylate", "stanford")


@pytest.fixture(scope="module")
def good(backbones, tmp_path_factory) -> dict[str, Path]:
    """A good checkpoint of each format."""
    home = tmp_path_factory.mktemp("good")
    torch.manual_seed(0)
    model = OpticalModel.from_backbone(
        backbones["bert"], embedding_dim=8, query_marker="[Q]", document_marker="[D]", query_expansion="fixed"
    )
    for name in FORMATS:
        if name == "optical":
            model.save_pretrained(home / name)
        elif name == "encoder":
            shutil.copytree(backbones["bert"], home / name)
        else:
            export_checkpoint(model, home / name, name)
    return {name: home / name for name in FORMATS}


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("bad") / "spoilt"


def spoil(good: Path, spoilt: Path, file: str, content: bytes) -> None:
    shutil.rmtree(spoilt, ignore_errors=True)
    shutil.copytree(good, spoilt)
    (spoilt / file).write_bytes(content)


def loaded_or_refused(folder: Path) -> None:
    try:
        load_checkpoint(folder)
    except (ValueError, OSError, ImportError) as error:
        if folder.name not in str(error):
            raise


VALUES = some.recursive(
    some.none() | some.booleans() | some.integers(-3, 10**18) | some.floats() | some.sampled_from(["", "x", "../../x", "/etc"]),
    lambda inner: (
        some.lists(inner, max_size=2) | some.dictionaries(some.sampled_from(["a", "type", "path"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@pytest.mark.parametrize("name", FORMATS)
def test_settings_of_any_type_are_read_or_refused_by_the_checkpoints_name(name, good, spoilt):
    files = [path.relative_to(good[name]) for path in good[name].rglob("*.json") if path.name != "tokenizer.json"]
    files += [path.relative_to(good[name]) for path in good[name].glob("artifact.metadata")]
    places = [(file, key) for file in files for key in keys_of(json.loads((good[name] / file).read_text()))]

    @settings(max_examples=settings().max_examples // 2)
    @given(place=some.sampled_from(places), value=VALUES)
    def any_value(place, value):
        file, path = place
        values = json.loads((good[name] / file).read_text())
        here = values
        for part in path[:-1]:
            here = here[part]
        here[path[-1]] = value
        spoil(good[name], spoilt, str(file), json.dumps(values).encode())
        loaded_or_refused(spoilt)

    any_value()


def keys_of(values: object, above: tuple = ()) -> list[tuple]:
    if isinstance(values, dict):
        return [found for key, inner in values.items() for found in [(*above, key), *keys_of(inner, (*above, key))]]
    if isinstance(values, list):
        return [found for key, inner in enumerate(values) for found in [(*above, key), *keys_of(inner, (*above, key))]]
    return []


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"{}", b"\xff\xfe", b"[" * 100_000, b"null"], ids=ascii)
@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_file_that_is_something_else_is_refused_by_the_checkpoints_name(file, content, good, spoilt):
    spoil(good["optical"], spoilt, file, content)
    loaded_or_refused(spoilt)


@pytest.mark.parametrize("name", ["optical", "encoder", "stanford"])
def test_weights_that_are_damaged_or_cut_off_are_refused_by_the_checkpoints_name(name, good, spoilt):
    whole = (good[name] / "model.safetensors").read_bytes()
    for content in (b"", whole[:7], whole[:100], whole[:-100], b"\xff" * 200, (2**60).to_bytes(8, "little") + whole[8:]):
        spoil(good[name], spoilt, "model.safetensors", content)
        with pytest.raises((ValueError, OSError), match="spoilt"):
            load_checkpoint(spoilt)


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("name", ["optical", "encoder", "stanford"])
@pytest.mark.parametrize("content", ["bomb", "bytes", "cut off"])
def test_a_pickle_never_runs_code(name, content, good, spoilt, tmp_path):
    tensors = load_file(good[name] / "model.safetensors")
    spoil(good[name], spoilt, "model.safetensors", b"")
    (spoilt / "model.safetensors").unlink()
    place = spoilt / "pytorch_model.bin"
    torch.save(tensors | {"linear.weight": Bomb(tmp_path / "ran")}, place)
    if content == "bytes":
        place.write_bytes(pickle.dumps(Bomb(tmp_path / "ran")))
    elif content == "cut off":
        place.write_bytes(place.read_bytes()[:-200])
    with pytest.raises((ValueError, OSError), match="spoilt"):
        load_checkpoint(spoilt)
    assert not (tmp_path / "ran").exists()


def plant_code(folder: Path, mark: Path) -> None:
    """Code of the checkpoint's own for every part that transformers looks code up for."""
    (folder / "home.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    parts = {"AutoConfig": "home.A", "AutoModel": "home.B", "AutoProcessor": "home.C", "AutoTokenizer": ["home.D", "home.D"]}
    for file in ("config.json", "tokenizer_config.json", "processor_config.json"):
        if (folder / file).is_file():
            values = json.loads((folder / file).read_text()) | {"auto_map": parts}
            if "backbone_config" in values:
                values["backbone_config"]["auto_map"] = parts
            (folder / file).write_text(json.dumps(values))


@pytest.mark.parametrize("name", FORMATS)
def test_code_of_a_checkpoint_runs_only_when_asked_for(name, good, tmp_path):
    folder = tmp_path / "planted"
    shutil.copytree(good[name], folder)
    plant_code(folder, tmp_path / "ran")
    try:
        load_checkpoint(folder)
        if name == "optical":
            OpticalProcessor.from_pretrained(folder)
    except ValueError as error:
        if "trust_remote_code=True" not in str(error):
            raise
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("path", ["../outside", "/outside", "1_Dense/../../outside", "C:\\outside", "..\\outside", "a\0b"])
def test_no_file_outside_of_a_checkpoint_is_read(path, good, tmp_path):
    outside = tmp_path / "outside"
    shutil.copytree(good["pylate"] / "1_Dense", outside)
    folder = tmp_path / "checkpoint"
    shutil.copytree(good["pylate"], folder)
    modules = json.loads((folder / "modules.json").read_text())
    modules[1]["path"] = path
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ValueError, match="outside of it"):
        load_checkpoint(folder)
    save_file({"linear.weight": torch.zeros(2, 2)}, outside / "shard.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"linear.weight": f"{path}/shard.safetensors"}})
    )
    with pytest.raises(ValueError, match="outside of it"):
        CheckpointFiles("checkpoint", str(folder), {}).weights()


@pytest.mark.parametrize(
    "index", [{}, {"weight_map": []}, {"weight_map": {"a": 1}}, {"weight_map": {"a": "missing.safetensors"}}]
)
def test_an_index_of_shards_that_is_none_is_refused(index, good, spoilt):
    spoil(good["stanford"], spoilt, "model.safetensors.index.json", json.dumps(index).encode())
    with pytest.raises((ValueError, OSError), match="spoilt"):
        load_checkpoint(spoilt)


def test_a_depth_that_no_model_has_is_refused_before_anything_is_built(good, spoilt):
    for name in ("optical", "encoder"):
        values = json.loads((good[name] / "config.json").read_text())
        values.get("backbone_config", values)["num_hidden_layers"] = 10**9
        spoil(good[name], spoilt, "config.json", json.dumps(values).encode())
        with pytest.raises(ValueError, match=r"num_hidden_layers=1000000000"):
            load_checkpoint(spoilt)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("index", ["model.safetensors.index.json", "pytorch_model.bin.index.json"])
def test_no_weights_outside_of_a_checkpoint_are_read_by_an_index_of_shards(name, index, good, tmp_path):
    folder = tmp_path / "checkpoint"
    shutil.copytree(good[name], folder)
    shutil.move(folder / "model.safetensors", tmp_path / "outside.safetensors")
    tensors = load_file(tmp_path / "outside.safetensors")
    for path in ("../outside.safetensors", str(tmp_path / "outside.safetensors"), "..\\outside.safetensors"):
        (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(tensors, path)}))
        for load in (load_checkpoint, *((OpticalModel.from_pretrained,) if name == "optical" else ())):
            with pytest.raises(ValueError, match="outside of it"):
                load(folder)


@pytest.mark.parametrize("load", [load_checkpoint, OpticalModel.from_pretrained, OpticalForDistillation.from_pretrained])
@pytest.mark.parametrize("value", [torch.nan, -torch.inf])
def test_weights_that_are_no_finite_numbers_are_refused_however_they_are_loaded(load, value, good, tmp_path):
    folder = tmp_path / "spoilt"
    shutil.copytree(good["optical"], folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["projection.weight"][0, 0] = value
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"spoilt.*projection\.weight"):
        load(folder)


OTHER_REPOSITORIES = [
    ("attn_implementation", "org/kernel"),
    ("_attn_implementation", "org/kernel@main:run"),
    ("attn_implementation", {"": "org/kernel"}),
    ("experts_implementation", "org/kernel"),
    ("use_pretrained_backbone", True),
    ("num_labels", 10**9),
    ("max_position_embeddings", 10**9),
    ("vocab_size", 10**12),
]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("key", "value"), OTHER_REPOSITORIES, ids=str)
def test_settings_that_fetch_other_code_or_fill_the_memory_are_refused_before_anything_is_built(name, key, value, good, spoilt):
    values = json.loads((good[name] / "config.json").read_text())
    for place in (values, values.get("backbone_config")):
        if place is not None:
            before = dict(place)
            place[key] = value
            spoil(good[name], spoilt, "config.json", json.dumps(values).encode())
            for load in (load_checkpoint, *((OpticalModel.from_pretrained,) if name == "optical" else ())):
                with pytest.raises(ValueError, match=rf"spoilt.*config\.json has {key}="):
                    load(spoilt)
            place.clear()
            place.update(before)


def test_an_adapter_loads_no_other_model_beside_a_whole_one_and_none_by_a_name_that_is_not_plain(good, spoilt):
    spoil(good["encoder"], spoilt, "adapter_config.json", json.dumps({"base_model_name_or_path": "org/other"}).encode())
    with pytest.raises(ValueError, match=r"spoilt.*beside a whole model"):
        load_checkpoint(spoilt)
    (spoilt / "config.json").unlink()
    for name in ("../other", "other/model/here", "package:evil.inner/x", str(spoilt), None, 1):
        (spoilt / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": name}))
        with pytest.raises((ValueError, OSError), match="spoilt"):
            load_checkpoint(spoilt)


def test_a_file_of_settings_of_any_size_is_not_read(good, spoilt):
    spoil(good["encoder"], spoilt, "config.json", b"{")
    with open(spoilt / "config.json", "r+b") as stream:
        stream.truncate(2**33)
    with pytest.raises(ValueError, match=r"spoilt.*more than 64 MiB"):
        load_checkpoint(spoilt)


@pytest.mark.parametrize("key", ["_name_or_path", "name_or_path"])
def test_the_processor_comes_from_the_folder_that_was_given_whatever_its_files_name(key, good, spoilt):
    for file in ("config.json", "tokenizer_config.json", "processor_config.json"):
        values = json.loads((good["optical"] / file).read_text()) | {key: "/elsewhere"}
        if "backbone_config" in values:
            values["backbone_config"][key] = "/elsewhere"
        spoil(good["optical"], spoilt, file, json.dumps(values).encode())
        model = load_checkpoint(spoilt)
        assert model.config._name_or_path == str(spoilt)
        assert OpticalModel.from_pretrained(spoilt).get_processor().tokenizer.name_or_path == str(spoilt)
