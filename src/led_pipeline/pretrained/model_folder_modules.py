"""Read what sentence-transformers wrote into a model folder, in the keys of a recipe.

A folder saved by sentence-transformers lists in modules.json the steps after the transformer: pooling, a projection,
normalisation; config_sentence_transformers.json has the prompts. A Router has one list of steps for queries and one for
passages.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.recipe.representation import Side

MODULES, SETTINGS, ROUTER = "modules.json", "config_sentence_transformers.json", "router_config.json"
OURS = "led.json"
LEGACY = {"cls_token": "cls", "mean_tokens": "mean", "lasttoken": "lasttoken", "max_tokens": "max"}
LEGACY |= {"mean_sqrt_len_tokens": "mean_sqrt_len_tokens", "weightedmean_tokens": "weightedmean"}
KNOWN = ("Transformer", "MLMTransformer", "Pooling", "Dense", "Normalize", "SpladePooling", "Dropout")
STATIC = "SparseStaticEmbedding"  # a table of query weights
# Names of prompts and of a Router's lists; the first that a folder has counts.
SIDES: dict[Side, tuple[str, ...]] = {"query": ("query",), "passage": ("document", "passage", "corpus")}
FAMILIES = {"CrossEncoder": "ranker", "SparseEncoder": "lexicon", "SentenceTransformer": "dense"}
IDENTITY = ("torch.nn.modules.linear.Identity", "torch.nn.Identity")


@dataclass(frozen=True)
class Module:
    """One step of a model."""

    kind: str  # the name of its class
    path: str  # inside the folder; "" is the folder itself
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Modules:
    """A folder's own description of its model; None or empty where it has none."""

    folder: Path
    steps: tuple[Module, ...]  # of passages, and of queries unless they have their own
    query_steps: tuple[Module, ...] | None = None  # a Router's, if they differ
    family: str = "dense"  # dense, lexicon or ranker
    similarity: str | None = None  # cosine, dot, ...
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    length: int | None = None  # maximum number of tokens

    def first(self, *kinds: str) -> Module | None:
        return next((step for step in self.steps if step.kind in kinds), None)

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(step.kind for step in self.steps)

    @property
    def pooling(self) -> str | None:
        """The pooling in sentence-transformers' words: cls, mean, lasttoken, max, several joined by "+"."""
        step = self.first("Pooling")
        if step is None:
            return None
        if mode := step.config.get("pooling_mode"):
            return mode if isinstance(mode, str) else "+".join(map(str, mode))
        modes = [name for key, name in LEGACY.items() if step.config.get(f"pooling_mode_{key}")]
        return "+".join(modes) or None

    @property
    def without_prompt(self) -> bool:
        """Whether the tokens of the prompt are left out of the pooling."""
        step = self.first("Pooling")
        return step is not None and step.config.get("include_prompt") is False

    def prompt(self, side: Side) -> str:
        """Return what is put before the texts of one side, query or passage."""
        name = next((name for name in SIDES[side] if name in self.prompts), self.default_prompt)
        return self.prompts.get(name, "") if name else ""


def read_modules(folder: Path) -> Modules | None:
    """Return a folder's own description of its model, or None if sentence-transformers did not save it.

    The transformer's subfolder of such a folder (0_Transformer) counts as the folder itself. A folder of ours has
    modules.json, too, but led.json is its description.

    Raises:
        InputError: one of its files cannot be read or does not have the format of sentence-transformers.
    """
    if (folder / OURS).is_file():
        return None
    top = folder if (folder / MODULES).is_file() else folder.absolute().parent
    if not (top / MODULES).is_file():
        return None
    inside = "" if top == folder else folder.name
    lists = _lists(top)
    steps = next((steps for steps in lists if any(_is_transformer(step, inside) for step in steps)), None)
    if steps is None and inside:
        return None
    steps = steps or lists[-1]
    query = lists[0] if len(lists) == 2 and lists[0] != steps else None
    config = json_object(top / SETTINGS)
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise InputError(f"{top / SETTINGS}: prompts: expected an object from name to text")
    family = "lexicon" if any(step.kind == "SpladePooling" for step in steps) else "dense"
    return Modules(
        folder=top,
        steps=steps,
        query_steps=query,
        family=FAMILIES.get(str(config.get("model_type", "")), family),
        similarity=config.get("similarity_fn_name"),
        prompts=prompts,
        default_prompt=config.get("default_prompt_name"),
        length=_length(folder),
    )


def _is_transformer(step: Module, path: str) -> bool:
    return step.kind.endswith("Transformer") and step.path == path


def _lists(top: Path) -> list[tuple[Module, ...]]:
    """Return the steps of a model; of a Router those of queries and those of passages."""
    value = read_json(top / MODULES)
    if not isinstance(value, list) or not all(
        isinstance(module, dict) and isinstance(module.get("type"), str) and isinstance(module.get("path"), str)
        for module in value
    ):
        raise InputError(f"{top / MODULES}: expected a list of modules, each with a type and a path")
    modules = [(module["type"], _inside(top / MODULES, module["path"])) for module in value]
    if not modules or not modules[0][0].endswith(".Router"):
        return [_steps(top, modules)]
    before = PurePosixPath(modules[0][1])
    router = json_object(top / before / ROUTER)
    types, structure = router.get("types"), router.get("structure")
    if not isinstance(types, dict) or not isinstance(structure, dict):
        raise InputError(f"{top / before / ROUTER}: expected the objects `types` and `structure`")
    lists = []
    for side in SIDES:
        names = next((structure[name] for name in SIDES[side] if name in structure), None)
        if not isinstance(names, list) or not all(isinstance(name, str) and name in types for name in names):
            raise InputError(f"{top / before / ROUTER}: structure: expected a list of modules for {SIDES[side][0]}")
        parts = [(str(types[name]), _inside(top / before / ROUTER, str(before / name))) for name in names]
        lists.append(_steps(top, [*parts, *modules[1:]]))
    return lists


def _inside(file: Path, text: str) -> str:
    """Return the path of a module, relative to the folder; "" is the folder itself."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"{file}: path: '{path}' leads out of the folder")
    return "" if text in ("", ".") else text


def _steps(top: Path, modules: Sequence[tuple[str, str]]) -> tuple[Module, ...]:
    return tuple(
        Module(kind.rpartition(".")[2], path, json_object(top / path / "config.json") if path else {})
        for kind, path in modules
    )


def json_object(path: Path) -> dict[str, Any]:
    """Return the object in a file, empty if there is no such file."""
    value = read_json(path) if path.is_file() else {}
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected an object of keys and values, got a {type(value).__name__}")
    return value


def _length(folder: Path) -> int | None:
    """Return the maximum number of tokens: the model's own, or else its tokenizer's, within its positions."""
    most = _size(folder / "sentence_bert_config.json", "max_seq_length")
    files = {"tokenizer_config.json": "model_max_length", "config.json": "max_position_embeddings"}
    sizes = [_size(folder / name, key) for name, key in files.items()] if most is None else [most]
    return min((size for size in sizes if size is not None), default=None)


def _size(path: Path, key: str) -> int | None:
    """Return a number of tokens; transformers writes 1e30 where there is no limit."""
    value: Any = json_object(path).get(key)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return int(value) if number and 0 < value < 1e9 else None


def unsupported_steps(modules: Modules) -> Iterator[str]:
    """Yield the kinds of steps that no key of a recipe can express."""
    yield from (kind for kind in modules.kinds if kind not in KNOWN)


def table_of_queries(modules: Modules) -> Module | None:
    """Return the step that gives queries their weights without inference, if there is one."""
    steps = modules.query_steps or ()
    return steps[0] if len(steps) == 1 and steps[0].kind == STATIC else None


def stored_projection(folder: Path, size: int) -> Path | None:
    """Return the file with the weights of a model's plain projection to `size` dimensions, if it has one.

    Raises:
        InputError: the folder's description cannot be read, or the file is not there.
    """
    modules = read_modules(folder)
    step = modules.first("Dense") if modules else None
    if modules is None or step is None or not plain_projection(step) or step.config["out_features"] != size:
        return None
    return _weights(modules.folder, step)


def stored_table(folder: Path) -> Path | None:
    """Return the file with a model's query weights by id, if it has a static query encoder.

    Raises:
        InputError: the folder's description cannot be read, or the file is not there.
    """
    modules = read_modules(folder)
    step = table_of_queries(modules) if modules else None
    return _weights(modules.folder, step) if modules and step else None


def _weights(top: Path, step: Module) -> Path:
    files = [top / step.path / name for name in ("model.safetensors", "pytorch_model.bin")]
    if (file := next((file for file in files if file.is_file()), None)) is None:
        raise InputError(
            f"{files[0]}: no such file, and {MODULES} or {ROUTER} names the module {step.path}; copy or download the"
            " complete folder again"
        )
    return file


def plain_projection(step: Module) -> bool:
    """Return whether a Dense module is a linear projection without bias, activation or residual."""
    activation = step.config.get("activation_function")
    return (
        step.config.get("bias") is False
        and activation in IDENTITY
        and not step.config.get("use_residual")
        and step.config.get("module_input_name", "sentence_embedding") == "sentence_embedding"
        and isinstance(step.config.get("out_features"), int)
    )
