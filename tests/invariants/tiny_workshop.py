"""A folder with all that a small run of the command line needs: a tiny teacher, bitext, a collection and a recipe."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import yaml
from transformers import AutoModel

from modeling_optical import OpticalModel

ROOT = Path(__file__).resolve().parents[2]
_ENGLISH = "the cat sat on mat and dog barked search works in English it fails Somali good teacher gives same vector"
_SWAHILI = (
    "yule paka alikaa juu mkeka na mbwa alibweka utafutaji hufanya kwa Kiingereza hiyo haufanyi Kisomali mzuri mwalimu "
    "hutoa ileile vekta"
)
WORDS = dict(zip(_ENGLISH.split(), _SWAHILI.split(), strict=True))


def sentences(count: int) -> list[dict[str, str]]:
    generator = np.random.default_rng(0)
    rows = []
    for index in range(count):
        chosen = generator.choice(list(WORDS), size=int(generator.integers(3, 9)))
        rows.append(
            {"id": str(index), "document": f"d{index // 4}", "en": " ".join(chosen), "sw": " ".join(WORDS[w] for w in chosen)}
        )
    return rows


def make_workshop(folder: Path, backbone: str) -> Path:
    """Fills a folder with a teacher, bitext, a collection and a recipe; returns it."""
    torch.manual_seed(0)
    teacher = OpticalModel.from_backbone(backbone, embedding_dim=8)
    teacher.save_pretrained(folder / "teacher")
    rows = sentences(80)
    (folder / "bitext.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:60]))
    collection = folder / "collection"
    collection.mkdir()
    test = rows[60:]
    (collection / "corpus.jsonl").write_text("".join(json.dumps({"_id": r["id"], "text": r["en"]}) + "\n" for r in test))
    for language in ("en", "sw"):
        lines = [json.dumps({"_id": f"q{r['id']}", "text": r[language]}) + "\n" for r in test]
        (collection / f"queries.{language}.jsonl").write_text("".join(lines))
    qrels = "".join(f"q{r['id']}\t{r['id']}\t1\n" for r in test)
    (collection / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + qrels)
    recipe = {
        "name": "tiny",
        "language": "sw",
        "output": str(folder / "run"),
        "teacher": {"model": str(folder / "teacher")},
        "student": {"dropout": 0.0, "max_length": 24, "vocabulary": {"size": 200}},
        "data": {"bitext": [{"path": "bitext.jsonl", "source": "en", "target": "{language}"}], "held_out": 0.1},
        "objectives": {"transport": 1.0, "pooled_mse": 0.5},
        "training": {
            "max_steps": 4,
            "per_device_train_batch_size": 4,
            "logging_steps": 2,
            "save_steps": 2,
            "disable_tqdm": True,
        },
        "baselines": {"pooled_mse": {"objectives": {"pooled_mse": 1.0}}},
        "evaluation": {"collections": [{"path": "collection"}], "examples": 3},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def weights(folder: Path) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in AutoModel.from_pretrained(folder).parameters()])


# A run without the parts that cost time and that no fault is about.
SHORT = ("baselines={}", "student.vocabulary=null", "evaluation.collections=[]", "evaluation.examples=0")
_OPTICAL = "import sys; from recipes.cli import main; sys.exit(main(sys.argv[1:]))"
_ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def start(*arguments: str, script: str = _OPTICAL, **environment: str) -> subprocess.Popen[str]:
    """`optical ARGUMENTS` in a separate process, or a script with these arguments; stderr is read with `communicate`."""
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        cwd=ROOT,
        env=os.environ | _ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def start_with_accelerate(script: Path, *arguments: str) -> subprocess.Popen[str]:
    """A script on the two processes of `recipes/accelerate/cpu.yaml`."""
    words = ["--config_file", str(ROOT / "recipes" / "accelerate" / "cpu.yaml"), "--main_process_port", "0", str(script)]
    return subprocess.Popen(
        [sys.executable, "-m", "accelerate.commands.launch", *words, *arguments],
        cwd=ROOT,
        env=os.environ | _ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(found: Callable[[], bool], running: subprocess.Popen[str], seconds: float = 180) -> None:
    """Waits until something is there; fails when the process ends or the time is over."""
    deadline = time.monotonic() + seconds
    while not found():
        if running.poll() is not None:
            raise AssertionError(running.communicate()[1][-3000:])
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.05)
