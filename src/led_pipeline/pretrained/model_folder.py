"""Model folder: whether a folder of a model or a tokenizer can be read at all, seen without reading its weights.

What transformers says of a damaged folder names neither the file nor what to do; here every file is looked at first:
config.json, the headers of the weights, and files that hold something else than their name says. Imports no torch.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json

CONFIG, ADAPTER = "config.json", "adapter_config.json"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
# What transformers looks for, in its order: one file, or an index of several.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
SIZES = ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size", "n_head", "n_heads", "num_heads")
LFS = b"version https://git-lfs"
LARGEST_HEADER = 100_000_000  # bytes: safetensors reads no larger one
AGAIN = "bring the file here again, complete"
_ADVICE = re.compile(r"\b(pass|set|use|using|specify|argument|visit|run)\b", re.IGNORECASE)


def read_config(folder: Path) -> dict[str, Any]:
    """Return the config.json of a model's folder.

    Raises:
        InputError: there is none, it is no JSON object, or it does not say what type of model this is.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(f"model '{folder}': {_without_config(folder)}")
    config = _read_object(path)
    if not isinstance(config.get("model_type"), str):
        raise InputError(
            f'{path}: model_type: it has none, expected the type of the model, such as "bert"; add it, or name a'
            " folder that transformers saved a model into"
        )
    return config


def _without_config(folder: Path) -> str:
    if (folder / ADAPTER).is_file():
        return _adapter_alone()
    inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}") if (path.parent / WEIGHTS[0]).is_file())
    return f"it has no {CONFIG}; name a folder that a model was saved into" + (
        f", such as '{folder / inside[0]}'" if inside else ""
    )


def _adapter_alone() -> str:
    return (
        f"it holds adapters of peft ({ADAPTER}) and not a whole model; merge them into their model with"
        " `merge_and_unload()`, save that, and name its folder"
    )


def _read_object(path: Path) -> dict[str, Any]:
    _refuse_pointer(path)
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected an object of keys and values, got a {type(value).__name__}; {AGAIN}")
    return value


def _refuse_pointer(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(len(LFS))
    if start == LFS:
        raise InputError(
            f"{path}: it is a pointer of Git LFS and not the file itself; run `git lfs pull` where it comes from"
        )


def refuse_own_code(path: Path, config: Mapping[str, Any], kinds: tuple[str, ...]) -> None:
    """Refuse a folder that wants code of its own to be run.

    Args:
        kinds: the keys of `auto_map` that matter, by how they begin.

    Raises:
        InputError: it has such a key. Another class than the one its author names might read the same weights and
            compute something else, so its own classes are not replaced by those of transformers either.
    """
    named = config.get("auto_map") or {}
    theirs = [key for key in named if key.startswith(kinds)] if isinstance(named, Mapping) else ["a list"]
    if theirs:
        raise InputError(
            f"{path}: auto_map: it is made of Python code in its own folder ({', '.join(theirs)}), which led_pipeline"
            " never runs; name another model, or, if transformers has the same one as a class of its own, copy the"
            " folder and remove auto_map in the copy"
        )


def check_model(folder: Path) -> dict[str, Any]:
    """Check all that can be seen of a model's folder without reading its weights; return its config.

    Raises:
        InputError: one sentence with the file, what is wrong with it and what to do.
    """
    config = read_config(folder)
    refuse_own_code(folder / CONFIG, config, ("AutoConfig", "AutoModel"))
    for key in SIZES:
        if isinstance(size := config.get(key), (int, float)) and size < 1:
            raise InputError(f"{folder / CONFIG}: {key}: {size}, expected at least 1; {AGAIN}")
    if (folder / ADAPTER).is_file():
        raise InputError(f"model '{folder}': beside its weights {_adapter_alone()}, without {ADAPTER}")
    for path in weight_files(folder):
        check_weights(path)
    return config


def check_tokenizer(folder: Path) -> None:
    """Check all that can be seen of a tokenizer's folder.

    Raises:
        InputError: one sentence with the file, what is wrong with it and what to do.
    """
    for name in TOKENIZER_FILES:
        if (path := folder / name).is_file():
            refuse_own_code(path, _read_object(path), ("AutoTokenizer",))
    for path in sorted([*folder.glob("*.txt"), *folder.glob("*.model")]):
        _refuse_pointer(path)


def weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers reads a model's weights from.

    Raises:
        InputError: there are none, or fewer than an index names.
    """
    name = next((name for name in WEIGHTS if (folder / name).is_file()), None)
    if name is None:
        raise InputError(
            f"model '{folder}': it has no {' or '.join(WEIGHTS[::2])}; name a folder with a model's weights"
        )
    if not name.endswith(".json"):
        return [folder / name]
    places = _read_object(folder / name).get("weight_map")
    if not isinstance(places, dict) or not all(isinstance(value, str) for value in places.values()):
        raise InputError(f"{folder / name}: weight_map: expected an object from tensor to file; {AGAIN}")
    files = sorted(set(places.values()))
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        lost = sum(file in missing for file in places.values())
        raise InputError(
            f"{folder / name}: of the {len(files)} files that it names {len(missing)} are not there"
            f" ({listed(missing)}), which hold {lost:,} of {len(places):,} tensors; bring them here"
        )
    return [folder / file for file in files]


def check_weights(path: Path) -> None:
    """Check the beginning and the size of a file of weights.

    Raises:
        InputError: it is a pointer, empty, cut off, or something else than its name says.
    """
    _refuse_pointer(path)
    size = path.stat().st_size
    if path.suffix != ".safetensors":
        if not size:
            raise InputError(f"{path}: the file is empty; {AGAIN}")
        return
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(LARGEST_HEADER, size - 8):
            raise InputError(f"{path}: this is no safetensors file, or only the beginning of one; {AGAIN}")
        try:
            tensors = json.loads(file.read(length))
            end = max(
                (tensor["data_offsets"][1] for name, tensor in tensors.items() if name != "__metadata__"), default=0
            )
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
            raise InputError(f"{path}: this is no safetensors file: its header cannot be read; {AGAIN}") from error
    if 8 + length + end != size:
        raise InputError(f"{path}: {size:,} bytes, expected {8 + length + end:,} by its own header; {AGAIN}")


def listed(names: list[str], most: int = 4) -> str:
    """Return the first few of some names, and how many more there are."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def first_sentence(error: BaseException) -> str:
    """Return what a library says, in one line and without its advice, which is about another program's arguments."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    sentences = re.split(r"(?<=[.!?]) ", lines[0]) if lines else []
    text = " ".join(sentence for sentence in sentences if not _ADVICE.search(sentence)) or type(error).__name__
    return text if len(text) < 300 else f"{text[:300]} ..."


@contextmanager
def as_sentences(what: str, advice: str) -> Iterator[None]:
    """Turn whatever a library raises about a folder into one sentence: what cannot be read, why, and what to do.

    transformers, tokenizers, safetensors and torch raise nearly every class of error about a damaged folder.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError" or "not enough memory" in str(error):
            raise
        raise InputError(f"{what}: it cannot be read ({first_sentence(error)}); {advice}") from error
