"""YAML of other people's: no code, no alias that stands for billions, no depth that ends the process."""

from __future__ import annotations

from typing import Any

import yaml

_MOST_VALUES = 100_000
_LONGEST = 1_000_000
# PyYAML's own errors, and what it raises where a value does not fit its explicit tag (`!!bool maybe`) or nesting is too deep.
_ERRORS = (yaml.YAMLError, ValueError, KeyError, IndexError, AttributeError, TypeError, RecursionError)


class BoundedLoader(yaml.SafeLoader):
    """Safe YAML in which an alias counts as a copy of what it stands for."""

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None:
            _expanded_size(node, {}, ())
        return node


def parse_yaml(text: str, what: str, loader: type[yaml.SafeLoader] = BoundedLoader) -> Any:
    """The value of a YAML text.

    Args:
        text: the text.
        what: what the message begins with: `recipe.yaml is not a YAML file`.
        loader: a subclass of `BoundedLoader`.

    Raises:
        ValueError: if it is not YAML, or stands for more than any file of ours holds.
    """
    if len(text) > _LONGEST:
        raise ValueError(f"{what}: it has more than {_LONGEST:,} characters.")
    try:
        return yaml.load(text, loader)
    except _ERRORS as error:
        raise ValueError(f"{what}: {error}") from None


def _expanded_size(node: yaml.Node, known: dict[int, int], above: tuple[int, ...]) -> int:
    """Values below a node where every alias stands for a copy.

    Raises:
        ValueError: if an anchor contains itself, or ten lines of aliases stand for more than any file holds.
    """
    line = node.start_mark.line + 1
    if id(node) in above:
        raise ValueError(f"line {line}: the anchor here contains itself.")
    if id(node) not in known:
        children: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            children = node.value
        elif isinstance(node, yaml.MappingNode):
            children = [child for pair in node.value for child in pair]
        known[id(node)] = 1 + sum(_expanded_size(child, known, (*above, id(node))) for child in children)
    if known[id(node)] > _MOST_VALUES:
        raise ValueError(f"line {line}: more than {_MOST_VALUES:,} values, aliases counted as often as they are there.")
    return known[id(node)]
