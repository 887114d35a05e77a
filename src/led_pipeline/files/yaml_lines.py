"""Read YAML with PyYAML's safe loader, within limits, refusing duplicate keys; errors name the line.

An alias is one object in memory, but traversing the document visits it at every reference: a few hundred bytes of
nested aliases expand to more values than any program can visit. So a value counts once per reference, and an alias
that contains itself is refused.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from led_pipeline.files.errors import InputError
from led_pipeline.files.limits import limits, over
from led_pipeline.files.reading import read_text, reading

# Raised by PyYAML's constructors for a value that does not fit its tag, such as `!!int x`.
_BAD_VALUE = (ValueError, TypeError, KeyError, IndexError, AttributeError)


class _Loader(yaml.SafeLoader):
    """A safe loader that counts what it reads."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0
        self._sizes: dict[int, int] = {}  # number of values in a finished node, by the node's id

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        mark: yaml.Mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]  # the stub has no types
        alias = self.check_event(yaml.AliasEvent)
        self._depth += 1
        if self._depth > limits().nesting:
            raise yaml.MarkedYAMLError(problem=f"nested values, {over('nesting')}", problem_mark=mark)
        node = super().compose_node(parent, index)
        assert node is not None  # the stub's None means an empty document, which has no nodes to compose
        self._depth -= 1
        if alias and id(node) not in self._sizes:
            raise yaml.MarkedYAMLError(problem="an alias that contains itself", problem_mark=mark)
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
    """Return the value of a YAML file's only document, None if it is empty.

    Raises:
        InputError: the file cannot be read, it is not YAML, a mapping has a duplicate key, or a limit is exceeded.
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
    """Yield a sentence per duplicate key in a mapping of a YAML file; PyYAML would silently keep the last one."""
    return _repeated(path, _composed(path, read_text(path, "a YAML file", "config")))


def _composed(path: Path | str, text: str) -> yaml.Node | None:
    with _lines(path):
        return _Loader(text).get_single_node()


@contextmanager
def _lines(path: Path | str) -> Iterator[None]:
    """Turn PyYAML's errors into an `InputError` that names the line."""
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
    visited: set[int] = set()  # ids of nodes, since aliases share them
    while nodes:
        prefix, node = nodes.pop()
        if id(node) in visited:
            continue
        visited.add(id(node))
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
                    first = lines[key.value]
                    yield f"{path}:{line}: {name}: duplicate key, already in line {first}; rename or remove one"
                lines[key.value] = line
                nodes.append((name, child))
