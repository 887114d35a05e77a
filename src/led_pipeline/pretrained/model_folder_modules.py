"""Read sentence-transformers' description of a model folder, and find where a recipe contradicts it.

A folder saved by sentence-transformers lists in modules.json the steps after the transformer: pooling, a projection,
normalisation; config_sentence_transformers.json has the prompts. In a recipe, keys of a stage say the same. If they
differ, the model would be used differently from its training, so `contradictions` names the key and both values.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from led_pipeline import user_code
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.recipe.representation import DenseRepresentation, LexiconRepresentation, Side, Start
from led_pipeline.recipe.step_settings import ModelSettings

MODULES, SETTINGS = "modules.json", "config_sentence_transformers.json"
OURS = "led.json"
POOLINGS = {"cls": "cls", "mean": "mean", "lasttoken": "last"}  # sentence-transformers' name -> the recipe's
LEGACY = {"cls_token": "cls", "mean_tokens": "mean", "lasttoken": "lasttoken", "max_tokens": "max"}
LEGACY |= {"mean_sqrt_len_tokens": "mean_sqrt_len_tokens", "weightedmean_tokens": "weightedmean"}
ACTIVATIONS = {"relu": "log1p", "log1p_relu": "log1p_twice"}
KNOWN = ("Transformer", "MLMTransformer", "Pooling", "Dense", "Normalize", "SpladePooling", "Dropout")
# Names of prompts; the first that a folder has counts.
SIDES: dict[Side, tuple[str, ...]] = {"query": ("query",), "passage": ("document", "passage", "corpus")}
FAMILIES = {"CrossEncoder": "ranker", "SparseEncoder": "lexicon", "SentenceTransformer": "dense"}
REINTERPRET = "; or set reinterpret: true to use it that way on purpose"


@dataclass(frozen=True)
class Modules:
    """A folder's own description of its model; None or empty where it has none."""

    folder: Path
    family: str  # dense, lexicon or ranker
    # In sentence-transformers' words: cls, mean, lasttoken, max, several joined by "+"; for a lexicon max or sum.
    pooling: str | None = None
    activation: str | None = None  # lexicon: relu or log1p_relu
    heads: tuple[Mapping[str, Any], ...] = ()  # the config.json of each Dense module
    normalize: bool = False
    similarity: str | None = None  # cosine, dot, ...
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    without_prompt: bool = False  # whether the tokens of the prompt are left out of the pooling
    length: int | None = None  # maximum number of tokens
    unknown: tuple[str, ...] = ()  # modules without a corresponding key of a recipe

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
    modules = _module_paths(top)
    if folder != top and not any(kind.endswith("Transformer") and path == folder.name for kind, path in modules):
        return None
    config = _object(top / SETTINGS)
    configs = [(kind, _object(top / path / "config.json")) for kind, path in modules if path]
    pooling = next((config for kind, config in configs if kind.endswith("Pooling")), {})
    family = "lexicon" if any(kind == "SpladePooling" for kind, _ in modules) else "dense"
    length = _object(folder / "sentence_bert_config.json").get("max_seq_length")
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise InputError(f"{top / SETTINGS}: prompts: expected an object from name to text")
    return Modules(
        folder=top,
        family=FAMILIES.get(config.get("model_type", ""), family),
        pooling=_pooling(pooling, family),
        activation=pooling.get("activation_function"),
        heads=tuple(config for kind, config in configs if kind == "Dense"),
        normalize=any(kind == "Normalize" for kind, _ in modules),
        similarity=config.get("similarity_fn_name"),
        prompts=prompts,
        default_prompt=config.get("default_prompt_name"),
        without_prompt=pooling.get("include_prompt") is False,
        length=length if isinstance(length, int) else None,
        unknown=tuple(kind for kind, _ in modules if kind not in KNOWN),
    )


def _module_paths(top: Path) -> list[tuple[str, str]]:
    """Return the modules as (class name, path inside the folder)."""
    value = read_json(top / MODULES)
    if not isinstance(value, list) or not all(
        isinstance(module, dict) and isinstance(module.get("type"), str) and isinstance(module.get("path"), str)
        for module in value
    ):
        raise InputError(f"{top / MODULES}: expected a list of modules, each with a type and a path")
    for module in value:
        path = PurePosixPath(module["path"])
        if path.is_absolute() or ".." in path.parts:
            raise InputError(f"{top / MODULES}: path: '{path}' leads out of the folder")
    return [(module["type"].rpartition(".")[2], module["path"]) for module in value]


def _object(path: Path) -> dict[str, Any]:
    value = read_json(path) if path.is_file() else {}
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected an object of keys and values, got a {type(value).__name__}")
    return value


def _pooling(config: Mapping[str, Any], family: str) -> str | None:
    if family == "lexicon":
        return config.get("pooling_strategy", "max")
    if mode := config.get("pooling_mode"):
        return mode if isinstance(mode, str) else "+".join(map(str, mode))
    modes = [name for key, name in LEGACY.items() if config.get(f"pooling_mode_{key}")]
    return "+".join(modes) or None


def contradictions(
    modules: Modules, settings: ModelSettings, trained: bool, sides: Sequence[Side] = ("query", "passage")
) -> list[str]:
    """Return one sentence for every key of a stage that contradicts the folder it starts from.

    A stage that trains another family uses only the transformer, so the rest of the folder does not concern it.

    Args:
        trained: whether the stage is trained from the folder, and not used as it is.
        sides: whose texts the model reads.
    """
    family = settings.family
    reinterpret = isinstance(settings, Start) and settings.reinterpret
    if reinterpret or (trained and family != modules.family):
        return []
    if family != modules.family:
        faults = [f"family: '{modules.folder}' is a {modules.family} model ({MODULES}), but the recipe has {family}"]
    else:
        faults = [*_of_family(modules, settings, sides)]
    return [fault + REINTERPRET for fault in faults]


def _of_family(modules: Modules, settings: ModelSettings, sides: Sequence[Side]) -> Iterator[str]:
    if modules.unknown:
        yield (
            f"init: '{modules.folder}' has modules that a recipe cannot express ({', '.join(modules.unknown)}, in"
            f" {MODULES}); name another model"
        )
    if isinstance(settings, LexiconRepresentation):
        yield from _lexicon(modules, settings)
    elif isinstance(settings, DenseRepresentation) and not settings.encoder:
        yield from _dense(modules, settings)
    for side in sides if modules.family != "ranker" else ():
        prompt, prefix = modules.prompt(side), settings.prefix(side)
        if prompt.rstrip(" ") != prefix.rstrip(" "):
            yield _differs(f"{side}_prefix", modules, SETTINGS, repr(prompt), repr(prefix), _quoted(prompt))


def _dense(modules: Modules, settings: DenseRepresentation) -> Iterator[str]:
    pooling, first = settings.pooling, settings.encoder_decoder == "first_decoder_token"
    ours = POOLINGS.get(modules.pooling or "")
    if modules.pooling and not user_code.is_reference(pooling) and (pooling != ours or first):
        write = ours or "path/to/file.py:function, with a function of your own, since this pooling is not built in"
        yield _differs(
            "pooling", modules, MODULES, f"{modules.pooling} pooling", "encoder_decoder" if first else pooling, write
        )
    if modules.without_prompt and any(settings.prefix(side) for side in SIDES):
        yield (
            f"pooling: '{modules.folder}' excludes the tokens of the prompt from its pooling (include_prompt), which"
            " is not supported; name another model"
        )
    for head in modules.heads:
        size = head.get("out_features")
        yield (
            f"head: '{modules.folder}' projects the pooled vector to {size} dimensions ({MODULES}, Dense), which is not"
            " supported yet and would be left out; pool, project and normalise with a class of your own (encoder:"
            " path/to/file.py:Class)"
        )
    normalize = settings.normalize
    if modules.normalize and not normalize:
        yield _differs("normalize", modules, MODULES, "vectors of length 1", "false", "true")
    elif not modules.normalize and normalize and modules.similarity in ("dot", "dot_product"):
        yield _differs("normalize", modules, SETTINGS, "dot products of vectors of any length", "true", "false")
    elif not modules.normalize and not normalize and modules.similarity == "cosine":
        yield _differs("normalize", modules, SETTINGS, "the cosine as similarity", "false", "true")


def _lexicon(modules: Modules, settings: LexiconRepresentation) -> Iterator[str]:
    if modules.pooling != "max":
        yield (
            f"init: '{modules.folder}' pools by {modules.pooling} over the positions ({MODULES}), only max is"
            " supported; name another model"
        )
    activation = settings.activation
    expected = ACTIVATIONS.get(modules.activation or "relu")
    if expected is None:
        yield (
            f"activation: '{modules.folder}' uses the activation {modules.activation} ({MODULES}), which is not"
            " supported; name another model"
        )
    elif activation != expected:
        yield _differs("activation", modules, MODULES, modules.activation, activation, expected)
    if not settings.keep_special_tokens:
        yield _differs(
            "keep_special_tokens",
            modules,
            MODULES,
            "a maximum over all positions, [CLS] and [SEP] too",
            "false",
            "true",
        )


def _differs(key: str, modules: Modules, file: str, in_folder: object, in_recipe: object, write: str) -> str:
    return (
        f"{key}: '{modules.folder}' is a sentence-transformers model with {in_folder} ({file}), but the recipe has"
        f" {in_recipe}; write {key}: {write}"
    )


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
