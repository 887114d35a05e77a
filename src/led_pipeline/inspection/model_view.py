"""Look at a saved model: how it reads texts, where its weights came from, and how its training went."""

from pathlib import Path
from typing import Any

from led_pipeline.files.atomic import tree_bytes
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.inspection.overview import opens_elsewhere, parts_of
from led_pipeline.inspection.runs import Run
from led_pipeline.report.log import read_train_log

WEIGHTS, SETTINGS = "weights.json", "led.json"


def model_overview(run: Run, stage: str) -> dict[str, Any]:
    """Return what a model folder records about itself.

    Raises:
        InputError: there is no such stage, or its model is not there.
    """
    run.check_name(stage, list(run.recipe.stages), "stage")
    folder = Path(run.layout.model(stage))
    if not folder.is_dir():
        remark = parts_of(run)[stage]["model"].remark
        raise InputError(
            f"{folder}: there is no model{f' ({remark})' if remark else ''}; let Snakemake finish it first"
        )
    log = Path(run.layout.train_log(stage))
    config = _json(folder / "config.json") or {}
    facts = ("model_type", "architectures", "hidden_size", "num_hidden_layers", "vocab_size", "max_position_embeddings")
    return {
        "folder": str(folder),
        "stage": stage,
        "family": run.recipe.stages[stage].family,
        "bytes": tree_bytes(folder),
        "backbone": {key: config[key] for key in facts if key in config},
        "settings": _json(folder / SETTINGS),
        "weights": _json(folder / WEIGHTS),
        "training": read_train_log(log).summary() if log.is_file() else None,
        "software": _json(Path(run.layout.model_software(stage))),
        "sentence_transformers": opens_elsewhere(run).get(stage),
    }


def _json(path: Path) -> Any:
    return read_json(path) if path.is_file() else None
