"""Tiny random models and tokenizers of five families, made on the spot: no test needs the network."""

import gc
import json
import os
import shutil

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Vectors are compared to five digits, on every machine.
os.environ.setdefault("OPTICAL_PRECISION", "fp32")
# Several processes share few cores: none spins while it waits.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings
from tiny_workshop import make_workshop
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertModel,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    PreTrainedTokenizerFast,
    XLMRobertaConfig,
    XLMRobertaModel,
    XmodConfig,
    XmodModel,
)

# Few examples in every run, the same ones; many with `--hypothesis-profile nightly`.
settings.register_profile("every-run", max_examples=50, deadline=None, derandomize=True, database=None,
                          suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
settings.register_profile("nightly", max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("every-run")

TEXTS = [
    "the cat sat on the mat, and the dog barked!",
    "search works in English; it fails in Somali.",
    "a good teacher gives the same vector for a translation",
    "paka alikaa kwenye mkeka, na mbwa akabweka!",
    "utafutaji hufanya kazi kwa Kiingereza; haufanyi kwa Kisomali.",
    "mwalimu mzuri hutoa vekta ileile kwa tafsiri",
    "अंग्रेज़ी में खोज काम करती है। — «да» 。",
]
_SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}


def _fast(backend: Tokenizer, **special: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_max_length=64, **special)


def _wrap(backend: Tokenizer, first: str, last: str) -> None:
    ids = [(token, backend.token_to_id(token)) for token in (first, last)]
    backend.post_processor = processors.TemplateProcessing(single=f"{first} $A {last}", special_tokens=ids)


def wordpiece_tokenizer() -> PreTrainedTokenizerFast:
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    normalizer, splitter = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = [word for text in TEXTS for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]
    # Hindi is spelled letter by letter, as an English vocabulary spells another language.
    hindi = normalizer.normalize_str("खोज काम करती है शिक्षक अच्छा").replace(" ", "")
    characters = sorted({character for word in [*words, hindi] for character in word})
    # Written down, not trained: the library's WordPiece trainer gives other pieces in every run.
    pieces = dict.fromkeys([*special, *characters, *(f"##{c}" for c in characters), *words])
    backend = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer, backend.pre_tokenizer = normalizer, splitter
    backend.decoder = decoders.WordPiece()
    _wrap(backend, "[CLS]", "[SEP]")
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return _fast(backend, **dict(zip(names, special, strict=True)))


def unigram_tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.UnigramTrainer(vocab_size=150, special_tokens=special, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator(TEXTS, trainer)
    _wrap(backend, "<s>", "</s>")
    return _fast(backend, cls_token="<s>", pad_token="<pad>", sep_token="</s>", unk_token="<unk>", mask_token="<mask>")


def bytelevel_tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.BpeTrainer(
        vocab_size=380, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator([*TEXTS, "one, two, three。"] * 3, trainer)
    _wrap(backend, "[CLS]", "[SEP]")
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return _fast(backend, **dict(zip(names, special, strict=True)))


def save_backbone(family: str, folder: Path, seed: int = 0) -> str:
    """A tiny random encoder with its tokenizer, saved as its own library would."""
    torch.manual_seed(seed)
    if family == "bert":
        tokenizer = wordpiece_tokenizer()
        model = BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=64, **_SIZES))
    elif family == "xlm-roberta":
        tokenizer = unigram_tokenizer()
        config = XLMRobertaConfig(
            vocab_size=len(tokenizer), max_position_embeddings=66, pad_token_id=1, bos_token_id=0, eos_token_id=2, **_SIZES
        )
        model = XLMRobertaModel(config)
    elif family == "xmod":
        tokenizer = unigram_tokenizer()
        config = XmodConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=66,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
            languages=["en_XX", "sw_KE"],
            default_language="sw_KE",
            **_SIZES,
        )
        model = XmodModel(config)
    elif family == "distilbert":
        tokenizer = wordpiece_tokenizer()
        config = DistilBertConfig(
            vocab_size=len(tokenizer), max_position_embeddings=64, dim=32, n_layers=2, n_heads=2, hidden_dim=48
        )
        model = DistilBertModel(config)
    else:
        tokenizer = bytelevel_tokenizer()
        config = ModernBertConfig(
            vocab_size=len(tokenizer),
            max_position_embeddings=64,
            pad_token_id=0,
            bos_token_id=2,
            eos_token_id=3,
            cls_token_id=2,
            sep_token_id=3,
            local_attention=8,
            global_attn_every_n_layers=2,
            **_SIZES,
        )
        model = ModernBertModel(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def save_clip(folder: Path, *, legacy: bool = False, seed: int = 0) -> str:
    """A tiny random CLIP with tokenizer and image processor; `legacy`: with the end-of-text id of older configurations."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*alphabet, *(f"{letter}</w>" for letter in alphabet), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer({piece: i for i, piece in enumerate(pieces)}, [], model_max_length=77)
    ids = {"bos_token_id": len(pieces) - 2, "eos_token_id": 2 if legacy else len(pieces) - 1}
    text = {"vocab_size": len(pieces), "max_position_embeddings": 77} | ids | _SIZES
    torch.manual_seed(seed)
    # The towers' own projection_dim is left at its default, as in published files where it is another than the weights'.
    CLIPModel(
        CLIPConfig(text_config=text, vision_config={"image_size": 16, "patch_size": 8} | _SIZES, projection_dim=24)
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(folder)
    return str(folder)


FAMILIES = ("bert", "xlm-roberta", "modernbert")
MORE_FAMILIES = ("xmod", "distilbert")


def pytest_collection_finish() -> None:
    """What is imported by now stays: every `Trainer.train` asks for a collection, which walked through all of it each time."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """What is never collected is told as a leak by some libraries."""
    gc.unfreeze()


@pytest.fixture(scope="session", autouse=True)
def cache_of_this_session(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What the package keeps between runs is not the user's."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module", autouse=True)
def random_weights_of_this_file() -> None:
    """A file's models have the same weights whatever ran before it in the same process."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Family to folder."""
    return {family: save_backbone(family, tmp_path_factory.mktemp(family)) for family in (*FAMILIES, *MORE_FAMILIES)}


@pytest.fixture(params=FAMILIES)
def backbone(request: pytest.FixtureRequest, backbones: dict[str, str]) -> str:
    """Folder of a tiny encoder, of each family in turn."""
    return backbones[request.param]


@pytest.fixture
def bert(backbones: dict[str, str]) -> str:
    """Folder of the tiny BERT."""
    return backbones["bert"]


@pytest.fixture
def workshop(tmp_path: Path, bert: str) -> Path:
    """A folder with a teacher, bitext, a collection and a recipe."""
    return make_workshop(tmp_path, bert)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of the tiny CLIP."""
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def marian(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a tiny random Marian model with SentencePiece tokenizers trained on the spot."""
    sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
    from transformers import MarianConfig, MarianMTModel, MarianTokenizer

    folder = tmp_path_factory.mktemp("marian")
    (folder / "text.txt").write_text("\n".join(TEXTS[:6] * 3))
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "text.txt"), model_prefix=str(folder / "source"), vocab_size=50, minloglevel=2
    )
    shutil.copy(folder / "source.model", folder / "source.spm")
    shutil.copy(folder / "source.model", folder / "target.spm")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.model"))
    pieces = ["</s>", "<unk>", *[processor.id_to_piece(i) for i in range(3, len(processor))], "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({piece: number for number, piece in enumerate(pieces)}))
    MarianTokenizer(
        str(folder / "source.spm"), str(folder / "target.spm"), str(folder / "vocab.json"), source_lang="sw", target_lang="en"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = MarianConfig(
        vocab_size=len(pieces), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=64,
        pad_token_id=len(pieces) - 1, eos_token_id=0, decoder_start_token_id=len(pieces) - 1, forced_eos_token_id=0,
    )  # fmt: skip
    MarianMTModel(config).save_pretrained(folder)
    return str(folder)
