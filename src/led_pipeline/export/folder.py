"""The folder of an export: one subfolder per format, export.json and README.md, complete or not there at all."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from led_pipeline.export.formats import chosen
from led_pipeline.export.options import Options, Written
from led_pipeline.export.source import Source
from led_pipeline.files.atomic import atomic, tree_bytes, write_json
from led_pipeline.files.errors import InputError
from led_pipeline.versions import installed

NOTE, README = "export.json", "README.md"


def check_target(out: Path) -> None:
    """Check that an export can become this folder: a new or an empty one.

    Raises:
        InputError: it is a file, the working directory, or a folder with something in it.
    """
    if out.is_dir():
        if out.resolve() == Path.cwd():
            raise InputError(f"--to: '{out}' is the working directory; name a new folder in it")
        names = sorted(path.name for path in out.iterdir())
        if names:
            others = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(
                f"--to: {out} is not empty ({names[0]}{others}); name a new folder, or remove this one first"
            )
    elif out.exists() or out.is_symlink():
        raise InputError(f"--to: '{out}' is a file; name a new folder")


def export(source: Source, formats: Sequence[str], out: Path, options: Options) -> dict[str, Any]:
    """Write a system in some formats and return the note about them (export.json).

    Raises:
        InputError: the folder is in use, a format does not fit, or a file or package is missing; then nothing is left.
    """
    check_target(out)
    wanted_formats = chosen(formats, source)
    written: dict[str, Written] = {}
    with atomic(out) as folder:
        folder.mkdir()
        for name, form in wanted_formats.items():
            (folder / name).mkdir()
            print(f"{source.system}: {name} ...", flush=True)
            written[name] = form.write(source, folder / name, options)
            measured = {"bytes": tree_bytes(folder / name)} | written[name].measured
            print(*lines(measured), sep="\n", flush=True)
        note = about(source) | {
            "formats": {n: {"bytes": tree_bytes(folder / n)} | each.measured for n, each in written.items()}
        }
        write_json(folder / NOTE, note)
        (folder / README).write_text(readme(source, note, written), encoding="utf-8")
    return note


def lines(measured: dict[str, Any], indent: str = "  ") -> list[str]:
    """Return one line per number, nested ones below their heading."""
    texts = []
    for key, value in measured.items():
        name = key.replace("_", " ")
        if isinstance(value, dict):
            texts += [f"{indent}{name}:", *lines(value, f"{indent}  ")]
        else:
            texts.append(f"{indent}{name}: {f'{value:,}' if isinstance(value, int) else value}")
    return texts


def about(source: Source) -> dict[str, Any]:
    """Return what was exported and from which run."""
    return {
        "stage": source.system,
        "kind": source.kind,
        "dataset": source.recipe.dataset.name,
        "passages": source.passage_count(),
        "model": source.model_digest(),
        "measured_on": source.split,
        "versions": installed(),
    }


def readme(source: Source, note: dict[str, Any], written: dict[str, Written]) -> str:
    """Return the text of README.md: a section per format."""
    title = "BM25" if source.kind == "bm25" else f"The {source.kind} stage `{source.system}`"
    parts = [
        f"# {title} of the dataset `{source.recipe.dataset.name}`\n",
        f"Written by `led export`; {NOTE} has the model's digest, the versions and everything measured. The commands"
        " below run in this folder.\n",
    ]
    for name, each in written.items():
        numbers = json.dumps(note["formats"][name], indent=2, ensure_ascii=False)
        parts.append(f"## {name}\n\n{each.readme.strip()}\n\nMeasured:\n\n```json\n{numbers}\n```\n")
    return "\n".join(parts)
