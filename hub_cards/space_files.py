"""The files of a Space where a pushed student can be tried out."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from modeling_optical import __version__
from modeling_optical.checkpoints.names import PACKAGE_PREFIX, is_hub_id, resolve_model_path

from .languages import language_name
from .markdown import literal, render
from .publishing import Push, check_repo_id
from .space.engine import SETTINGS_FILE, DemoSettings

SPACE = Path(__file__).parent / "space"
_OLDEST_GRADIO = "6.0.0"
_NOTES = [
    f"the Space installs modeling-optical {__version__} from the package index. While it is not there, make a wheel "
    "(`pip wheel . --no-deps` in a clone), upload it to the Space, and name the file in requirements.txt instead.",
    "a Space reads a private model only with a token: set the secret HF_TOKEN in its settings.",
]


def plan_space(model_id: str, settings: DemoSettings, *, licence: str | None = None) -> Push:
    """A Space `MODEL_ID-demo` over a model of the Hub.

    Args:
        model_id: the student's name on the Hub.
        settings: of the demo; its students are replaced by the model.
        licence: one sentence on the documents.

    Raises:
        ValueError: if the teacher is a folder of this machine, which the Space could not load.
    """
    repo_id = f"{model_id}-demo"
    check_repo_id(repo_id)
    teacher = settings.teacher
    if teacher is not None and not teacher.startswith(PACKAGE_PREFIX) and not is_hub_id(teacher):
        raise ValueError(
            f"the Space could not load the teacher {teacher}, a folder of this machine: push it and name its Hub id."
        )
    languages = list(settings.students)
    remote = DemoSettings(dict.fromkeys(languages, model_id), teacher, "corpus.jsonl", None, settings.examples)
    card = render(
        SPACE / "README.md.jinja",
        title=literal(f"{model_id.partition('/')[2]} demo"),
        gradio_version=_gradio_version(),
        model=model_id,
        languages=[language_name(code) for code in languages],
        licence=licence,
    )
    files: dict[str, Path | bytes] = {
        "README.md": card.encode(),
        "app.py": SPACE / "app.py",
        "requirements.txt": requirements(teacher).encode(),
        SETTINGS_FILE: remote.save().encode(),
    }
    if settings.corpus is not None:
        files["corpus.jsonl"] = Path(settings.corpus)
    return Push(repo_id, files, card, notes=_NOTES, repo_type="space")


def requirements(teacher: str | None) -> str:
    """The Space's own requirements: this package, and the one that a teacher named `package:…` comes in."""
    lines = [f"modeling-optical=={__version__}"]
    if teacher is not None and teacher.startswith(PACKAGE_PREFIX):
        resolve_model_path(teacher)  # a name that came with the student: of an installed package, or refused
        module = teacher.removeprefix(PACKAGE_PREFIX).partition("/")[0]
        package = metadata.packages_distributions().get(module, [module])[0]
        lines.append(f"{package}=={metadata.version(package)}")
    return "\n".join(lines) + "\n"


def _gradio_version() -> str:
    try:
        return metadata.version("gradio")
    except metadata.PackageNotFoundError:
        return _OLDEST_GRADIO
