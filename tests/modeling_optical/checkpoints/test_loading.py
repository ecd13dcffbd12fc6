"""Every way in: formats told apart, settings kept, and bad input named."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, DistilBertConfig, DistilBertModel, XmodConfig, XmodModel

from modeling_optical import load_checkpoint, search
from modeling_optical.checkpoints.files import CheckpointFiles
from modeling_optical.checkpoints.loading import detect_format
from trainer import Teacher

DOCUMENTS = ["the cat sat on the mat, and the dog barked!", "search works in English", "a good teacher", "😀", "cat " * 300]


def test_an_index_made_by_sentence_transformers_serves_our_queries(backbone):
    package = pytest.importorskip("sentence_transformers", reason="pip install 'sentence-transformers>=6'")
    if not hasattr(package, "MultiVectorEncoder"):
        pytest.skip("sentence-transformers 6 or newer is needed")
    from sentence_transformers.base.modules import Normalize, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    transformer = Transformer(backbone, max_seq_length=48)
    theirs = package.MultiVectorEncoder(modules=[transformer, MultiVectorMask(), Normalize("token_embeddings")], device="cpu")
    ours = load_checkpoint(backbone, document_length=48)
    their_vectors = theirs.encode_document(DOCUMENTS, convert_to_numpy=True, show_progress_bar=False)
    our_vectors = ours.encode_document(DOCUMENTS)
    for one, other in zip(our_vectors, their_vectors, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    queries = ours.encode_query(["the cat", "good teacher"])
    positions, scores = search(queries, their_vectors, k=2)
    own_positions, own_scores = search(queries, our_vectors, k=2)
    np.testing.assert_allclose(scores.numpy(), own_scores.numpy(), atol=1e-4)
    assert positions.tolist() == own_positions.tolist()


FIXTURES = Path(__file__).parent / "fixtures"


def copy(name: str, target: Path) -> Path:
    return Path(shutil.copytree(FIXTURES / name / "checkpoint", target))


@pytest.mark.parametrize("name", ["sentence-transformers", "pylate", "stanford"])
def test_a_format_is_told_by_its_files(name, bert):
    def files(path):
        return CheckpointFiles(str(path), str(path), {})

    assert detect_format(files(FIXTURES / name / "checkpoint")) == name
    assert detect_format(files(bert)) == "encoder"


def test_a_format_can_be_forced(tmp_path):
    folder = copy("stanford", tmp_path / "model")
    plain = load_checkpoint(folder, checkpoint_format="encoder")
    assert plain.projection is None
    assert plain.config.query_marker is None
    with pytest.raises(ValueError, match="allowed: optical, sentence-transformers"):
        load_checkpoint(folder, checkpoint_format="colbert")
    with pytest.raises(ValueError, match="begins with the module nothing"):
        load_checkpoint(folder, checkpoint_format="pylate")


def test_settings_stay_as_stored_and_can_be_replaced():
    model = load_checkpoint(FIXTURES / "pylate" / "checkpoint")
    config = model.config
    assert (config.query_marker, config.document_marker) == ("[Q] ", "[D] ")
    assert (config.query_length, config.document_length, config.embedding_dim) == (32, 48, 8)
    assert (config.query_expansion, config.attend_to_expansion_tokens) == ("fixed", False)
    assert "." in model.processor.tokenizer.convert_ids_to_tokens(config.skiplist_token_ids)
    replaced = load_checkpoint(FIXTURES / "pylate" / "checkpoint", query_length=20, skiplist="none", embedding_dim=4)
    assert (replaced.config.query_length, replaced.config.vector_dim) == (20, 4)
    assert replaced.processor.skiplist_token_ids == set()


def test_a_model_without_a_projection_takes_one_as_an_encoder_does(bert, tmp_path):
    encoder = load_checkpoint(bert, query_length=9)
    encoder.save_pretrained(tmp_path)
    wanted = {"embedding_dim": 6, "pooling_mode": "mean", "project_pooled": True}
    model = load_checkpoint(str(tmp_path), **wanted)
    assert model.config.query_length == 9
    assert torch.equal(model.get_input_embeddings().weight, encoder.get_input_embeddings().weight)
    assert model.encode_query("kitabu").shape[-1] == 6
    assert model.encode_pooled(["kitabu"]).shape == (1, 6)
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="embedding_dim=6, which cannot become 7"):
        load_checkpoint(str(tmp_path), embedding_dim=7)


def test_a_recipe_takes_a_foreign_teacher(tmp_path):
    teacher = Teacher.from_pretrained(copy("stanford", tmp_path / "colbert"), max_length=24)
    assert teacher.dim == 8
    assert teacher.encode(["search works in English"])[0].vectors.shape == (24, 8)


def sentence_encoder(backbone: str, folder: Path, mode: str = "mean", dense: bool = False) -> Any:
    package = pytest.importorskip("sentence_transformers", reason="pip install 'sentence-transformers>=6'")
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    torch.manual_seed(0)
    modules = [Transformer(backbone, max_seq_length=24), Pooling(32, pooling_mode=mode)]
    if dense:
        modules.append(Dense(32, 12))
    model = package.SentenceTransformer(
        modules=[*modules, Normalize()], device="cpu", prompts={"query": "find: ", "document": "read: "}
    )
    model.save(str(folder), create_model_card=False)
    return package.SentenceTransformer(str(folder), device="cpu", local_files_only=True)


@pytest.mark.parametrize(("mode", "dense"), [("mean", False), ("cls", True), ("max", False)])
def test_a_sentence_encoder_keeps_its_pooled_vector(backbone, tmp_path, mode, dense):
    theirs = sentence_encoder(backbone, tmp_path / "st", mode, dense)
    ours = load_checkpoint(tmp_path / "st")
    ours.save_pretrained(tmp_path / "ours")
    for model in (ours, load_checkpoint(tmp_path / "ours")):
        for kind, encode in (("query", theirs.encode_query), ("document", theirs.encode_document)):
            expected = torch.as_tensor(encode(DOCUMENTS, show_progress_bar=False))
            torch.testing.assert_close(model.encode_pooled(DOCUMENTS, kind), expected, atol=1e-5, rtol=0)
    vectors = ours.encode_query(DOCUMENTS)
    assert vectors[0].shape[1] == 32
    np.testing.assert_allclose(np.linalg.norm(vectors[0], axis=1), 1, atol=1e-5)


def test_a_projection_that_is_added_leaves_the_trained_layers_of_the_pooled_vector(backbone, tmp_path):
    sentence_encoder(backbone, tmp_path / "st", "cls", dense=True)
    ours = load_checkpoint(tmp_path / "st")
    ours.save_pretrained(tmp_path / "ours")
    projected = load_checkpoint(tmp_path / "ours", embedding_dim=6)
    assert projected.encode_query(DOCUMENTS)[0].shape[1] == 6
    assert torch.equal(projected.encode_pooled(DOCUMENTS), ours.encode_pooled(DOCUMENTS))
    weights = load_file(tmp_path / "ours/model.safetensors")
    save_file({k: v for k, v in weights.items() if not k.startswith("pooled_projection")}, tmp_path / "ours/model.safetensors")
    with pytest.raises(ValueError, match="lacks 2 weights, which would start random: pooled_projection"):
        load_checkpoint(tmp_path / "ours", embedding_dim=6)


def test_a_model_without_pooling_has_no_pooled_vector(bert):
    with pytest.raises(ValueError, match="pooling_mode is null"):
        load_checkpoint(bert).encode_pooled(["a"], "query")


def test_a_prompt_scores_but_is_no_content(bert):
    model = load_checkpoint(bert, query_prompt="the cat ", query_length=16)
    (with_prompt,) = model.processor.tokenize(["a dog"], "query")
    (without,) = load_checkpoint(bert, query_length=16).processor.tokenize(["a dog"], "query")
    assert len(with_prompt["input_ids"]) == len(without["input_ids"]) + 2
    assert sum(with_prompt["content_mask"]) == sum(without["content_mask"])
    assert all(with_prompt["token_mask"])


def test_distilbert_and_xmod_load_as_plain_encoders(bert, tmp_path):
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(bert)
    sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 66, "pad_token_id": 0}
    DistilBertModel(DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=48, **sizes)).save_pretrained(
        tmp_path / "distil"
    )
    tokenizer.save_pretrained(tmp_path / "distil")
    assert load_checkpoint(tmp_path / "distil").encode_query(["the cat"])[0].shape == (4, 32)

    config = XmodConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, languages=["en_XX", "sw_KE"], **sizes
    )
    XmodModel(config).save_pretrained(tmp_path / "xmod")
    tokenizer.save_pretrained(tmp_path / "xmod")
    with pytest.raises(ValueError, match="needs a language: language=…, one of en_XX, sw_KE"):
        load_checkpoint(tmp_path / "xmod")
    with pytest.raises(ValueError, match="no adapter for language 'so_SO'"):
        load_checkpoint(tmp_path / "xmod", language="so_SO")
    english, swahili = (load_checkpoint(tmp_path / "xmod", language=code) for code in ("en_XX", "sw_KE"))
    one, other = english.encode_query(["the cat"])[0], swahili.encode_query(["the cat"])[0]
    assert one.shape == other.shape
    assert np.abs(one - other).max() > 1e-3
    swahili.save_pretrained(tmp_path / "ours")
    np.testing.assert_array_equal(load_checkpoint(tmp_path / "ours").encode_query(["the cat"])[0], other)
    with pytest.raises(ValueError, match="has no language to set"):
        load_checkpoint(bert, language="sw_KE")


def test_a_pickle_of_tensors_is_read_and_one_with_code_refused(tmp_path):
    folder = copy("stanford", tmp_path / "model")
    pinned = load_checkpoint(folder).encode_query(["search"])[0]
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    np.testing.assert_array_equal(load_checkpoint(folder).encode_query(["search"])[0], pinned)

    class Surprise:
        def __reduce__(self):
            return Path.touch, (tmp_path / "run",)

    torch.save({"linear.weight": Surprise()}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"pytorch_model.bin is a pickle.*refused.*safetensors"):
        load_checkpoint(folder)
    assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=r"\.dnn files are pickles"):
        load_checkpoint(tmp_path / "colbert.dnn")


def test_sizes_that_do_not_match_are_named(tmp_path):
    folder = copy("pylate", tmp_path / "dense")
    save_file({"linear.weight": torch.zeros(8, 20)}, folder / "1_Dense" / "model.safetensors")
    with pytest.raises(ValueError, match=r"linear.weight of shape \(8, 20\), its config.json asks for \(8, 16\)"):
        load_checkpoint(folder)
    config = json.loads((folder / "1_Dense" / "config.json").read_text())
    (folder / "1_Dense" / "config.json").write_text(json.dumps(config | {"in_features": 20}))
    with pytest.raises(ValueError, match="1_Dense takes vectors of dimension 20, but gets 16"):
        load_checkpoint(folder)

    folder = copy("stanford", tmp_path / "dim")
    metadata = json.loads((folder / "artifact.metadata").read_text())
    (folder / "artifact.metadata").write_text(json.dumps(metadata | {"dim": 96}))
    with pytest.raises(ValueError, match=r"artifact.metadata says dim 96, linear.weight has 8 rows"):
        load_checkpoint(folder)

    folder = copy("sentence-transformers", tmp_path / "vocabulary")
    shutil.copy(FIXTURES / "sentence-transformers" / "checkpoint" / "tokenizer.json", folder / "tokenizer.json")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"] |= {f"more{i}": len(tokenizer["model"]["vocab"]) + i for i in range(9)}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ValueError, match=r"has ids up to \d+, but the model's embedding matrix has \d+ rows"):
        load_checkpoint(folder)


def test_a_folder_of_no_known_format_is_named(tmp_path):
    (tmp_path / "notes").mkdir()
    with pytest.raises(ValueError, match=r"has no config.json, so it is not a model folder"):
        load_checkpoint(tmp_path / "notes")
    folder = copy("sentence-transformers", tmp_path / "sparse")
    settings = json.loads((folder / "config_sentence_transformers.json").read_text())
    (folder / "config_sentence_transformers.json").write_text(json.dumps(settings | {"model_type": "SparseEncoder"}))
    with pytest.raises(ValueError, match=r"of a kind that is not known here .*checkpoint_format=… forces one"):
        load_checkpoint(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is not JSON"):
        load_checkpoint(folder)


def test_modules_in_an_order_without_a_counterpart_are_refused(bert, tmp_path):
    """Vectors that are made unit vectors before a dense layer are no unit vectors behind it."""
    sentence_encoder(bert, tmp_path / "st", dense=True)
    file = tmp_path / "st" / "modules.json"
    transformer, pooling, dense, normalize = json.loads(file.read_text())
    for order in ([pooling, normalize, dense], [dense, pooling, normalize], [pooling, normalize, dense, normalize]):
        file.write_text(json.dumps([transformer, *order]))
        with pytest.raises(ValueError, match="Dense modules stand before Normalize, and behind Pooling"):
            load_checkpoint(tmp_path / "st")
    file.write_text(json.dumps([transformer, pooling, dense, normalize]))
    settings = tmp_path / "st" / dense["path"] / "config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {"module_input_name": "token_embeddings"}))
    with pytest.raises(ValueError, match="a Dense module that reads something else than the pooled vector"):
        load_checkpoint(tmp_path / "st")


def test_modules_and_settings_without_a_counterpart_are_named(tmp_path):
    folder = copy("sentence-transformers", tmp_path / "model")
    modules = json.loads((folder / "modules.json").read_text())
    for change, message in (
        (modules[:3], "has no Normalize module"),
        ([modules[0], *modules[2:], modules[1]], "has its modules in the order MultiVectorMask, Normalize, Dense"),
        ([*modules, {"type": "sentence_transformers.sparse.SpladePooling", "path": "4"}], "has the module SpladePooling"),
        (modules[1:], "begins with the module Dense"),
    ):
        (folder / "modules.json").write_text(json.dumps(change))
        with pytest.raises(ValueError, match=message):
            load_checkpoint(folder)
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "2_MultiVectorMask" / "config.json").write_text(json.dumps({"keep_only_token_ids": [5]}))
    with pytest.raises(ValueError, match="keep_only_token_ids"):
        load_checkpoint(folder)


def test_code_that_a_model_brings_does_not_run_unasked(tmp_path):
    folder = copy("stanford", tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "homemade", "auto_map": {"AutoConfig": "home.HomeConfig", "AutoModel": "home.HomeModel"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "home.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')")
    with pytest.raises(ValueError, match=r"brings Python code of its own.*trust_remote_code=True"):
        load_checkpoint(folder)
    assert not (tmp_path / "run").exists()


def test_a_marker_that_the_vocabulary_lacks_is_the_unknown_token_as_in_colbert(backbones, tmp_path, caplog):
    torch.manual_seed(0)
    folder = Path(shutil.copytree(backbones["xlm-roberta"], tmp_path / "xlmr"))
    tensors = {f"roberta.{key}": value for key, value in load_file(folder / "model.safetensors").items()}
    save_file(tensors | {"linear.weight": torch.randn(8, 32)}, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["HF_ColBERT"]}
    (folder / "config.json").write_text(json.dumps(config))
    model = load_checkpoint(folder)
    assert model.config.query_marker == "<unk>"
    assert model.config.document_length == 220
    assert model.processor.tokenize(["the cat"], "query")[0]["input_ids"][1] == model.processor.tokenizer.unk_token_id
    # colbert-ai skips the first piece of each punctuation mark, the bare "▁" where that is what comes first.
    assert model.processor.tokenizer.convert_tokens_to_ids("▁") in model.processor.skiplist_token_ids
