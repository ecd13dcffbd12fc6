"""Backbones: how long a text may be, whichever model counts its positions; encoder-decoders; half precision."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoConfig,
    AutoModel,
    BartConfig,
    BartModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
    T5Model,
)

from modeling_optical import OpticalForDistillation, OpticalModel, load_checkpoint
from modeling_optical.checkpoints import export_checkpoint

# Learned positions from 0, behind the padding row, in a class of the backbone's own, rotary, relative.
KINDS = (
    "albert",
    "bert",
    "camembert",
    "data2vec-text",
    "deberta-v2",
    "distilbert",
    "electra",
    "esm",
    "ibert",
    "longformer",
    "modernbert",
    "mpnet",
    "nystromformer",
    "roberta",
    "roberta-prelayernorm",
    "roformer",
    "xmod",
)
MORE = {"longformer": {"attention_window": [4]}, "esm": {"mask_token_id": 4}, "xmod": {"default_language": "en_XX"}}
NAMES = ("<s>", "<pad>", "</s>", "<unk>", "<mask>", "boat")


def save_encoder(folder, model) -> str:
    """A model with a tokenizer of one word."""
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(NAMES)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    special = dict(zip(("cls_token", "pad_token", "sep_token", "unk_token", "mask_token"), NAMES, strict=False))
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", [0, 1])
def test_a_text_longer_than_the_positions_is_cut_to_what_fits(kind, padding, tmp_path):
    config = AutoConfig.for_model(
        kind,
        vocab_size=6,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        pad_token_id=padding,
        max_position_embeddings=20,
        **MORE.get(kind, {}),
    )
    model = load_checkpoint(save_encoder(tmp_path, AutoModel.from_config(config)), document_length=500)
    length = len(model.encode_document("boat " * 100))
    assert 18 <= length <= 20
    assert np.isfinite(model.encode_document(["boat", "boat " * 100])[0]).all()
    # No token is given away: one more would be too many for learned positions.
    if kind not in ("modernbert",):
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, length + 1), 5))


@pytest.mark.parametrize("saved", [T5EncoderModel, T5Model, T5ForConditionalGeneration])
def test_of_t5_the_encoder_is_read(saved, tmp_path):
    torch.manual_seed(0)
    whole = saved(T5Config(vocab_size=6, d_model=16, num_layers=1, num_heads=2, d_ff=16, d_kv=8)).eval()
    model = load_checkpoint(save_encoder(tmp_path / "t5", whole))
    ids = model.get_processor()("boat boat", kind="document").input_ids
    expected = torch.nn.functional.normalize(whole.get_encoder()(ids).last_hidden_state[0], dim=-1)
    np.testing.assert_allclose(model.encode_document("boat boat"), expected.detach(), atol=1e-6)
    model.save_pretrained(tmp_path / "saved")
    assert np.array_equal(
        AutoModel.from_pretrained(tmp_path / "saved").encode_query("boat " * 600), model.encode_query("boat " * 600)
    )


def test_an_encoder_decoder_without_an_encoder_class_is_refused(tmp_path):
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    folder = save_encoder(
        tmp_path, BartModel(BartConfig(vocab_size=6, encoder_attention_heads=2, decoder_attention_heads=2, **sizes))
    )
    with pytest.raises(ValueError, match="type 'bart' is an encoder with a decoder"):
        load_checkpoint(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_checkpoint_loads_trains_a_step_encodes_and_is_exported(dtype, bert, tmp_path):
    torch.manual_seed(0)
    OpticalModel.from_backbone(bert, embedding_dim=8, query_marker="[Q]", document_marker="[D]").to(dtype).save_pretrained(
        tmp_path / "stored"
    )
    model = load_checkpoint(tmp_path / "stored", model_class=OpticalForDistillation)
    assert model.dtype == dtype
    vectors = model.encode_query("the cat sat")
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-2)
    batch = dict(model.get_processor()(["the cat sat", "a dog"]))
    teacher = torch.nn.functional.normalize(torch.randn(2, 4, 8), dim=-1)
    loss = model.train()(**batch, teacher_vectors=teacher).loss
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    for name in ("sentence-transformers", "pylate"):
        export_checkpoint(model.eval(), tmp_path / name, name, nearest=True)
        assert np.array_equal(load_checkpoint(tmp_path / name).encode_query("the cat sat"), vectors)
