"""Bitext larger than memory: an even sample, and a stream that a Trainer can train on and resume."""

import copy
import itertools
import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from trainer import OpticalTrainer, OpticalTrainingArguments
from trainer.bitext import (
    BitextSource,
    Cleaning,
    ShorteningOptions,
    StreamingOptions,
    language_shares,
    sample_bitext,
    split_bitext,
    stream_bitext,
)

OPTIONS = StreamingOptions(sample=50, buffer=20)


@pytest.fixture
def sources(tmp_path: Path) -> list[BitextSource]:
    """300 Swahili and 30 Somali pairs; the last line of each repeats the first."""
    found = []
    for code, word, count in (("sw", "mbweha", 300), ("so", "dawaco", 30)):
        rows = [{"en": f"fox number {i}, he said.", code: f"{word} namba {i}, alisema."} for i in [*range(count), 0]]
        path = tmp_path / f"{code}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        found.append(BitextSource(path=str(path), target=code))
    return found


def targets(stream, count: int) -> list[str]:
    return [row["target"] for row in itertools.islice(stream, count)]


def test_a_sample_is_even_seeded_and_counts_everything(sources: list[BitextSource]):
    samples = [sample_bitext(sources, Cleaning(), 100, seed=seed) for seed in range(30)]
    pairs, report, counts = samples[0]
    assert (len(pairs), counts) == (100, {"sw": 300, "so": 30})
    assert list(report.dropped.values()) == [{"repeated": 1}, {"repeated": 1}]
    assert pairs["target"][:] == sample_bitext(sources, Cleaning(), 100, seed=0)[0]["target"][:]
    drawn = Counter(target for sample, _, _ in samples for target in sample["target"])
    first, last = ([drawn[f"mbweha namba {i}, alisema."] for i in places] for places in (range(100), range(200, 300)))
    assert sum(first) == pytest.approx(100 * 30 * 100 / 330, rel=0.15)
    assert sum(last) == pytest.approx(100 * 30 * 100 / 330, rel=0.15)


def test_a_sample_larger_than_the_bitext_is_the_bitext(sources: list[BitextSource]):
    assert len(sample_bitext(sources, Cleaning(), 10_000)[0]) == 330


def test_held_out_pairs_and_repeats_are_never_in_the_stream(sources: list[BitextSource]):
    sample, _, counts = sample_bitext(sources, Cleaning(), 100)
    _, held = split_bitext(sample, held_out=0.2)
    stream = stream_bitext(sources[:1], Cleaning(), {"sw": counts["sw"]}, options=OPTIONS, held_out=held)
    seen = Counter(row["target"] for row in stream)
    held_numbers = {source.split()[2] for source in held["source"]}
    assert len(held_numbers) > 10
    assert set(seen) == {f"mbweha namba {i}, alisema." for i in range(300) if f"{i}," not in held_numbers}
    assert set(seen.values()) == {1}


def test_the_order_is_random_seeded_and_changes_with_the_epoch(sources: list[BitextSource]):
    def stream(seed: int):
        return stream_bitext(sources, Cleaning(), {"sw": 300, "so": 30}, options=OPTIONS, seed=seed)

    first = targets(stream(0), 100)
    assert first == targets(stream(0), 100)
    assert first != targets(stream(1), 100)
    again = stream(0)
    again.set_epoch(1)
    assert first != targets(again, 100)


def test_languages_come_with_their_shares(sources: list[BitextSource]):
    counts = {"sw": 300, "so": 30}
    stream = stream_bitext(sources, Cleaning(), counts, options=OPTIONS, temperature=3.0)
    seen = Counter(row["language"] for row in itertools.islice(stream, 300))
    assert seen["so"] / 300 == pytest.approx(language_shares(counts, 3.0)["so"], abs=0.08)


def test_short_pairs_come_behind_their_long_ones(sources: list[BitextSource]):
    stream = stream_bitext(
        sources[:1], Cleaning(), {"sw": 300}, options=StreamingOptions(buffer=1), shortened=ShorteningOptions(share=1.0)
    )
    rows = list(itertools.islice(stream, 4))
    assert [row["source"] for row in rows[:2]] == ["fox number 0, he said.", rows[1]["source"]]
    assert rows[1]["source"] in ("fox number 0", "he said")
    assert [row["length"] for row in rows] == [len(row["target"]) for row in rows]


def weights(trainer: OpticalTrainer) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def test_a_trainer_trains_on_a_stream_and_resumes_to_the_same_student(tmp_path, sources, teacher, student):
    def train(folder: str, resume: str | None = None) -> OpticalTrainer:
        stream = stream_bitext(sources, Cleaning(), {"sw": 300, "so": 30}, options=OPTIONS, temperature=2.0)
        arguments = OpticalTrainingArguments(
            output_dir=str(tmp_path / folder), max_steps=6, save_steps=3, per_device_train_batch_size=4, use_cpu=True,
            report_to="none", disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = OpticalTrainer(
            model=copy.deepcopy(student), args=arguments, teacher=teacher, train_dataset=stream, max_length=24
        )
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    straight = train("straight")
    resumed = train("resumed", str(tmp_path / "straight" / "checkpoint-3"))
    assert straight.state.global_step == 6
    torch.testing.assert_close(weights(resumed), weights(straight), rtol=0, atol=0)


@pytest.mark.parametrize("name", ["sample", "buffer", "remembered"])
def test_options_below_one_are_refused(name: str):
    with pytest.raises(ValueError, match=rf"streaming\.{name} is 0"):
        StreamingOptions(**{name: 0})
