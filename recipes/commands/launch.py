"""A command on several processes, by accelerate's launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def launch(arguments: Sequence[str], processes: int) -> int:
    """Starts `optical ARGUMENTS` on several processes; returns the exit status. When one ends with an error, all end.

    `--multi_gpu` is what makes the launcher start more than one process, on CPUs too: with `--cpu` it silently starts one.

    Raises:
        ValueError: if there are GPUs, but fewer than processes.
    """
    import torch

    environment = dict(os.environ)
    devices = torch.cuda.device_count()
    if devices == 0:
        threads = str(max((os.cpu_count() or 1) // processes, 1))
        environment |= {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": threads}
    elif processes > devices:
        raise ValueError(f"--num-processes {processes}: there are {devices} GPUs. Use at most {devices}.")
    script = Path(__file__).resolve().parents[1] / "command.py"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1"]
    command += ["--main_process_port", "0"]  # a free one: two runs on one machine do not meet
    command += ["--num_processes", str(processes), "--mixed_precision", "no", "--dynamo_backend", "no"]
    with _passing_on(signal.SIGTERM, subprocess.Popen([*command, str(script), *arguments], env=environment)) as launcher:
        try:
            status = launcher.wait()
        except KeyboardInterrupt:
            launcher.terminate()  # it ends the processes that it started; killed, it would leave them behind
            launcher.wait()
            raise
    if status:
        print(
            f"optical: one of the {processes} processes ended with an error, and the others were ended with it. Its message "
            "is above; a process that was killed (exitcode -9) has none: often the memory ran out. Started again, the "
            "same command goes on where it stopped.",
            file=sys.stderr,
        )
    return status


@contextmanager
def _passing_on(number: signal.Signals, child: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Sends a signal that this process receives to its child: a scheduler that ends the command ends all processes."""
    before = signal.signal(number, lambda *_: child.send_signal(number))
    try:
        yield child
    finally:
        signal.signal(number, before)


def process_rank() -> tuple[int, int, str]:
    """This process's number, how many there are, and its device.

    Raises:
        ValueError: if a launcher was asked for several processes, and each is alone.
    """
    from modeling_optical.precision import fastest_device
    from trainer.loop.launcher_environment import check_number_of_processes

    rank, processes = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    check_number_of_processes(processes, os.environ)
    device = fastest_device()
    return rank, processes, f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}" if device == "cuda" else device
