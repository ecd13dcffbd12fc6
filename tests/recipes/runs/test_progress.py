"""The progress of a run as a whole."""

import pytest

from recipes import speed
from recipes.runs.progress import Progress
from recipes.speed import Speed, Work, in_words


def test_the_whole_is_announced_and_every_stage_says_its_place_and_what_is_left():
    said, now = [], [0.0]
    progress = Progress(said.append, {"vectors": 20, "training": 100, "evaluation": 60}, clock=lambda: now[0])
    progress.announce()
    progress.begin("data")  # nobody expected it to take time
    progress.begin("vectors")
    now[0] = 40.0  # twice as long as expected: so will be the rest
    progress.begin("training")
    now[0] = 240.0
    progress.begin("evaluation")
    assert said == [
        "This run will take about 3 minutes on this machine.",
        "[1/3] vectors; about 3 minutes left",
        "[2/3] training; about 5 minutes left",
        "[3/3] evaluation; about 2 minutes left",
    ]


@pytest.mark.parametrize("others", [0.0, 0.02])
def test_other_programs_on_the_machine_change_no_estimate_and_are_told(others, monkeypatch):
    """A round takes 10 ms of processor time on one thread; the clock also counts what others use."""
    clock = {"wall": 0.0, "processor": 0.0}
    monkeypatch.setattr(speed.time, "perf_counter", lambda: clock["wall"])
    monkeypatch.setattr(speed.time, "process_time", lambda: clock["processor"])
    monkeypatch.setattr(speed.torch, "get_num_threads", lambda: 1)

    def work() -> None:
        clock["processor"] += 0.01
        clock["wall"] += 0.01 + others

    found, busy = speed._least_seconds(work, 1.0)
    assert found == pytest.approx(0.01)
    assert busy == (others > 0)


def test_twice_the_speed_is_half_the_time():
    work = Work(encoded=1000, trained=100, other=0)
    slow, fast = (Speed(None, "cpu", factor * 100, factor * 10) for factor in (1, 2))
    assert work.seconds(slow) == 2 * work.seconds(fast) > 0


def test_times_are_round():
    assert [in_words(seconds) for seconds in (0.2, 44, 100, 3600)] == ["10 seconds", "40 seconds", "2 minutes", "60 minutes"]
