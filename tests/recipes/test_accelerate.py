"""The launcher's configurations load, and a launch that starts fewer processes than it was asked for is refused."""

import pytest
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_multi_gpu_env, prepare_simple_launcher_cmd_env
from tiny_workshop import ROOT

from recipes.cli import main
from trainer.loop.launcher_environment import check_number_of_processes

FOLDER = ROOT / "recipes" / "accelerate"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))


def launch_arguments(*words: str):
    arguments, _, _ = _validate_launch_command(launch_command_parser().parse_args([*words, "recipes/run.py"]))
    return arguments


def test_the_configurations_are_there():
    assert FILES == ["cpu.yaml", "deepspeed.yaml", "fsdp.yaml", "multi_gpu.yaml", "multi_node.yaml"]
    text = (FOLDER / "README.md").read_text()
    for name in FILES:
        assert f"`{name}`" in text


@pytest.mark.parametrize("name", FILES)
def test_accelerate_loads_a_configuration_and_starts_the_launcher_of_several_processes(name):
    config = load_config_from_file(str(FOLDER / name))  # refuses unknown keys
    assert isinstance(config, ClusterConfig)
    assert config.num_processes > 1
    arguments = launch_arguments("--config_file", str(FOLDER / name))
    assert arguments.num_processes == config.num_processes
    # What the launcher branches on; without one of them it starts a single process.
    assert arguments.multi_gpu or arguments.use_fsdp or arguments.use_deepspeed
    assert not arguments.cpu


def test_the_options_of_fsdp_reach_the_processes(tmp_path):
    arguments = launch_arguments("--config_file", str(FOLDER / "fsdp.yaml"), "--main_process_port", "0")
    environment = prepare_multi_gpu_env(arguments)
    assert environment["ACCELERATE_USE_FSDP"] == "true"
    assert environment["FSDP_VERSION"] == "2"
    assert environment["FSDP_AUTO_WRAP_POLICY"] == "TRANSFORMER_BASED_WRAP"
    assert environment["FSDP_STATE_DICT_TYPE"] == "FULL_STATE_DICT"
    assert environment["ACCELERATE_MIXED_PRECISION"] == "bf16"


@pytest.mark.parametrize("words", [["--cpu", "--num_processes", "2"], ["--num_processes", "2", "--num_machines", "1"]])
def test_the_launchers_single_process_is_refused_where_two_were_asked_for(words):
    _, environment = prepare_simple_launcher_cmd_env(launch_arguments(*words))
    with pytest.raises(ValueError, match=r"asked for several processes, but started a single one.*--num-processes N"):
        check_number_of_processes(1, environment)


def test_the_launchers_single_process_is_fine_where_one_was_asked_for():
    _, environment = prepare_simple_launcher_cmd_env(launch_arguments("--cpu", "--num_processes", "1"))
    environment.pop("MASTER_ADDR", None)
    check_number_of_processes(1, environment)
    check_number_of_processes(1, {})
    check_number_of_processes(2, {"WORLD_SIZE": "2", "MASTER_ADDR": "x", "ACCELERATE_MIXED_PRECISION": "no"})
    check_number_of_processes(1, {"WORLD_SIZE": "1", "MASTER_ADDR": "x", "ACCELERATE_MIXED_PRECISION": "no"})
    check_number_of_processes(1, {"SLURM_STEP_NUM_TASKS": "1"})


@pytest.mark.parametrize("name", ["SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "WORLD_SIZE"])
def test_processes_that_do_not_see_each_other_are_refused(name):
    with pytest.raises(ValueError, match=rf"started 4 processes \({name}=4\), but they do not see each other"):
        check_number_of_processes(1, {name: "4"})


def test_the_command_line_refuses_before_anything_is_computed(workshop, capsys, monkeypatch):
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    assert main(["run", str(workshop / "recipe.yaml")]) == 2
    assert "asked for several processes, but started a single one" in capsys.readouterr().err
    assert not (workshop / "run").exists()
