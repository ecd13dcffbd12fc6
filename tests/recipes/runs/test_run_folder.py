"""A run writes into an empty folder or its own, and nowhere else."""

import pytest

from recipes.runs.run_folder import RECORD_HEAD, claim_folder, is_run

WRITTEN = ("student", "results.json")


def claim(folder, recipe="seed: 0\n", *, begun=False, overwrite=False):
    claim_folder(folder, recipe, begun=begun, overwrite=overwrite, written=WRITTEN)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["recipe.yaml", "student/weights", "report.md", "notes.txt", ".git/HEAD", "model/x"])
def test_a_folder_with_files_of_somebody_else_is_refused_and_left_alone(tmp_path, name, overwrite):
    file = tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("seed: 0\n")
    with pytest.raises(ValueError, match="is not empty and holds no run"):
        claim(tmp_path, overwrite=overwrite)
    assert file.read_text() == "seed: 0\n"
    assert [path.name for path in tmp_path.iterdir()] == [name.split("/")[0]]


def test_an_empty_folder_and_one_that_is_not_there_are_taken(tmp_path):
    for folder in (tmp_path, tmp_path / "a" / "b"):
        assert not is_run(folder)
        claim(folder)
        assert is_run(folder)


def test_a_study_may_have_noted_the_run_before_it_begins(tmp_path):
    for name in ("log.txt", "cell.json"):
        (tmp_path / name).write_text("{}")
    claim(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cell.json", "log.txt", "recipe.yaml"]


def test_a_run_goes_on_in_its_folder_and_another_recipe_is_refused_once_it_has_begun(tmp_path):
    claim(tmp_path)
    claim(tmp_path, begun=True)
    claim(tmp_path, "seed: 1\n")
    with pytest.raises(ValueError, match=r"another recipe \(different: seed\)"):
        claim(tmp_path, begun=True)
    assert (tmp_path / "recipe.yaml").read_text() == RECORD_HEAD + "seed: 1\n"


def test_overwrite_removes_what_a_run_writes_and_nothing_else(tmp_path):
    claim(tmp_path)
    for name in (*WRITTEN, "notes.txt"):
        (tmp_path / name).write_text("x")
    claim(tmp_path, "seed: 1\n", begun=True, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "recipe.yaml"]


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is a file"):
        claim(tmp_path / "file")
