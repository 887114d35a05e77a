"""Saved models: a folder with a Hugging Face model, its tokenizer, and led.json, which says how to use it.

Run as `python -m led_pipeline.models.saved_model --init MODEL --tokenizer TOKENIZER --settings JSON --out DIR` to
import a model as it is; add `--query-init MODEL` and `--passages TOKENS...` if the settings need them, and `--adopt
JSON` for keys that the folder decides.

A folder may also hold `query/` (a query encoder), `idf.json` (a table of query weights), `head.safetensors` (a linear
head), `own_*.py` and `own.safetensors` (code of the user and its tensors). weights.json says where the weights came
from and which of them began at random.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from led_pipeline.data.tokeniser import separators
from led_pipeline.files.atomic import atomic
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.jobs.command import run_main
from led_pipeline.models import complete, idf, limits, user_files
from led_pipeline.models.adapters import merge_adapters
from led_pipeline.models.bi_encoder import BiEncoder, encoders
from led_pipeline.models.build import QUERY, USER_TENSORS, build
from led_pipeline.models.card import write_card
from led_pipeline.models.encoder import Encoder
from led_pipeline.models.for_sentence_transformers import write_folder
from led_pipeline.models.heads import HEAD
from led_pipeline.models.starting import compare_with_folders, parse_adoption, with_adopted
from led_pipeline.pretrained.model_folder import joined
from led_pipeline.pretrained.tokenizer import load_tokenizer, vocabulary_size
from led_pipeline.recipe.representation import DenseRepresentation
from led_pipeline.recipe.settings import Optimisation
from led_pipeline.recipe.step_settings import (
    IMPORT,
    MODEL,
    ImportSettings,
    ModelSettings,
    TrainingSettings,
    parser_of_family,
    validated_family,
)

ORIGIN = "weights.json"

SETTINGS = "led.json"  # what the model is built from: a stage's Representation


def load(folder: Path) -> tuple[nn.Module, ModelSettings]:
    """Load a model that led_pipeline saved.

    Returns:
        The module in float32, and the settings in led.json, which say how to use it.

    Raises:
        InputError: there is no led.json, it has a key or value that no model has, or the weights do not fit it.
    """
    file = folder / SETTINGS
    if not file.is_file():
        raise InputError(f"{folder}: no {SETTINGS} here, so this is not a model that led_pipeline made")
    settings = user_files.inside(validated_family(MODEL, read_json(file), str(file)), folder)
    return build(str(folder), settings, folder), settings


def start(
    source: str,
    settings: TrainingSettings | ImportSettings,
    tokenizer: str | Path,
    passages: Sequence[Path] | None = None,
    query_init: str | None = None,
) -> nn.Module:
    """Return the model that a stage starts from, in float32: a folder of ours, another local folder or a hub id.

    Args:
        passages: the collection's tokens, for settings that compute something from them.
        query_init: what an untied query encoder starts from, unless it is `source`.

    Raises:
        InputError: the model cannot be found, it contradicts the settings, or its weights are incomplete or not finite.
    """
    compare_with_folders(source, settings, query_init)
    model = build(source, settings, tokenizer, passages, query_init)
    for part in encoders(model):
        _check_weights(part.backbone, isinstance(settings, Optimisation))
    return model


def _check_weights(backbone: PreTrainedModel, trained: bool) -> None:
    """Check the weights of a model that is used for the first time."""
    origin = complete.origin_of(backbone)
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
    """Return sentences for a log about where a model's weights come from."""
    return [text for part in encoders(model) for text in complete.origin_of(part.backbone).sentences()]


def save(model: nn.Module, settings: ModelSettings, tokenizer: str | Path, out: Path) -> None:
    """Write a model, its tokenizer and led.json into a folder that exists."""
    words = load_tokenizer(tokenizer)
    passage, *queries = encoders(model)
    _save_encoder(passage, settings, out)
    for query in queries:
        (out / QUERY).mkdir()
        _save_encoder(query, settings, out / QUERY)
    if isinstance(model, BiEncoder) and isinstance(model.query, idf.BagOfWords) and model.query.table:
        idf.write_table(out / idf.FILE, model.query, words)
    values = user_files.copied(settings, out).model_dump(mode="json", include=set(MODEL[settings.family].model_fields))
    (out / SETTINGS).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    write_folder(model, settings, words, out)


def _save_encoder(encoder: Encoder, settings: ModelSettings, out: Path) -> None:
    merge_adapters(encoder.backbone, settings).save_pretrained(out)
    (out / ORIGIN).write_text(
        json.dumps(complete.origin_of(encoder.backbone).as_json(), indent=2) + "\n", encoding="utf-8"
    )
    rest = {name: value.detach().cpu().contiguous() for name, value in encoder.state_dict().items()
            if not name.startswith("backbone.")}  # fmt: skip
    if isinstance(settings, DenseRepresentation) and settings.encoder and rest:
        save_file(rest, out / USER_TENSORS)
    elif rest:
        save_file({"weight": rest["head.weight"]}, out / HEAD)


def main() -> None:
    parser = argparse.ArgumentParser(description="Import a model as a stage, without training it.")
    parser.add_argument("--init", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--settings", required=True, type=parser_of_family(IMPORT))
    parser.add_argument("--adopt", type=parse_adoption, help="what the recipe leaves to the folder of --init")
    parser.add_argument("--query-init")
    parser.add_argument("--passages", nargs="+", type=Path, help="the collection's tokens")
    parser.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    settings, notes = with_adopted(a.init, a.settings, a.adopt)
    model = start(a.init, settings, a.tokenizer, a.passages, a.query_init)
    words = load_tokenizer(a.tokenizer)
    limits.check_vocabulary(model, vocabulary_size(words), a.tokenizer)
    limits.check_lengths(model, settings, int(separators(words) == 1))
    for text in (*notes, *origins(model)):
        print(text)
    with atomic(a.out) as folder:
        folder.mkdir()
        save(model, settings, a.tokenizer, folder)
        write_card(folder, a.out)


if __name__ == "__main__":
    run_main(main)
