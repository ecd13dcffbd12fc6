"""Weights, vectors and scores that are not finite numbers are refused by their name, wherever they come up."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from modeling_optical import OpticalModel, load_checkpoint, search
from modeling_optical.encoding.encoded_corpus import encode_corpus
from recipes.cli import main

BAD = [float("nan"), float("inf"), float("-inf")]


@pytest.fixture
def student(bert, tmp_path):
    torch.manual_seed(0)
    OpticalModel.from_backbone(bert, embedding_dim=8).save_pretrained(tmp_path / "student")
    return tmp_path / "student"


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("tensor", ["projection.weight", "backbone.embeddings.word_embeddings.weight"])
def test_weights_are_refused_with_the_name_of_their_tensor_by_every_command(student, tensor, value, tmp_path, capsys):
    weights = load_file(student / "model.safetensors")
    weights[tensor].view(-1)[3] = value
    save_file(weights, student / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match=f"student.*{tensor} has values that are not finite"):
        load_checkpoint(student)
    (tmp_path / "corpus.jsonl").write_text(json.dumps({"_id": "a", "text": "the cat"}))
    assert main(["index", str(tmp_path / "corpus.jsonl"), "--model", str(student), "--output", str(tmp_path / "index")]) == 2
    assert f"{tensor} has values that are not finite" in capsys.readouterr().err
    assert not (tmp_path / "index" / "index.json").exists()


def test_vectors_are_refused_with_the_text_that_they_are_of(student, tmp_path):
    model = load_checkpoint(student)
    with torch.no_grad():  # one token alone, as an overflow comes up
        model.get_input_embeddings().weight[model.get_processor().tokenizer.convert_tokens_to_ids("cat")] = float("nan")
    texts = ["the dog", "the cat", "search"]
    for encode in (model.encode_query, model.encode_document):
        with pytest.raises(ValueError, match="not finite numbers, first for text 1, 'the cat'"):
            encode(texts)
        assert len(encode([texts[0], texts[2]])) == 2
    with pytest.raises(ValueError, match="'the cat'"):
        encode_corpus(model, dict(enumerate(texts)), tmp_path / "encoded", show_progress_bar=False)
    assert not (tmp_path / "encoded" / "manifest.json").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", [0, 1])
def test_scores_are_refused_with_their_query_and_document(side, value):
    sides = [[torch.eye(4)[:2], torch.eye(4)[2:]], [torch.eye(4)[:2], torch.eye(4)]]
    sides[side][1] = sides[side][1] * value
    with pytest.raises(ValueError, match=r"the score of query \d and document \d is (nan|inf)"):
        search(*sides, k=2)
