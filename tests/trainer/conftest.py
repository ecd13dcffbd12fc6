"""A tiny teacher, its student and a bitext of made-up sentences."""

import random

import pytest
import torch
from datasets import Dataset

from modeling_optical import OpticalForDistillation, OpticalModel
from trainer import Teacher

WORDS = ["cat", "mat", "dog", "search", "works", "English", "Somali", "teacher", "vector", "translation", "good", "same"]
OTHER = [
    "paka",
    "mkeka",
    "mbwa",
    "utafutaji",
    "hufanya",
    "Kiingereza",
    "Kisomali",
    "mwalimu",
    "vekta",
    "tafsiri",
    "mzuri",
    "ileile",
]


def make_bitext(count: int, seed: int = 0) -> Dataset:
    """Sentences of 2 to 9 words, translated word by word."""
    generator = random.Random(seed)
    rows = {"source": [], "target": [], "language": [], "document": [], "origin": []}
    for index in range(count):
        chosen = [generator.randrange(len(WORDS)) for _ in range(generator.randint(2, 9))]
        values = (" ".join(WORDS[i] for i in chosen), " ".join(OTHER[i] for i in chosen), "sw", str(index // 3), "made")
        for name, value in zip(rows, values, strict=True):
            rows[name].append(value)
    return Dataset.from_dict(rows)


def make_model(folder: str, model_class: type[OpticalModel] = OpticalModel, **config) -> OpticalModel:
    """A seeded model over a tiny backbone, without dropout."""
    torch.manual_seed(3)
    model = model_class.from_backbone(folder, embedding_dim=8, **config)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


@pytest.fixture
def teacher(bert: str) -> Teacher:
    return Teacher(make_model(bert), max_length=24)


@pytest.fixture
def student(backbones: dict[str, str]) -> OpticalForDistillation:
    return make_model(backbones["xlm-roberta"], OpticalForDistillation)


@pytest.fixture
def bitext() -> Dataset:
    return make_bitext(24)
