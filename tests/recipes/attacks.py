"""Folders, cards and archives as an attacker makes them, against the functions that read them. Run by `test_bad_attacks.py`
under limits of memory and time: `python attacks.py KIND EXAMPLES FOLDER`."""

import json
import shutil
import sys
import zipfile
from pathlib import Path

from conftest import save_backbone
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some

from hub_cards.card_file import card_metadata
from hub_cards.space.engine import DemoSettings
from modeling_optical import OpticalModel, OpticalRetriever, load_checkpoint
from modeling_optical.encoding.corpus import CorpusStream
from modeling_optical.evaluation.image_text.image_files import ZipImages
from modeling_optical.retriever import retriever_for_index
from recipes.checked_yaml import read_values

REFUSALS = (ValueError, OSError, ImportError, KeyError, TypeError)
HUGE = [10**6, 10**8, 10**9, 2**31, 2**63, 10**18, -1, 0, 1e308, float("nan")]
NAMES = ["../x", "/etc/passwd", "package:os.path/x", "org/kernel", "x" * 10_000, "\0", "", "a\nb", "~root"]
VALUES = some.recursive(
    some.none() | some.booleans() | some.sampled_from(HUGE) | some.sampled_from(NAMES) | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def changed(values: object, draw: some.DrawFn) -> object:
    """A JSON value in which one place, at any depth, holds something else."""
    if isinstance(values, dict) and values and draw(some.integers(0, 3)):
        key = draw(some.sampled_from(sorted(values)))
        return values | {key: changed(values[key], draw)}
    if isinstance(values, list) and values and draw(some.integers(0, 3)):
        place = draw(some.integers(0, len(values) - 1))
        return [*values[:place], changed(values[place], draw), *values[place + 1 :]]
    return draw(VALUES)


def refused_or_read(work) -> None:
    """Whatever a file holds, it is read or refused in a sentence; nothing else is raised."""
    try:
        work()
    except REFUSALS as error:
        if not str(error):
            raise


def attack(kind: str, folder: Path):
    """One attack of a kind: a function of Hypothesis' data."""
    good, bad = folder / "good", folder / "bad"
    if kind in ("checkpoint", "manifest"):
        save_backbone("bert", folder / "bert")
        OpticalModel.from_backbone(folder / "bert", embedding_dim=8).save_pretrained(good / "model")
        retriever = OpticalRetriever(load_checkpoint(good / "model"))
        retriever.index({"a": "the cat", "b": "the dog"}, good / "index", show_progress_bar=False)

    def fresh(name: str) -> Path:
        shutil.rmtree(bad, ignore_errors=True)
        shutil.copytree(good / name, bad)
        return bad

    def checkpoint(data) -> None:
        place = fresh("model") / data.draw(some.sampled_from(["config.json", "tokenizer_config.json", "processor_config.json"]))
        place.write_text(json.dumps(changed(json.loads(place.read_text()), data.draw)))
        refused_or_read(lambda: load_checkpoint(bad).encode_query(["the cat"]))

    def manifest(data) -> None:
        place = fresh("index") / "index.json"
        place.write_text(json.dumps(changed(json.loads(place.read_text()), data.draw)))
        refused_or_read(lambda: retriever_for_index(bad, documents=good / "model").search("the cat"))

    def yaml_file(data) -> None:
        bad.mkdir(exist_ok=True)
        depth, width = data.draw(some.integers(0, 12)), data.draw(some.integers(1, 12))
        lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, depth + 1))]
        end = data.draw(some.sampled_from([f"*a{depth}", "[" * 3000, "{" * 3000, "!!int x"]))
        text = "\n".join([*lines, f"license: {end}"])
        (bad / "README.md").write_text(f"---\n{text}\n---\n")
        refused_or_read(lambda: str(card_metadata(bad / "README.md")))
        (bad / "recipe.yaml").write_text(text)
        refused_or_read(lambda: str(read_values(bad / "recipe.yaml")))
        (bad / "settings.json").write_text(json.dumps(data.draw(VALUES)))
        refused_or_read(lambda: DemoSettings.load(bad / "settings.json"))

    def archive(data) -> None:
        bad.mkdir(exist_ok=True)
        size = data.draw(some.sampled_from([0, 10, 2**20, 2**27]))
        name = data.draw(some.sampled_from(["x", "../x", "/x", "__MACOSX/x"]))
        with zipfile.ZipFile(bad / "images.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr(f"{name}.png", bytes(size))
        content = bytearray((bad / "images.zip").read_bytes())
        for _ in range(data.draw(some.integers(0, 3))):
            content[data.draw(some.integers(0, len(content) - 1))] = data.draw(some.integers(0, 255))
        (bad / "images.zip").write_bytes(content)

        def read() -> None:
            images = ZipImages(bad / "images.zip")
            for one in images.names:
                images.read(one)

        refused_or_read(read)
        piece = data.draw(some.sampled_from([b"\n", b"{", b'{"_id":1,"text":"', b"\xff"]))
        (bad / "corpus.jsonl").write_bytes(piece * 1_200_000)
        refused_or_read(lambda: list(CorpusStream(bad / "corpus.jsonl")))

    return {"checkpoint": checkpoint, "manifest": manifest, "yaml": yaml_file, "archive": archive}[kind]


if __name__ == "__main__":
    kind, examples, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    once = attack(kind, folder)
    healthy = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

    @settings(
        max_examples=examples,
        deadline=60_000,
        database=None,
        derandomize=examples < 50,
        suppress_health_check=healthy,
        phases=[Phase.generate],
    )
    @given(data=some.data())
    def repeated(data) -> None:
        once(data)

    repeated()
