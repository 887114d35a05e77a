"""The formats of an export: for which kinds of systems, from which files, and the function that writes each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from led_pipeline.export.options import Options, Written
from led_pipeline.export.source import Input, Kind, Source
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.errors import nearest

Write = Callable[[Source, Path, Options], Written]


@dataclass(frozen=True)
class Format:
    """One format; `module` has the function `write`, and is imported only when the format is written."""

    module: str
    kinds: tuple[Kind, ...]
    inputs: tuple[Input, ...]
    packages: tuple[str, ...] = ()
    extra: str = ""
    """the optional dependencies of led-pipeline with these packages"""

    def write(self, source: Source, folder: Path, options: Options) -> Written:
        """Write the format into an existing, empty folder."""
        function: Write = import_module(f"led_pipeline.export.{self.module}").write
        return function(source, folder, options)


_DENSE: tuple[Input, ...] = ("passages", "vectors", "queries", "query vectors")
_ONNX = ("onnx", "onnxruntime", "onnxscript")
FORMATS: dict[str, Format] = {
    "flat": Format("flat", ("dense",), _DENSE, ("faiss",), "cpu"),
    "hnsw": Format("hnsw", ("dense",), _DENSE, ("faiss",), "cpu"),
    "ivfpq": Format("ivfpq", ("dense",), _DENSE, ("faiss",), "cpu"),
    "lucene": Format("lucene", ("lexicon", "bm25"), ("passages", "queries")),
    "jsonl": Format("jsonl", ("lexicon",), ("passages", "vectors", "model")),
    "opensearch": Format("opensearch", ("lexicon",), ("passages", "vectors", "model")),
    "npz": Format("npz", ("lexicon",), ("passages", "vectors", "model")),
    "onnx": Format("onnx", ("dense", "lexicon", "ranker"), ("passages", "queries", "model"), _ONNX, "onnx"),
    "onnx-int8": Format("onnx_int8", ("dense", "lexicon", "ranker"), ("passages", "queries", "model"), _ONNX, "onnx"),
    "model": Format("model", ("dense", "lexicon", "ranker"), ("passages", "model"), ("sentence_transformers",)),
}
DEFAULT: dict[Kind, str] = {"dense": "flat", "lexicon": "lucene", "ranker": "onnx", "bm25": "lucene"}


def _to_install(form: Format) -> str:
    extra = f"'led-pipeline[{form.extra}]'"
    return extra if form.extra else " ".join(package.replace("_", "-") for package in form.packages)


def of_kind(kind: Kind) -> list[str]:
    """Return the names of the formats for one kind of systems."""
    return [name for name, each in FORMATS.items() if kind in each.kinds]


def chosen(names: Sequence[str], source: Source) -> dict[str, Format]:
    """Return the formats of these names, each once; without names, the usual one of the system's kind.

    Raises:
        InputError: there is no such format, it does not fit the system, a package is missing, or a file of the run.
    """
    names = list(dict.fromkeys(names)) or [DEFAULT[source.kind]]
    fitting = ", ".join(of_kind(source.kind))
    for name in names:
        if name not in FORMATS:
            raise InputError(f"--formats: no format '{name}'{nearest(name, FORMATS)}; {source.system} has {fitting}")
        if source.kind not in FORMATS[name].kinds:
            kinds = " and ".join(FORMATS[name].kinds)
            what_it_is = "BM25" if source.kind == "bm25" else f"a {source.kind} stage"
            raise InputError(
                f"--formats: {name} is for {kinds} stages, and {source.system} is {what_it_is}, which has {fitting}"
            )
        missing = [package for package in FORMATS[name].packages if find_spec(package) is None]
        if missing:
            raise InputError(
                f"--formats: {name} needs the package{'s' * (len(missing) > 1)} {', '.join(missing)}; install with"
                f" `pip install {_to_install(FORMATS[name])}`"
            )
    for name in names:
        inputs = FORMATS[name].inputs
        if name == "lucene" and source.kind == "lexicon":
            inputs = (*inputs, "vectors", "query vectors", "model")
        source.check(inputs)
    return {name: FORMATS[name] for name in names}
