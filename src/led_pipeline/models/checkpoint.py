"""Checkpoint folders: a Hugging Face model with its tokenizer, and led.json saying what it is and how to use it.

Run as `python -m led_pipeline.models.checkpoint --init MODEL --tokenizer TOKENIZER --settings JSON --out DIR` to take a
model over as it is.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from torch import nn
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer, logging

from led_pipeline.files import InputError, atomic, read_json, run_main
from led_pipeline.models.dense import DenseEncoder
from led_pipeline.models.lexicon import LexiconEncoder
from led_pipeline.models.ranker import Ranker

KEPT = (
    "family",
    "pooling",
    "normalize",
    "temperature",
    "keep_special_tokens",
    "query_length",
    "passage_length",
    "query_prefix",
    "passage_prefix",
)


def load(source: str | Path, settings: dict[str, Any] | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """Load a model from a folder of ours, another local folder or a hub id.

    Args:
        source: where the weights are.
        settings: family and its settings; those in the folder's led.json unless given.

    Returns:
        The module in float32 and the settings that say how to use it.

    Raises:
        InputError: the model cannot be found, or it has no led.json and no settings were given.
    """
    own = Path(source) / "led.json"
    if settings is None:
        if not own.is_file():
            raise InputError(f"{source}: no led.json here, so this is not a model that led_pipeline made")
        settings = read_json(own)
    family = settings["family"]
    options: dict[str, Any] = {"num_labels": 1} if family == "ranker" else {}
    auto = {"dense": AutoModel, "lexicon": AutoModelForMaskedLM, "ranker": AutoModelForSequenceClassification}[family]
    # Which heads of a published model go unused is no news; a wrong family shows in led.json and in the scores.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        backbone = auto.from_pretrained(str(source), dtype="float32", **options)
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"model '{source}': not a local folder with a model, nor reachable on the hub ({reason})"
        ) from error
    if family == "dense":
        return DenseEncoder(backbone, pooling=settings["pooling"], normalize=settings["normalize"]), settings
    if family == "lexicon":
        return LexiconEncoder(backbone, keep_special_tokens=settings["keep_special_tokens"]), settings
    return Ranker(backbone), settings


def save(model: nn.Module, settings: dict[str, Any], tokenizer: str | Path, out: Path) -> None:
    """Write a model, its tokenizer and led.json into a folder that exists."""
    model.backbone.save_pretrained(out)
    AutoTokenizer.from_pretrained(str(tokenizer)).save_pretrained(out)
    kept = {key: settings[key] for key in KEPT if key in settings}
    (out / "led.json").write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Take a model over as a stage, without training it.")
    parser.add_argument("--init", required=True)
    parser.add_argument("--tokenizer", required=True)
    parser.add_argument("--settings", required=True, type=json.loads)
    parser.add_argument("--out", required=True, type=Path)
    arguments = parser.parse_args()
    model, settings = load(arguments.init, arguments.settings)
    with atomic(arguments.out) as folder:
        folder.mkdir()
        save(model, settings, arguments.tokenizer, folder)


if __name__ == "__main__":
    run_main(main)
