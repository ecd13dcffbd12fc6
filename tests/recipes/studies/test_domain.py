"""The study of domain bitext: its tests and its report against tables whose truth is known, its data, its errors."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from recipes.cli import main
from recipes.studies.reporting.results_table import StudyResults
from recipes.studies.reporting.write_report import write_report
from recipes.studies.statistics.mcnemar import mcnemar
from recipes.studies.study import load_study
from tests.recipes.studies.test_reports import written

STUDY = "recipes/studies/domain/study.yaml"
MEDICINE, REST = ("virology", "nutrition"), ("astronomy", "philosophy", "sociology", "management")


def rows(system: str, language: str, share: str, accuracy: dict[bool, float], *, seeds=(0, 1, 2), questions=150) -> list[dict]:
    """Rows whose accuracy in and out of the domain is exactly that: the first questions of every subject are answered."""
    found = []
    for seed in seeds:
        for subject in (*MEDICINE, *REST):
            right = round(accuracy[subject in MEDICINE] * questions)
            for number in range(questions):
                # Each seed misses others, so that most seeds agree on most questions.
                correct = (number + 7 * seed) % questions < right
                found.append(
                    {"cell": f"{share}-{language}-{seed}", "stage": "distil", "student": language, "seed": seed, "share": share,
                     "system": system, "collection": "mmlu", "language": language, "query": f"{subject}/test/{number}",
                     "accuracy": float(correct)}
                )  # fmt: skip
    return found


def results(found: list[dict], folder: Path, *overrides: str) -> StudyResults:
    study = load_study(STUDY, "smoke", overrides, str(folder))
    cells = pd.DataFrame([{"cell": "a", "stage": "distil", "state": "done", "seconds": "1.0", "error": ""}])
    provenance = {"versions": {"torch": "2"}, "machine": {"device": "cpu"}, "files": {}, "training pairs": {"a": 1800}}
    return StudyResults(study, pd.DataFrame(found), cells, [], provenance)


def world(gain_inside: float, gain_outside: float) -> list[dict]:
    found = []
    for language in ("sw", "fi"):
        for system, less in (("optical", 0.0), ("pooled_mse", 0.1)):
            for share in ("0.0", "0.5", "1.0"):
                level = {True: 0.4 - less + gain_inside * float(share), False: 0.5 - less + gain_outside * float(share)}
                found += rows(system, language, share, level)
        found += rows("ceiling", language, "all", {True: 0.8, False: 0.7}, seeds=(-1,))
        found += rows("floor", language, "all", {True: 0.3, False: 0.3}, seeds=(-1,))
    return found


def test_an_effect_within_the_domain_alone_is_found_and_said_first(tmp_path):
    answer = write_report(results(world(0.2, 0.0), tmp_path))
    text = written(tmp_path)
    first, details = text.split("\n\n")[1:3]
    assert first.startswith("**Bitext of the domain raises accuracy (+0.200 [")
    assert "on questions of the domain and changes accuracy by no measurable amount" in first
    assert details.startswith("Mean accuracy from 0% to 100% domain bitext at the same total. transport (languages: 2): in")
    assert "in domain higher, 0.400 to 0.600 (+0.200 [" in answer
    assert "below 0.05 after Holm in 2 of 2 languages" in answer
    assert "out of domain not distinguishable, 0.500 to 0.500" in answer
    assert "the two effects differ (+0.200 [" in answer
    gains = pd.read_csv(tmp_path / "report/tables/gains.csv").set_index("side")
    assert gains.loc["in domain", "difference"] == pytest.approx(0.2)
    assert gains.loc["in domain", "low"] < 0.2 < gains.loc["in domain", "high"]
    assert "Every mixture has 1,800 pairs" in text


def test_no_effect_is_called_not_distinguishable(tmp_path):
    answer = write_report(results(world(0.0, 0.0), tmp_path))
    assert answer.count("not distinguishable") == 3
    assert "in 0 of 2 languages" in answer


def test_a_price_outside_of_the_domain_is_called_lower(tmp_path):
    answer = write_report(results(world(0.1, -0.2), tmp_path))
    assert "out of domain lower, 0.500 to 0.300 (-0.200 [" in answer


def test_every_system_share_and_reference_is_in_the_tables(tmp_path):
    write_report(results(world(0.2, 0.0), tmp_path))
    text = written(tmp_path)
    assert "| teacher, English queries | – | 2 | 0.800 | 0.700 |" in text
    assert "| untrained student | – | 2 | 0.300 | 0.300 |" in text
    assert "| pooled MSE | 1 | 2 | 0.500 | 0.400 |" in text
    groups = pd.read_csv(tmp_path / "report/tables/by_subject_group.csv")
    one = groups[(groups["system"] == "optical") & (groups["language"] == "sw") & (groups["share"] == 1)].set_index("group")
    assert dict(one["questions"]) == {"STEM": 150, "humanities": 150, "other": 450, "social sciences": 150}
    assert (tmp_path / "report/figures/accuracy_optical.pdf").is_file()
    tests = pd.read_csv(tmp_path / "report/tables/mcnemar_all_shares.csv")
    assert set(tests["share"]) == {0.5, 1.0}
    assert (tests["holm"] >= tests["p"]).all()


def test_a_share_that_is_missing_leaves_the_question_open(tmp_path):
    found = [row for row in world(0.2, 0.0) if row["share"] != "1.0"]
    answer = write_report(results(found, tmp_path))
    assert "do not answer the question, a share is missing" in answer
    written(tmp_path)


def test_references_alone_still_have_a_report(tmp_path):
    found = [row for row in world(0.2, 0.0) if row["system"] in ("ceiling", "floor")]
    assert "no student was measured" in write_report(results(found, tmp_path))
    written(tmp_path)


def test_the_same_question_in_two_collections_is_two_questions(tmp_path):
    found = world(0.2, 0.0)
    write_report(results([*found, *(row | {"collection": "other"} for row in found)], tmp_path))
    groups = pd.read_csv(tmp_path / "report/tables/by_language.csv").set_index(["system", "language", "share", "side"])
    assert groups.loc[("optical", "sw", 1.0, "in domain"), "questions"] == 600
    assert groups.loc[("optical", "sw", 1.0, "in domain"), "accuracy"] == pytest.approx(0.6)


def test_a_domain_of_no_subject_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"no question is in domain\. Subjects here: astronomy"):
        write_report(results(world(0.2, 0.0), tmp_path, "report_options.in_domain=[anatomy]"))


def test_mcnemars_test_is_the_binomial_test_of_the_questions_that_differ():
    first, second = np.array([[1] * 30 + [0] * 20 + [1] * 50]), np.array([[1] * 22 + [0] * 8 + [1] * 3 + [0] * 17 + [1] * 50])
    found = mcnemar(first, second)
    assert (found.questions, found.only_first, found.only_second) == (100, 8, 3)
    assert found.p == pytest.approx(binomtest(3, 11, 0.5).pvalue)
    assert mcnemar(first, first).p == 1.0


def test_several_seeds_vote_on_a_question():
    first = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0]])
    found = mcnemar(first, np.zeros((3, 3)))
    assert (found.only_first, found.only_second) == (2, 0)
    with pytest.raises(ValueError, match="3 and 2 questions"):
        mcnemar(first, np.zeros((3, 2)))


def test_its_smoke_study_measures_every_system_at_every_share_and_both_answerers(finished):
    output = finished["domain"]
    table = pd.read_csv(output / "results.csv", dtype={"share": str})
    assert set(table["metric"]) == {"accuracy"}
    trained = table[table["share"] != "all"]
    systems = {"optical", "both", "contrastive", "pooled_mse"}
    causal = {"causal_optical", "causal_next_token", "causal_contrastive", "causal_pooled_mse"}
    assert set(trained["system"]) == {"start", *systems, *causal}
    assert set(table[table["share"] == "all"]["system"]) == {"floor", "ceiling", "causal_floor", "causal_ceiling"}
    counts = trained.groupby(["system", "share", "language"]).size()
    assert (counts == 1).all()
    assert len(counts) == 9 * 3
    record = json.loads((output / "cells/distil-sw-share_0.0-seed_0/run.json").read_text())
    assert record["data"]["training pairs by group"] == {"domain": 0, "general": 16}
    assert record["data"]["training pairs"] == 16
    assert (output / "report/report.md").read_text().count("causal model, transport + next token") > 3


def test_the_same_command_again_has_nothing_left_to_do(finished, capsys):
    assert main(["study", STUDY, "--profile", "smoke", "--output", str(finished["domain"]), "--plan"]) == 0
    assert "Nothing is left to run." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["distil.values.data.mixture.shares={domain: 0.5, news: null}"], "no source of data.bitext has `group: news`"),
        (["distil.values.data.mixture.shares={domain: 0.5, general: 0.4}"], "distil.yaml"),
        (["distil.values.data.max_training_pairs=4"], "mixture cannot go together with"),
        (["distil.values.evaluation.questions=[{path: /nowhere}]"], "'/nowhere' does not exist"),
        (["causal.values.objectives={score_kl: 1.0}"], "a causal model is distilled by"),
        (["causal.values.training.max_step=3"], "Did you mean 'max_steps'"),
        (["causal.values.baselines.next_token.layers=[1]"], "a baseline may change objectives and training only"),
        (["causal.values.evaluation.collections=[{path: x}]"], "answers `evaluation.questions` by likelihood"),
        (["report_options.low=2.0"], "low is 2.0"),
    ],
)
def test_what_cannot_work_is_told_before_anything_is_computed(tmp_path, capsys, overrides, message):
    own = ["sweeps=[{language: [sw], share: [0.5]}]", *overrides]
    assert main(["study", STUDY, "--profile", "smoke", "--output", str(tmp_path / "out"), *own]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out/cells").exists()


def test_a_mixture_larger_than_its_sources_fails_with_the_number_of_pairs(tmp_path):
    own = ["sweeps=[{language: [sw], share: [1.0]}]", "causal=null", "distil.values.data.mixture.total=41"]
    assert main(["study", STUDY, "--profile", "smoke", "--output", str(tmp_path / "out"), *own]) == 1
    record = json.loads((tmp_path / "out/cells/distil-sw-share_1.0-seed_0/cell.json").read_text())
    assert "wants 41 pairs of the group 'domain', but its sources have 40" in record["error"]


@pytest.mark.parametrize("profile", ["full", "local"])
def test_the_other_profiles_are_whole(profile, tmp_path):
    """Every cell of them has a recipe; a document that is tested on is never trained on."""
    from recipes.studies.cells import causal_recipe, cells_of, distillation_recipe

    given = ["paths.tico19=TICO"] if profile == "full" else ["paths.bitext=BITEXT", "paths.collections=COLLECTIONS"]
    study = load_study(STUDY, profile, given, str(tmp_path))
    cells = cells_of(study)
    shares = {0.0, 0.25, 0.5, 0.75, 1.0}
    assert {dict(cell.factors)["share"] for cell in cells if cell.stage == "distil"} == shares
    for cell in cells:
        recipe = causal_recipe(study, cell) if cell.stage == "causal" else distillation_recipe(study, cell)
        if cell.stage != "reference":
            assert recipe.data.mixture.shares["domain"] == dict(cell.factors)["share"]
            assert sum(recipe.data.mixture.counts.values()) == recipe.data.mixture.total
        tested = {document for source in recipe.evaluation.questions for document in source.documents}
        left_out = {document for source in recipe.data.bitext for document in source.left_out_documents}
        assert tested == left_out


def test_tico19_is_read_as_it_is_published(tmp_path):
    from trainer.bitext import BitextSource, load_bitext

    header = "sourceLang\ttargetLang\tsourceString\ttargetString\tstringID\turl\tlicense\ttranslatorId\n"
    for split, text in (("dev", "fever"), ("test", "cough")):
        line = f'en\tsw\tthe "{text}" is mild\tni {text} kidogo tu\tCMU_1:{split}\thttp://a.b\tpublic\t7\n'
        (tmp_path / split).mkdir()
        (tmp_path / split / f"{split}.en-sw.tsv").write_text(header + line)
    source = BitextSource(path=f"{tmp_path}/*/*.en-sw.tsv", source="sourceString", target="targetString", language="sw")
    pairs, _ = load_bitext([source])
    assert pairs["source"] == ['the "fever" is mild', 'the "cough" is mild']
