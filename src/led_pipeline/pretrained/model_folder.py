"""Check a model's or tokenizer's folder for damaged files and for custom code, without reading the weights.

transformers' errors about a damaged folder name neither the file nor what to do. So this module checks the files first:
config.json, the headers of the weights, and files whose content does not match their name. Imports no torch.
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
# The files that transformers looks for, in its order: a single file, or the index of several.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
SIZES = ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size", "n_head", "n_heads", "num_heads")
LFS = b"version https://git-lfs"
LARGEST_HEADER = 100_000_000  # bytes; the limit of safetensors
AGAIN = "copy or download the complete file again"
_ADVICE = re.compile(r"\b(pass|set|use|using|specify|argument|visit|run)\b", re.IGNORECASE)


def read_config(folder: Path) -> dict[str, Any]:
    """Return the config.json of a model's folder.

    Raises:
        InputError: there is no config.json, it is not a JSON object, or it has no model_type.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(f"model '{folder}': {_without_config(folder)}")
    config = _read_object(path)
    if not isinstance(config.get("model_type"), str):
        raise InputError(
            f'{path}: model_type: this key is missing, expected the type of the model, such as "bert"; add it, or name'
            " a folder that was saved by transformers"
        )
    return config


def _without_config(folder: Path) -> str:
    if (folder / ADAPTER).is_file():
        return _adapter_alone()
    inside = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}") if (path.parent / WEIGHTS[0]).is_file())
    return f"it has no {CONFIG}; name the folder of a saved model" + (
        f", such as '{folder / inside[0]}'" if inside else ""
    )


def _adapter_alone() -> str:
    return (
        f"it contains adapters of peft ({ADAPTER}) and not a complete model; merge them into their model with"
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
            f"{path}: it is a Git LFS pointer and not the file itself; run `git lfs pull` in its repository"
        )


def refuse_custom_code(path: Path, config: Mapping[str, Any], prefixes: tuple[str, ...]) -> None:
    """Refuse a folder whose model or tokenizer needs custom Python code.

    Args:
        prefixes: of the keys of `auto_map` that matter.

    Raises:
        InputError: there is such a key. Its class is not replaced by one of transformers either, since that might read
            the same weights and compute something else.
    """
    auto_map = config.get("auto_map") or {}
    keys = [key for key in auto_map if key.startswith(prefixes)] if isinstance(auto_map, Mapping) else ["a list"]
    if keys:
        raise InputError(
            f"{path}: auto_map: it needs Python code from its own folder ({', '.join(keys)}), which led_pipeline never"
            " runs; name another model, or, if transformers includes the same class, copy the folder and remove"
            " auto_map in the copy"
        )


def check_model(folder: Path) -> dict[str, Any]:
    """Check a model's folder as far as possible without reading its weights; return its config.

    Raises:
        InputError: one sentence with the file, what is wrong with it and what to do.
    """
    config = read_config(folder)
    refuse_custom_code(folder / CONFIG, config, ("AutoConfig", "AutoModel"))
    for key in SIZES:
        if isinstance(size := config.get(key), (int, float)) and size < 1:
            raise InputError(f"{folder / CONFIG}: {key}: {size}, expected at least 1; {AGAIN}")
    if (folder / ADAPTER).is_file():
        raise InputError(f"model '{folder}': besides its weights {_adapter_alone()}, without {ADAPTER}")
    for path in weight_files(folder):
        check_weights(path)
    return config


def check_tokenizer(folder: Path) -> None:
    """Check a tokenizer's folder as far as possible without loading it.

    Raises:
        InputError: one sentence with the file, what is wrong with it and what to do.
    """
    for name in TOKENIZER_FILES:
        if (path := folder / name).is_file():
            refuse_custom_code(path, _read_object(path), ("AutoTokenizer",))
    for path in sorted([*folder.glob("*.txt"), *folder.glob("*.model")]):
        _refuse_pointer(path)


def weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers reads a model's weights from.

    Raises:
        InputError: there are none, or files that an index names are missing.
    """
    name = next((name for name in WEIGHTS if (folder / name).is_file()), None)
    if name is None:
        raise InputError(
            f"model '{folder}': it has no {' or '.join(WEIGHTS[::2])}; name a folder with a model's weights"
        )
    if not name.endswith(".json"):
        return [folder / name]
    file_of = _read_object(folder / name).get("weight_map")
    if not isinstance(file_of, dict) or not all(isinstance(value, str) for value in file_of.values()):
        raise InputError(f"{folder / name}: weight_map: expected an object from tensor to file; {AGAIN}")
    files = sorted(set(file_of.values()))
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        lost = sum(file in missing for file in file_of.values())
        raise InputError(
            f"{folder / name}: {len(missing)} of the {len(files)} files that it names are missing ({joined(missing)}),"
            f" with {lost:,} of {len(file_of):,} tensors; copy them into this folder"
        )
    return [folder / file for file in files]


def check_weights(path: Path) -> None:
    """Check the header and the size of a file of weights.

    Raises:
        InputError: the file is a Git LFS pointer, empty, truncated, or of another format.
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
            raise InputError(f"{path}: this is not a safetensors file, or only the beginning of one; {AGAIN}")
        try:
            tensors = json.loads(file.read(length))
            end = max(
                (tensor["data_offsets"][1] for name, tensor in tensors.items() if name != "__metadata__"), default=0
            )
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
            raise InputError(f"{path}: this is not a safetensors file: its header cannot be read; {AGAIN}") from error
    if 8 + length + end != size:
        raise InputError(f"{path}: {size:,} bytes, expected {8 + length + end:,} from its header; {AGAIN}")


def joined(names: list[str], most: int = 4) -> str:
    """Join names with commas; after the first `most`, only count the rest."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")


def first_sentence(error: BaseException) -> str:
    """Return a library's error as one line, without its advice, which refers to arguments of its own functions."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    sentences = re.split(r"(?<=[.!?]) ", lines[0]) if lines else []
    text = " ".join(sentence for sentence in sentences if not _ADVICE.search(sentence)) or type(error).__name__
    return text if len(text) < 300 else f"{text[:300]} ..."


@contextmanager
def as_sentences(subject: str, advice: str) -> Iterator[None]:
    """Turn any error that a library raises about a folder into one sentence: what cannot be read, why, what to do.

    transformers, tokenizers, safetensors and torch raise nearly every class of error about a damaged folder.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError" or "not enough memory" in str(error):
            raise
        raise InputError(f"{subject}: it cannot be read ({first_sentence(error)}); {advice}") from error
