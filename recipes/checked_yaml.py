"""Recipes as YAML: reading with line numbers, overriding by `key=value`, checking every key and value against dataclasses."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from modeling_optical.files.bounded_yaml import BoundedLoader, parse_yaml

PACKAGE_FOLDER = Path(__file__).resolve().parent


class _Loader(BoundedLoader):
    """Safe YAML in which `1e-4` is a number, and a key that appears twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise ValueError(f"line {line}: a key must be a word; text with braces or brackets needs quotes.")
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise ValueError(f"line {line}: the key {key!r} appears twice.")
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)
# Only true and false are booleans: `no` is the code of Norwegian.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads: with its resolvers, so that a text that looks like its numbers is quoted."""


# Both its resolvers and YAML's own: the file means the same to other readers.
_Dumper.yaml_implicit_resolvers = {
    first: [*_Loader.yaml_implicit_resolvers.get(first, []), *yaml.SafeDumper.yaml_implicit_resolvers.get(first, [])]
    for first in {**_Loader.yaml_implicit_resolvers, **yaml.SafeDumper.yaml_implicit_resolvers}
}


def find_recipe(path: str) -> Path:
    """A recipe file here, or of the same name among those that are installed with the package.

    Raises:
        FileNotFoundError: listing the installed ones.
    """
    here = Path(path).expanduser()
    if here.is_file():
        return here
    installed = PACKAGE_FOLDER / str(path).removeprefix("recipes/")
    if installed.is_file():
        return installed
    known = sorted(f"recipes/{p.relative_to(PACKAGE_FOLDER)}" for p in PACKAGE_FOLDER.rglob("*.yaml"))
    raise FileNotFoundError(f"recipe {path!r} does not exist. Installed recipes: {', '.join(known)}.")


def read_values(path: str | Path, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], Path]:
    """Plain values of a recipe file with `key=value` overrides applied, and where the file is.

    Raises:
        FileNotFoundError: as `find_recipe`. ValueError: naming the file.
    """
    path = find_recipe(str(path))
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a YAML file: {error}") from None
    values = parse_yaml(text, f"{path} is not a YAML file", _Loader)
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds no recipe: a mapping of keys is expected.")
    for item in overrides:
        override(values, item)
    return values, path


def write_values(values: Mapping[str, Any]) -> str:
    """Plain values as YAML."""
    return yaml.dump(dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def substitute(value: Any, names: Mapping[str, str | None]) -> Any:
    """The value with `{name}` in every text replaced.

    Raises:
        ValueError: for a name that is not known, or not set.
    """
    if isinstance(value, dict):
        return {key: substitute(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [substitute(item, names) for item in value]
    if not isinstance(value, str):
        return value

    def replacement(match: re.Match) -> str:
        name = match.group(1)
        if name not in names:
            raise ValueError(f"{value!r}: {{{name}}} is not known. Known: {', '.join(f'{{{n}}}' for n in names)}.")
        if names[name] is None:
            raise ValueError(f"`{name}` is not set: give it on the command line, {name}=FOLDER.")
        return str(names[name])

    return re.sub(r"\{([\w.-]+)\}", replacement, value)


def override(values: dict[str, Any], item: str) -> None:
    """Sets one key, given as `key=value`, in plain values.

    Raises:
        ValueError: if it has another form or names no place.
    """
    key, separator, text = item.partition("=")
    if not separator or not key:
        raise ValueError(f"override {item!r}: the form is key=value, for instance training.learning_rate=1e-4.")
    set_key(values, key, parse_yaml(text, f"override {item!r}: the value is not YAML", _Loader), item)


def set_key(values: dict[str, Any], key: str, value: Any, item: str) -> None:
    """Sets `a.b.c` in plain values; `item` is what the user wrote, for messages.

    Raises:
        ValueError: if the key names no place.
    """
    here: Any = values
    *parents, last = re.sub(r"\[(\d+)\]", r".\1", key).split(".")  # `bitext[0]` is `bitext.0`
    for parent in parents:
        if isinstance(here, list):
            here = _item(here, parent, item)
            continue
        if here.get(parent) is None:
            here[parent] = {}
        here = here[parent]
        if not isinstance(here, (dict, list)):
            raise ValueError(f"override {item!r}: {parent!r} is a single value, it has no keys below it.")
    if isinstance(here, list):
        _item(here, last, item)
        here[int(last)] = value
    else:
        here[last] = value


def merged(values: Any, changes: Any) -> Any:
    """Plain values with changes laid over them: mappings key by key, anything else is replaced."""
    if not isinstance(values, Mapping) or not isinstance(changes, Mapping):
        return deepcopy(changes)
    both = {key: merged(values[key], change) if key in values else deepcopy(change) for key, change in changes.items()}
    return {key: deepcopy(value) for key, value in values.items()} | both


def _item(values: list[Any], index: str, override: str) -> Any:
    if not index.isdigit() or int(index) >= len(values):
        raise ValueError(f"override {override!r}: {index!r} is not a position from 0 to {len(values) - 1} in that list.")
    return values[int(index)]


def check_type(kind: Any, value: Any, where: str) -> None:
    """Raises a ValueError that names the key if a plain value is not of the type."""
    build(kind, value, where)


def build(kind: Any, value: Any, where: str) -> Any:
    """Checks a plain value against a type and builds dataclasses from mappings."""
    name = where or "the recipe"
    if dataclasses.is_dataclass(kind):
        if isinstance(value, kind):  # type: ignore[arg-type]
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"{name} must be a mapping of keys; got {value!r}.")
        hints = typing.get_type_hints(kind)
        known = {f.name: f for f in dataclasses.fields(kind)}
        for key in value:
            if key not in known:
                raise ValueError(unknown_key(f"{where}.{key}" if where else str(key), str(key), known, _below(kind, where)))
        missing = [
            key
            for key, f in known.items()
            if key not in value and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        ]
        if missing:
            raise ValueError(f"{name} lacks the key {missing[0]!r}.")
        built = {key: build(hints[key], item, f"{where}.{key}" if where else key) for key, item in value.items()}
        try:
            return kind(**built)  # type: ignore[operator]
        except ValueError as error:
            # Some options' messages begin with the key already.
            raise ValueError(str(error) if str(error).startswith(f"{name}.") else f"{name}: {error}") from None
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        options = [option for option in arguments if option is not type(None)]
        if len(options) == 1:
            return build(options[0], value, where)
        for option in options:
            try:
                return build(option, value, where)
            except ValueError:
                continue
        raise ValueError(f"{name} is {value!r}; expected {' or '.join(_type_name(option) for option in options)}.")
    if origin is list:
        if not isinstance(value, list):
            raise ValueError(f"{name} must be a list; got {value!r}.")
        return [build(arguments[0], item, f"{where}.{index}") for index, item in enumerate(value)]
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{name} must be a mapping of keys; got {value!r}.")
        return {str(key): build(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is Any:
        return deepcopy(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
        raise ValueError(f"{name} is {value!r}; expected {_type_name(kind)}.")
    return value


def _below(kind: Any, where: str) -> dict[str, str]:
    """Keys of the options below a dataclass, each with its dotted place; of several places, the first.

    A field that is a plain mapping may name the dataclass of its keys in its metadata, as `arguments`.
    """
    found: dict[str, str] = {}
    for f in dataclasses.fields(kind):
        hint = typing.get_type_hints(kind)[f.name]
        place = f"{where}.{f.name}" if where else f.name
        inner = next((one for one in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(one)), None)
        deeper = {}
        if inner is not None:
            place += ".0" if typing.get_origin(hint) is list else ""
            deeper = _below(inner, place)
        keys = dataclasses.fields(inner or f.metadata["arguments"]) if inner or "arguments" in f.metadata else ()
        found = deeper | {key.name: f"{place}.{key.name}" for key in keys if not key.name.startswith("_")} | found
    return found


def unknown_key(where: str, key: str, known: typing.Iterable[str], below: Mapping[str, str] | None = None) -> str:
    """A sentence about an unknown key that names the nearest known one.

    Args:
        where: its place.
        key: the key.
        known: keys of this place.
        below: keys of the options below it, with their places.
    """
    known, below = list(known), below or {}
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.75)
    deeper = [] if nearest else difflib.get_close_matches(key, below, n=1, cutoff=0.85)
    nearest = [below[deeper[0]]] if deeper else nearest or difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    listed = "" if deeper or (nearest and len(known) > 30) else f" Known here: {', '.join(sorted(known))}."
    return f"unknown key `{where}`.{hint}{listed}"


def _type_name(kind: Any) -> str:
    names = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    generic: dict[Any, str] = {list: "a list", dict: "a mapping of keys"}
    return names.get(kind) or generic.get(typing.get_origin(kind)) or str(getattr(kind, "__name__", kind))


def fill_in_names(recipe: Any) -> Any:
    """The recipe with `{name}`, `{language}` and `{paths.NAME}` in its texts replaced by the recipe's values.

    Raises:
        ValueError: for a name that is not known, or not set.
    """
    names: dict[str, str | None] = {"name": recipe.name, "language": recipe.language}
    names |= {f"paths.{name}": substitute(value, names) for name, value in recipe.paths.items()}
    names["name"] = substitute(recipe.name, names)
    return build(type(recipe), substitute(recipe.to_dict(), names), "")
