"""Plain English: words and names that readers stumble over, in code, comments, docs and messages; part of `make lint`.

Run as `python tests/plain_english.py [FILE OR FOLDER...]`; without arguments it reads the whole project. It prints one
line per fault and ends with status 1 if there is any.
"""

import ast
import re
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
EVERYTHING = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "Snakefile", "pyproject.toml"]
EVERYTHING += ["benchmarks", "config", "docs", "envs", "profiles", "src", "tests", "workflow", ".github"]
TEXT_SUFFIXES = {".md", ".yaml", ".yml", ".toml", ".smk", ".sh", ".j2", ".txt", ""}
# Old verbs and filler; people say is, has, holds, again, that many.
WORDS = re.compile(r"\b(stands?|stood|standing|lies|lie|lain|lying|anew|so many|shall|upon|thereof|whereby)\b", re.I)
# Participles and pronouns that name no thing; a name says what the value is.
NAMES = {
    *("asked", "called", "found", "given", "gone", "here", "kept", "known", "left_over", "listed", "made", "meant"),
    *("named", "needed", "own", "own_code", "said", "seen", "shown", "taken", "theirs", "there", "told", "wanted"),
    *("what", "which"),
}
HERE = Path(__file__).resolve()


def python_texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of every comment and string of a Python file."""
    for token in tokenize.generate_tokens(iter(source.splitlines(keepends=True)).__next__):
        if token.type in (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)):
            for offset, line in enumerate(token.string.splitlines()):
                yield token.start[0] + offset, line


def bound_names(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the name of everything that a Python file binds: variables, parameters, functions, fields."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.lineno, node.name


def faults(path: Path) -> Iterator[str]:
    """Yield one line per word or name of a file that has a plainer one."""
    source = path.read_text(encoding="utf-8")
    is_python = path.suffix == ".py"
    for number, text in python_texts(source) if is_python else enumerate(source.splitlines(), 1):
        for word in WORDS.findall(text):
            yield f"{path}:{number}: '{word}': say it in plain words: {text.strip()[:90]}"
    for number, name in bound_names(source) if is_python else ():
        if name.strip("_") in NAMES:
            yield f"{path}:{number}: the name '{name}' says nothing about the value"


def files(arguments: list[str]) -> Iterator[Path]:
    for path in map(Path, arguments):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            readable = file.suffix in TEXT_SUFFIXES | {".py"} and file.is_file() and "lock" not in file.parts
            if readable and file.resolve() != HERE and not {"__pycache__", ".snakemake"} & set(file.parts):
                yield file


def main() -> int:
    everything = [str(ROOT / name) for name in EVERYTHING if (ROOT / name).exists()]
    lines = [line for path in files(sys.argv[1:] or everything) for line in faults(path)]
    print("\n".join(lines), end="\n" if lines else "")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
