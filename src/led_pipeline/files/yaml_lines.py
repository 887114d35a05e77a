"""YAML: recipes and lists as PyYAML's safe loader reads them, within limits, and no key twice.

An alias is one object in memory, but who walks through the values meets it once for each place it is named in: a few
hundred bytes of aliases of aliases are more than any program can walk through. So a value counts as often as it is
named. An alias inside of what it stands for has no end and is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from led_pipeline.files.errors import InputError
from led_pipeline.files.limits import limits, over
from led_pipeline.files.reading import read_text, reading

# What PyYAML's constructors let through of a value that is not of the type it is said to be, such as `!!int x`.
_BAD_VALUE = (ValueError, TypeError, KeyError, IndexError, AttributeError)


class _Loader(yaml.SafeLoader):
    """A safe loader that counts what it reads."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[int, int] = {}  # values that a finished node stands for, by its id

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        mark = self.peek_event().start_mark
        alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._depth > limits().nesting:
            raise yaml.MarkedYAMLError(problem=f"values inside one another, {over('nesting')}", problem_mark=mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if alias and id(node) not in self._sizes:
            raise yaml.MarkedYAMLError(problem="an alias inside of what it stands for", problem_mark=mark)
        if not alias:
            self._sizes[id(node)] = self._size(node)
        if self._sizes[id(node)] > limits().entries:
            raise yaml.MarkedYAMLError(problem=f"values, aliases included, {over('entries')}", problem_mark=mark)
        return node

    def _size(self, node: yaml.Node) -> int:
        if isinstance(node, yaml.ScalarNode):
            return 1
        children = node.value if isinstance(node, yaml.SequenceNode) else [n for pair in node.value for n in pair]
        return 1 + sum(self._sizes[id(child)] for child in children)


def read_yaml(path: Path | str, expected: str = "a YAML file") -> Any:
    """Return what the one document of a YAML file says, None if it is empty.

    Raises:
        InputError: it cannot be read, it is no YAML, a key comes twice in one mapping, or a limit is passed.
    """
    text = read_text(path, expected, "config")
    root = _composed(path, text)
    if faults := list(_repeated(path, root)):
        raise InputError("\n".join(faults))
    if root is None:
        return None
    with reading(path, "values of their types", also=_BAD_VALUE), _lines(path):
        return _Loader(text).construct_document(root)


def repeated_keys(path: Path | str) -> Iterator[str]:
    """Yield a sentence per key that stands twice in one mapping of a YAML file; its parser would keep the last one."""
    return _repeated(path, _composed(path, read_text(path, "a YAML file", "config")))


def _composed(path: Path | str, text: str) -> yaml.Node | None:
    with _lines(path):
        return _Loader(text).get_single_node()


@contextmanager
def _lines(path: Path | str) -> Iterator[None]:
    """Name the line of what PyYAML finds."""
    try:
        yield
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise InputError(f"{path}:{line}: not valid YAML ({error.problem or error.context})") from error
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error


def _repeated(path: Path | str, root: yaml.Node | None) -> Iterator[str]:
    nodes = [("", root)] if root else []
    seen: set[int] = set()
    while nodes:
        prefix, node = nodes.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            nodes += [(f"{prefix}[{i}]", child) for i, child in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, child in node.value:
                line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    yield f"{path}:{line}: a key that is a list or a mapping, expected a word"
                    continue
                name = f"{prefix}.{key.value}".lstrip(".")
                if key.value in lines:
                    yield f"{path}:{line}: {name} stands already in line {lines[key.value]}, rename or remove one"
                lines[key.value] = line
                nodes.append((name, child))
