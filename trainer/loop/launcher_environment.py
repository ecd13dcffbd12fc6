"""Launchers' environment variables, compared with the real number of processes."""

from __future__ import annotations

from collections.abc import Mapping

# Set by a launcher in every process that it starts: how many there are.
_SIZES = {
    "WORLD_SIZE": "torchrun or accelerate",
    "SLURM_STEP_NUM_TASKS": "srun",
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpirun",
}
_REMEDY = (
    "Processes on CPUs join with use_cpu=True in the training arguments. To start several, use `optical … --num-processes N`, "
    "`accelerate launch --config_file recipes/accelerate/cpu.yaml` (or another file there), or torchrun; to start one, use no "
    "launcher."
)


def check_number_of_processes(processes: int, environment: Mapping[str, str]) -> None:
    """Rejects a launch that asked for several processes and started unconnected ones.

    Each of them would train on all of the data with a smaller batch than was asked for, or all would write the same folder.

    Args:
        processes: how many there are, as this one sees it.
        environment: of this process.

    Raises:
        ValueError: naming the launcher and what to do.
    """
    if processes > 1:
        return
    for name, launcher in _SIZES.items():
        size = environment.get(name, "1")
        if size.isdecimal() and int(size) > 1:
            raise ValueError(
                f"{launcher} started {size} processes ({name}={size}), but they do not see each other: each is alone. {_REMEDY}"
            )
    # Accelerate's launcher for one process writes an address to meet at when it was asked for several, and then starts one.
    asked = "ACCELERATE_MIXED_PRECISION" in environment and "MASTER_ADDR" in environment
    if asked and "WORLD_SIZE" not in environment:
        raise ValueError(
            "accelerate launch was asked for several processes, but started a single one, as it does with --cpu, with "
            f"distributed_type MULTI_CPU or NO, and where there are fewer than two GPUs. {_REMEDY}"
        )
