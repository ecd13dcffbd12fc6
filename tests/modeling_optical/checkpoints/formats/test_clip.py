"""CLIP's text tower as an encoder of token vectors and of a pooled vector, against transformers' own CLIP."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import AutoTokenizer, CLIPModel, CLIPTextModelWithProjection

from modeling_optical import OpticalModel, load_checkpoint
from tests.conftest import save_clip

TEXTS = ["a cat!", "two dogs run over the green meadow", "x" * 200]


def clips_own(folder: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pooled vectors, projected token states and attention mask, as transformers computes them."""
    whole, tokenizer = CLIPModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        found = whole.get_text_features(**batch)
        return found.pooler_output, whole.text_projection(found.last_hidden_state), batch["attention_mask"].bool()


@pytest.mark.parametrize("legacy", [False, True])
def test_pooled_and_token_vectors_are_those_of_clip(tmp_path, legacy):
    folder = save_clip(tmp_path, legacy=legacy)
    pooled, tokens, mask = clips_own(folder)
    model = load_checkpoint(folder)
    torch.testing.assert_close(model.encode_pooled(TEXTS), functional.normalize(pooled, dim=-1), atol=1e-5, rtol=0)
    for row, vectors in enumerate(model.encode_query(TEXTS, convert_to_tensor=True)):
        torch.testing.assert_close(vectors, functional.normalize(tokens[row][mask[row]], dim=-1), atol=1e-5, rtol=0)
    assert [len(vectors) for vectors in model.encode_document(TEXTS)] == [7, 30, 77], "77 tokens are the most that it takes"
    assert (model.config.vector_dim, model.config.pooled_dim) == (24, 24)


def test_the_last_token_vector_is_the_pooled_vector(clip):
    model = load_checkpoint(clip)
    last = torch.stack([vectors[-1] for vectors in model.encode_query(TEXTS, convert_to_tensor=True)])
    torch.testing.assert_close(model.encode_pooled(TEXTS), last, atol=1e-5, rtol=0)


def test_a_text_tower_alone_is_read_and_a_saved_model_is_the_same(clip, tmp_path):
    config = CLIPModel.from_pretrained(clip).config
    config.text_config.projection_dim = config.projection_dim
    tower = CLIPTextModelWithProjection.from_pretrained(clip, config=config.text_config)
    tower.save_pretrained(tmp_path / "tower")
    AutoTokenizer.from_pretrained(clip).save_pretrained(tmp_path / "tower")
    wanted = load_checkpoint(clip).encode_pooled(TEXTS)
    model = load_checkpoint(tmp_path / "tower")
    torch.testing.assert_close(model.encode_pooled(TEXTS), wanted, atol=1e-6, rtol=0)
    model.save_pretrained(tmp_path / "own")
    assert torch.equal(load_checkpoint(tmp_path / "own").encode_pooled(TEXTS), model.encode_pooled(TEXTS))


def test_what_is_no_text_tower_is_refused_with_what_it_lacks(clip, tmp_path):
    with pytest.raises(ValueError, match="24 dimensions, which embedding_dim"):
        load_checkpoint(clip, embedding_dim=8)
    save_clip(tmp_path)
    config = json.loads(Path(tmp_path, "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 3
    Path(tmp_path, "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"has no whole CLIPTextModelWithProjection: it lacks .*layers\.2"):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("mode", ["mean", "cls", "last", "max"])
def test_a_students_pooled_vector_goes_through_the_projection_of_its_tokens(bert, mode):
    torch.manual_seed(0)
    model = OpticalModel.from_backbone(bert, embedding_dim=8, pooling_mode=mode, project_pooled=True)
    assert model.pooled_projection is None
    batch = model.get_processor()(TEXTS[:2])
    batch.pop("content_mask")
    with torch.no_grad():
        found = model(**batch)
        hidden = model.backbone(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        for row, length in enumerate(batch["attention_mask"].sum(1)):
            own = hidden[row, :length]
            pooled = {"mean": own.mean(0), "cls": own[0], "last": own[-1], "max": own.amax(0)}[mode]
            torch.testing.assert_close(found.pooled_vector[row], model.projection(pooled), atol=1e-5, rtol=0)
    assert model.encode_pooled(TEXTS).shape == (3, model.config.pooled_dim) == (3, 8)


@pytest.mark.parametrize("own", [{}, {"pooling_mode": "mean", "pooled_layers": [{"out_features": 4}]}])
def test_a_projected_pooling_needs_a_pooling_and_no_layers_of_its_own(bert, own):
    with pytest.raises(ValueError, match="project_pooled needs a pooling_mode"):
        OpticalModel.from_backbone(bert, project_pooled=True, **own)
