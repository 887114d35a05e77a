"""Checkpoint folders: a Hugging Face model with its tokenizer, and led.json saying what it is and how to use it.

Run as `python -m led_pipeline.models.checkpoint --init MODEL --tokenizer TOKENIZER --settings JSON --out DIR` to take a
model over as it is; `--query-init MODEL` and `--passages TOKENS...` where the settings need them.

Besides the Hugging Face model a folder holds what the stage has: `query/` (an encoder of the queries), `idf.json` (a
table of the queries' weights), `head.safetensors` (a linear head), `own_*.py` and `own.safetensors` (the user's code).
weights.json says where the weights came from, and which of them began at random.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import nn

from led_pipeline.data.tokens import separators
from led_pipeline.files.atomic import atomic
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.jobs.command import run_main
from led_pipeline.models import complete, idf, limits, user_files
from led_pipeline.models.build import HEAD, OWN, QUERY, build
from led_pipeline.models.sides import Sides, encoders
from led_pipeline.models.weights import plain
from led_pipeline.pretrained.model_folder import joined
from led_pipeline.pretrained.model_folder_modules import contradictions, read_modules
from led_pipeline.pretrained.tokenizer import load_tokenizer, vocabulary_size

ORIGIN = "weights.json"

KEPT = (
    "family", "pooling", "normalize", "temperature", "keep_special_tokens", "query_length", "passage_length",
    "untitled", "query_prefix", "passage_prefix", "activation", "head", "untied", "encoder_decoder", "append_eos",
    "encoder", "query_encoder", "top_k_queries", "top_k_passages", "prune_ratio_queries", "prune_ratio_passages",
    "scoring", "template", "true_word", "false_word",
)  # fmt: skip


def load(
    source: str | Path,
    settings: Mapping[str, Any] | None = None,
    tokenizer: str | Path | None = None,
    passages: Sequence[Path] | None = None,
    *,
    trained: bool = False,
) -> tuple[nn.Module, dict[str, Any]]:
    """Load a model from a folder of ours, another local folder or a hub id.

    Args:
        source: where the weights are.
        settings: family and its settings; those in the folder's led.json unless given.
        tokenizer: the one in `source` unless given.
        passages: the collection's tokens, for settings that compute something from them.
        trained: whether a stage is trained from it; only then may a head begin at random.

    Returns:
        The module in float32 and the settings that say how to use it.

    Raises:
        InputError: the model cannot be found, it does not fit the settings, its weights are not all there or not
            finite, or it has no led.json and none were given.
    """
    own = Path(source) / "led.json"
    if settings is None:
        if not own.is_file():
            raise InputError(f"{source}: no led.json here, so this is not a model that led_pipeline made")
        settings = user_files.inside(read_json(own), Path(source))
        return build(str(source), settings, tokenizer or source, passages), dict(settings)
    _hold_against_folders(str(source), settings, trained)
    model = build(str(source), settings, tokenizer or source, passages, trained=trained)
    for part in encoders(model):
        _check_weights(part.backbone, trained)
    return model, dict(settings)


def _hold_against_folders(source: str, settings: Mapping[str, Any], trained: bool) -> None:
    """Compare settings with what sentence-transformers wrote into the folders that a model starts from."""
    query = settings.get("query_init") if settings.get("untied") else None
    starts = {source: ("passage",), query: ("query",)} if query else {source: ("query", "passage")}
    for start, sides in starts.items():
        modules = read_modules(Path(start))
        faults = contradictions(modules, dict(settings) | {"train": trained}, sides) if modules else []
        if faults:
            raise InputError("\n".join(faults))


def _check_weights(backbone: nn.Module, trained: bool) -> None:
    """Check what was read of a model that is used for the first time."""
    origin = backbone.origin
    try:
        complete.check_finite(backbone)
        if not trained and (left := complete.foreign(backbone, origin.unused)):
            raise InputError(
                f"its weights hold {len(left):,} tensors that no head of a {backbone.config.model_type} model has"
                f" ({joined(left)}), a projection perhaps, and they would be left out; project with a class of your own"
                " (encoder: path/to/file.py:Class), or save the model without them"
            )
    except InputError as error:
        raise InputError(f"model '{origin.source}': {error}") from error


def origins(model: nn.Module) -> list[str]:
    """Return what a log should say about where a model's weights come from."""
    return [text for part in encoders(model) for text in part.backbone.origin.sentences()]


def save(model: nn.Module, settings: Mapping[str, Any], tokenizer: str | Path, out: Path) -> None:
    """Write a model, its tokenizer and led.json into a folder that exists; a query encoder goes into one of its own."""
    words = load_tokenizer(tokenizer)
    words.save_pretrained(out)
    passage, query = (model.passage, model.query) if isinstance(model, Sides) else (model, None)
    _save_encoder(passage, settings, out)
    if isinstance(query, idf.BagOfWords):
        if query.table:
            idf.write_table(out / idf.FILE, query, words)
    elif query is not None:
        (out / QUERY).mkdir()
        _save_encoder(query, settings, out / QUERY)
    kept = user_files.copied({key: settings[key] for key in KEPT if key in settings}, out)
    (out / "led.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def _save_encoder(encoder: nn.Module, settings: Mapping[str, Any], out: Path) -> None:
    plain(encoder.backbone, settings).save_pretrained(out)
    (out / ORIGIN).write_text(json.dumps(encoder.backbone.origin.as_json(), indent=2) + "\n", encoding="utf-8")
    rest = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()
            if not name.startswith("backbone.")}  # fmt: skip
    if settings.get("encoder") and rest:
        save_file(rest, out / OWN)
    elif rest:
        save_file({"weight": rest["head.weight"]}, out / HEAD)


def main() -> None:
    parser = argparse.ArgumentParser(description="Take a model over as a stage, without training it.")
    parser.add_argument("--init", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--settings", required=True, type=json.loads)
    parser.add_argument("--query-init")
    parser.add_argument("--passages", nargs="+", type=Path, help="the collection's tokens")
    parser.add_argument("--out", required=True, type=Path)
    arguments = parser.parse_args()
    settings = arguments.settings | {"query_init": arguments.query_init}
    model, settings = load(arguments.init, settings, arguments.tokenizer, arguments.passages)
    words = load_tokenizer(arguments.tokenizer)
    limits.check_vocabulary(model, vocabulary_size(words), arguments.tokenizer)
    limits.check_lengths(model, settings, int(separators(words) == 1))
    print(*origins(model), sep="\n", end="\n" if origins(model) else "")
    with atomic(arguments.out) as folder:
        folder.mkdir()
        save(model, settings, arguments.tokenizer, folder)


if __name__ == "__main__":
    run_main(main)
