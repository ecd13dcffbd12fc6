"""The model: saving, loading, remote code, precision, padding, encoding, the loss."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tokenizers import processors
from transformers import (
    AutoConfig,
    AutoModel,
    AutoProcessor,
    AutoTokenizer,
    BertConfig,
    BertModel,
    ByT5Tokenizer,
    T5Config,
    T5EncoderModel,
)

from modeling_optical import (
    OpticalConfig,
    OpticalForDistillation,
    OpticalModel,
    OpticalProcessor,
    TransportOptions,
    cosine_cost,
    load_checkpoint,
    transport,
    transport_loss,
)
from modeling_optical.files.fingerprint import model_fingerprint
from tests.conftest import bytelevel_tokenizer

TEXTS = ["the cat sat on the mat", "a dog", "", "mwalimu mzuri hutoa vekta ileile kwa tafsiri 😀", "search works in English;"]


@pytest.fixture
def model(backbone: str) -> OpticalModel:
    torch.manual_seed(1)
    return OpticalModel.from_backbone(backbone, embedding_dim=8, query_marker="[Q]", document_marker="[D]")


def test_saving_and_loading_gives_bit_equal_vectors(model, tmp_path):
    before = model.encode_query(TEXTS), model.encode_document(TEXTS)
    model.save_pretrained(tmp_path)
    assert {p.suffix for p in tmp_path.iterdir()} <= {".json", ".safetensors", ".py", ".txt"}
    loaded = AutoModel.from_pretrained(tmp_path)
    assert type(loaded) is OpticalModel
    for old, new in zip(before, (loaded.encode_query(TEXTS), loaded.encode_document(TEXTS)), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(old, new, strict=True))
    assert isinstance(AutoProcessor.from_pretrained(tmp_path), OpticalProcessor)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), OpticalConfig)


def test_checkpoint_keys_are_those_of_backbone_and_projection(model, tmp_path):
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        keys = set(file.keys())
    assert "projection.weight" in keys
    assert all(key.startswith("backbone.") for key in keys - {"projection.weight"})
    assert not any("pooler" in key for key in keys)


def test_a_distillation_checkpoint_loads_as_the_plain_model_and_back(model, tmp_path):
    model.save_pretrained(tmp_path / "plain")
    student = OpticalForDistillation.from_pretrained(tmp_path / "plain")
    student.save_pretrained(tmp_path / "student")
    loaded = AutoModel.from_pretrained(tmp_path / "student")
    assert set(loaded.state_dict()) == set(model.state_dict())
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())


def test_the_saved_folder_works_where_the_package_cannot_be_imported(model, tmp_path):
    folder = tmp_path / "saved"
    model.save_pretrained(folder)
    expected = model.encode_query(TEXTS[:2])
    script = f"""
import sys
sys.path = [p for p in sys.path if p not in ("", {str(Path(__file__).parents[2])!r})]
import importlib.util
for finder in list(sys.meta_path):
    if "editable" in type(finder).__module__ or "editable" in getattr(finder, "__name__", "").lower():
        sys.meta_path.remove(finder)
assert importlib.util.find_spec("modeling_optical") is None
import numpy as np
from transformers import AutoModel, AutoProcessor
model = AutoModel.from_pretrained({str(folder)!r}, trust_remote_code=True)
processor = AutoProcessor.from_pretrained({str(folder)!r}, trust_remote_code=True)
assert type(processor).__name__ == "OpticalProcessor"
vectors = model.encode_query({TEXTS[:2]!r})
np.savez({str(tmp_path / "vectors.npz")!r}, *vectors)
"""
    environment = os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = np.load(tmp_path / "vectors.npz")
    for name, vector in zip(loaded.files, expected, strict=True):
        np.testing.assert_allclose(loaded[name], vector, atol=1e-6)


def test_unknown_configuration_keys_survive_a_round_trip(bert, tmp_path):
    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    model.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    values["made_by_somebody"] = {"depth": 3}
    (tmp_path / "config.json").write_text(json.dumps(values))
    loaded = OpticalModel.from_pretrained(tmp_path)
    loaded.save_pretrained(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["made_by_somebody"] == {"depth": 3}


def test_a_saved_configuration_names_no_path_of_this_machine(model, tmp_path):
    model.save_pretrained(tmp_path)
    for file in ("config.json", "tokenizer_config.json", "processor_config.json"):
        assert "/tmp" not in (tmp_path / file).read_text(), file


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_single_precision(model, tmp_path, dtype):
    model.save_pretrained(tmp_path)
    half = OpticalModel.from_pretrained(tmp_path, dtype=dtype)
    assert half.dtype == dtype
    for single, other in zip(model.encode_query(TEXTS), half.encode_query(TEXTS), strict=True):
        assert other.dtype == np.float32
        assert np.abs(single - other).max() < 0.05


def test_vectors_are_unit_and_padding_and_company_do_not_change_them(model):
    alone = [model.encode_document([text])[0] for text in TEXTS]
    together = model.encode_document(TEXTS, batch_size=8)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(one, axis=1), 1.0, atol=1e-5)
    batch = model.processor(TEXTS, "document")
    wider = {key: torch.nn.functional.pad(value, (0, 7)) for key, value in batch.items() if key != "content_mask"}
    output = model(**wider)
    assert float(output.token_vectors[~output.token_mask].abs().sum().detach()) == 0.0
    for row, vector in enumerate(alone):
        np.testing.assert_allclose(output.token_vectors[row][output.token_mask[row]].detach().numpy(), vector, atol=1e-5)


def test_encoding_keeps_order_and_mode_for_any_batch_size(model):
    model.train()
    first = model.encode_query(TEXTS, batch_size=1)
    second = model.encode_query(TEXTS, batch_size=4, convert_to_tensor=True)
    assert model.training
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-5)
    assert model.encode_query([]) == []
    np.testing.assert_array_equal(model.encode_query("a single text"), model.encode_query(["a single text"])[0])
    np.testing.assert_array_equal(model.encode_document("a single text"), model.encode_document(["a single text"])[0])


def test_a_query_without_scoring_tokens_has_no_vectors_and_scores_nothing(bert):
    model = OpticalModel.from_backbone(bert, embedding_dim=8, scored_query_tokens="content")
    assert model.encode_query([""])[0].shape == (0, 8)
    assert model.similarity(model.encode_query(""), model.encode_document("the cat")).tolist() == [[0.0]]


def test_encoding_leaves_every_part_in_the_mode_that_it_had(model):
    model.train()
    model.backbone.eval()
    model.encode_query("cat")
    assert not any(module.training for module in model.backbone.modules())
    assert model.projection.training
    assert model.training
    model.eval()


@pytest.mark.parametrize("given", [{"batch_size": 0}, {"batch_size": -1}, {"max_length": 0}, {"max_length": 2}])
def test_sizes_that_make_no_sense_are_refused(model, given):
    with pytest.raises(ValueError, match=f"{next(iter(given))} is .*; it must be at least"):
        model.encode_query(["a", "b"], **given)


def test_threads_that_share_a_model_do_not_cut_each_others_texts(bert):
    model = OpticalModel.from_backbone(bert, embedding_dim=8, query_length=4, document_length=40)
    text = "the cat sat on the mat and the dog barked " * 3
    alone = {kind: len(model.get_processor().tokenize([text], kind)[0]["input_ids"]) for kind in ("query", "document")}
    assert alone["query"] < alone["document"]
    kinds = ["query", "document"] * 400
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda kind: len(model.get_processor().tokenize([text], kind)[0]["input_ids"]), kinds))
    assert found == [alone[kind] for kind in kinds]


def test_texts_without_a_token_have_no_vectors_in_a_batch_of_their_own(tmp_path):
    """Of a tokenizer that puts no special tokens around a text."""
    tokenizer = bytelevel_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel()
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
    BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=32, **sizes)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = OpticalModel.from_backbone(tmp_path, embedding_dim=8)
    assert model.encode_query("").shape == (0, 8)
    assert [len(vectors) for vectors in model.encode_document(["", "the cat", ""], batch_size=1)][::2] == [0, 0]


def test_a_tokenizer_in_python_indexes_and_says_that_it_takes_no_prompt():
    torch.manual_seed(0)
    tokenizer = ByT5Tokenizer()
    backbone = T5EncoderModel(T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2))
    model = OpticalModel.around_backbone(backbone, tokenizer, "byt5", embedding_dim=8)
    assert model_fingerprint(model, "document") == model_fingerprint(model, "document") != model_fingerprint(model, "query")
    assert model.encode_query("paka").shape[1] == 8
    with pytest.raises(ValueError, match="ByT5Tokenizer does not tell where its tokens stand, which a prompt takes"):
        model.encode_query("paka", prompt="query: ")


def test_a_new_projection_lies_where_the_backbone_does(backbone):
    encoder = AutoModel.from_pretrained(backbone).to("meta")
    model = OpticalModel.around_backbone(encoder, AutoTokenizer.from_pretrained(backbone), backbone, embedding_dim=8)
    assert model.projection.weight.device.type == "meta"


def test_flash_attention_is_refused_where_it_gives_other_vectors(bert):
    model = OpticalModel.from_backbone(bert, embedding_dim=8, query_expansion="fixed", query_length=12)
    model.config.get_text_config()._attn_implementation_internal = "flash_attention_2"
    with pytest.raises(ValueError, match=r"no vectors to the query's expansion tokens.*attn_implementation='sdpa'"):
        model.encode_query("cat")
    model.config.get_text_config()._attn_implementation_internal = "sdpa"
    assert model.encode_query("cat").shape == (12, 8)


def test_a_backbone_with_code_of_its_own_is_not_saved_where_nothing_could_load_it(bert, tmp_path):
    class OwnConfig(BertConfig):
        model_type = "own_bert"

    model = OpticalModel.from_backbone(bert, embedding_dim=8)
    model.config.backbone_config = OwnConfig()
    with pytest.raises(ValueError, match=r"OwnConfig .*own_bert.*could not be loaded again"):
        model.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    with pytest.raises(ValueError, match=r"backbone_config\.model_type is 'own_bert', which transformers .* does not know"):
        OpticalConfig(backbone_config={"model_type": "own_bert"})


def test_tokens_that_do_not_score_get_no_mass(model):
    """A teacher's skip-listed tokens are content, and have no vectors."""
    batch = model.get_processor()(["the cat sat on the mat"], kind="document")
    student = OpticalForDistillation(model.config).eval()
    student.load_state_dict(model.state_dict())
    batch["token_mask"][0, 2] = False
    content = batch.pop("content_mask")
    assert content[0, 2]
    with torch.no_grad():
        output = student(**batch)
        _, plan = student.transport(
            output,
            content_mask=content,
            teacher_vectors=output.token_vectors,
            teacher_mask=batch["token_mask"],
            teacher_content_mask=content,
        )
    assert plan.plan[0, :, 2].sum() == 0


def test_no_projection_leaves_the_hidden_states(backbone):
    model = OpticalModel.from_backbone(backbone, embedding_dim=None)
    assert model.projection is None
    batch = model.processor(["the cat"], "query")
    hidden = model.backbone(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state[0]
    expected = torch.nn.functional.normalize(hidden, dim=-1).detach().numpy()
    np.testing.assert_allclose(model.encode_query(["the cat"])[0], expected, atol=1e-6)


def test_the_loss_is_the_transport_of_its_token_vectors(model):
    student = OpticalForDistillation(model.config)
    student.load_state_dict(model.state_dict())
    student.eval()
    batch = student_batch = dict(model.processor(TEXTS[:2], "query"))
    teacher = torch.nn.functional.normalize(torch.randn(2, 5, 8), dim=-1)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    output = student(**student_batch, teacher_vectors=teacher, teacher_mask=mask)
    vectors = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).token_vectors
    expected, plan = transport_loss(vectors, teacher, batch["content_mask"], mask)
    torch.testing.assert_close(output.loss, expected)
    by_hand = (plan.plan * cosine_cost(vectors, teacher)).sum((1, 2)).mean()
    torch.testing.assert_close(output.loss, by_hand)
    output.loss.backward()
    assert float(student.projection.weight.grad.abs().sum()) > 0
    assert student(**student_batch).loss is None


def test_the_options_of_a_configuration_reach_the_solver_as_one_object(model, tmp_path, monkeypatch):
    student = OpticalForDistillation(model.config)
    student.config.transport = {"epsilon": 0.3, "tokens": "with_markers"}
    options = student.config.transport
    assert options == TransportOptions(epsilon=0.3, tokens="with_markers")
    seen, built = [], []
    solve, check = transport.solve_batch, TransportOptions.__post_init__
    monkeypatch.setattr(transport, "solve_batch", lambda problems, given: seen.append(given) or solve(problems, given))
    monkeypatch.setattr(TransportOptions, "__post_init__", lambda self: built.append(self) or check(self))
    batch = dict(model.processor(TEXTS[:2], "query"))
    teacher = torch.nn.functional.normalize(torch.randn(2, 5, 8), dim=-1)
    student(**batch, teacher_vectors=teacher)
    assert (seen, built) == ([options], [])
    assert seen[0] is options
    student(**batch, teacher_vectors=teacher, epsilon=0.1)
    assert (seen[1].epsilon, seen[1].tokens) == (0.1, "with_markers")
    student.config.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["transport"] == options.to_dict()
    assert AutoConfig.from_pretrained(tmp_path).transport == options
    assert AutoConfig.from_pretrained(tmp_path, transport={"solver": "ipot"}).transport.solver == "ipot"


def test_wrong_configuration_is_refused_where_it_is_set():
    for key, value, message in (
        ("query_expansion", "maximal", "query_expansion is 'maximal'"),
        ("query_length", "32", "query_length is '32'"),
        ("embedding_dim", 0, "embedding_dim is 0"),
        ("skiplist", "stopwords", "skiplist is 'stopwords'"),
        ("transport", {"epsilon": -1}, "epsilon is -1"),
        ("transport", {"epsilonn": 1}, "unknown transport option 'epsilonn'"),
    ):
        with pytest.raises(ValueError, match=message):
            OpticalConfig(**{key: value})
    with pytest.raises(ValueError, match="model_type"):
        OpticalConfig(backbone_config={"hidden_size": 3})
    with pytest.raises(ValueError, match="epsilon is 0"):
        OpticalConfig().transport = {"epsilon": 0}


def test_a_plain_encoder_loads_as_a_late_interaction_model(backbone):
    model = load_checkpoint(backbone)
    assert (model.config.embedding_dim, model.config.query_expansion, model.config.skiplist) == (None, "none", "none")
    assert (model.config.query_length, model.config.document_length) == (32, 256)
    assert load_checkpoint(backbone, embedding_dim=4).config.vector_dim == 4


def test_models_that_are_not_there_are_named_with_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        load_checkpoint(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="Install the package that provides it"):
        load_checkpoint("package:not_installed/model")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no config\.json"):
        load_checkpoint(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="neither a folder here nor to be had from the Hub"):
        load_checkpoint("nobody/nothing")
