"""Model cards: README.md of a model's folder, from the files in it and, once it is evaluated, from its results.

The header is the hub's: it decides how the hub lists a model, and repeats its measures.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from led_pipeline.data.tokeniser import separators
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.models import card_code
from led_pipeline.pretrained import sentence_transformers_files as files
from led_pipeline.pretrained.model_folder import read_config
from led_pipeline.pretrained.tokenizer import load_tokenizer
from led_pipeline.recipe.representation import DenseRepresentation, LexiconRepresentation, RankerRepresentation, Side
from led_pipeline.recipe.step_settings import MODEL, ModelSettings, validated_family

SIDES: tuple[Side, ...] = ("query", "passage")
FILE, MACHINE = "README.md", "machine.json"
TASKS = {"dense": "sentence-similarity", "lexicon": "feature-extraction", "ranker": "text-ranking"}
TAGS = {"dense": ["dense"], "lexicon": ["sparse", "sparse-encoder", "splade"], "ranker": ["cross-encoder", "reranker"]}
KINDS = {"dense": "dense retriever", "lexicon": "sparse retriever", "ranker": "cross-encoder"}
FROM_BASE = ("license", "license_name", "license_link", "language")
# Settings of a training that a reader asks for first.
ASKED = (
    *("learning_rate", "schedule", "batch_size", "gradient_accumulation", "epochs", "negatives_per_query"),
    *("precision", "seed", "temperature", "lora"),
)


@dataclass(frozen=True)
class Measured:
    """The measures of a system on one split."""

    split: str
    queries: int
    measures: Mapping[str, float]


@dataclass(frozen=True)
class Results:
    """What is known about a model once its run has ended."""

    dataset: str
    measured: Sequence[Measured] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each file of the data"""
    recipe: str = ""
    """the whole recipe, as YAML"""


def header_of(readme: Path) -> dict[str, Any]:
    """Return the YAML header of a model card; empty without one."""
    text = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
    if not text.startswith("---\n") or "\n---" not in text[4:]:
        return {}
    try:
        header = yaml.safe_load(text[4:].partition("\n---")[0])
    except yaml.YAMLError:
        return {}  # of a card that is not ours, and only read for a license
    return header if isinstance(header, dict) else {}


def base_of(source: str) -> dict[str, Any]:
    """Return what a header says about the model that training started from: its id, license and language if known."""
    folder = Path(source)
    header = header_of(folder / FILE)
    license_and_language = {key: header[key] for key in FROM_BASE if key in header}
    if (folder / "hub.json").is_file():
        note = read_json(folder / "hub.json")
        return {
            "base_model": str(note["id"]) if isinstance(note, dict) and "id" in note else source,
            **license_and_language,
        }
    if folder.is_dir():
        return license_and_language | ({"base_model": header["base_model"]} if "base_model" in header else {})
    return {"base_model": source.partition("@")[0]} if source.count("/") <= 1 else {}


def _optional(path: Path) -> Any:
    return read_json(path) if path.is_file() else None


def settings_of(folder: Path) -> ModelSettings:
    """Return the settings in a model folder's led.json."""
    file = folder / "led.json"
    if not file.is_file():
        raise InputError(f"{folder}: no led.json here, so this is not a model that led_pipeline made")
    return validated_family(MODEL, read_json(file), str(file))


def header(folder: Path, settings: ModelSettings, name: str, results: Results | None) -> dict[str, Any]:
    """Return the header of a card."""
    why = files.reasons_of(folder) or []
    origin = _optional(folder / "weights.json")
    before = header_of(folder / FILE)  # of a card from the training, when the base was still there
    base = {key: before[key] for key in ("base_model", *FROM_BASE) if key in before}
    if not base and isinstance(origin, dict):
        base = base_of(str(origin.get("source", "")))
    values: dict[str, Any] = {
        "library_name": "sentence-transformers",
        "pipeline_tag": TASKS.get(settings.family, TASKS["dense"]),
        "tags": [
            "sentence-transformers",
            *TAGS.get(settings.family, [settings.family]),
            "information-retrieval",
            "led-pipeline",
        ]
        + (["custom_code"] if why else []),
        **base,
    }
    if results:
        values["datasets"] = [results.dataset]
        if results.measured:
            entries = [_entry(results.dataset, measured) for measured in results.measured]
            values["model-index"] = [{"name": name.rpartition("/")[2], "results": entries}]
    return values


def _entry(name: str, measured: Measured) -> dict[str, Any]:
    metrics = [
        {"type": measure.lower().replace("@", "_at_"), "name": measure, "value": round(value, 5)}
        for measure, value in measured.measures.items()
    ]
    dataset = {"name": name, "type": name, "split": measured.split}
    task = {"type": "information-retrieval", "name": "Information retrieval"}
    return {"task": task, "dataset": dataset, "metrics": metrics}


def card(folder: Path, name: str, results: Results | None = None) -> str:
    """Return the text of README.md.

    Args:
        folder: a complete model folder.
        name: under which its code loads the model, a folder or a hub id ORG/NAME.
    """
    settings, config = settings_of(folder), read_config(folder)
    why = files.reasons_of(folder)
    if why is None:
        raise InputError(f"{folder}: it has no modules.json; an older version wrote it")
    head = yaml.safe_dump(header(folder, settings, name, results), sort_keys=False, allow_unicode=True)
    parts = [f"---\n{head}---\n", f"# {name.rpartition('/')[2]}\n", _introduction(settings, results)]
    parts += [_use(folder, settings, config, name, why)]
    parts += [_measured(results)] if results and results.measured else []
    parts += [_reading(settings), _training(folder, results)]
    return "\n".join(parts)


def write_card(folder: Path, name: str | Path, results: Results | None = None) -> None:
    """Write README.md into a complete model folder; see `card`. A path is a local folder, a string an id of the hub."""
    local = name.as_posix() if isinstance(name, Path) else ""
    text = card(folder, f"./{local}" if local.count("/") == 1 else local or str(name), results)
    (folder / FILE).write_text(text, encoding="utf-8")


def _introduction(settings: ModelSettings, results: Results | None) -> str:
    data = f" on {results.dataset}" if results else ""
    return f"A {KINDS.get(settings.family, settings.family)}, made{data} with led_pipeline.\n"


def _block(code: str) -> str:
    return f"```python\n{code}\n```\n"


def _use(folder: Path, settings: ModelSettings, config: dict[str, Any], name: str, why: Sequence[str]) -> str:
    text = ["## Use\n", "With sentence-transformers 6.2 or newer:\n"]
    text.append(_block(card_code.sentence_transformers(name, settings, bool(why))))
    if why:
        text.append(
            "`trust_remote_code=True` runs `led_modules.py` of this folder; without it, the library refuses the"
            " model. The library's own modules cannot compute what this model computes:\n"
        )
        text += [*(f"- {reason}" for reason in why), ""]
    title = "Rank passages again" if isinstance(settings, RankerRepresentation) else "Search"
    text += [f"{title}:\n", _block(card_code.search(name, settings, bool(why)))]
    code = card_code.transformers(name, settings, shape(folder, config), _separators(folder), why)
    if code:
        text += ["With transformers alone:\n", _block(code)]
    else:
        text.append(
            "This model has code of its author, so transformers alone cannot run it; led_pipeline must be installed.\n"
        )
    return "\n".join(text)


def shape(folder: Path, config: dict[str, Any]) -> files.Shape:
    """Return what the code of a card depends on."""
    kind = str(config["model_type"])
    return files.Shape(kind, 0, 0, 0, kind in files.ENCODERS_ALONE or bool(config.get("is_encoder_decoder")))


def _separators(folder: Path) -> int:
    return separators(load_tokenizer(folder))


def _reading(settings: ModelSettings) -> str:
    """Return the table of how the model reads texts."""
    rows: dict[str, object] = {
        "longest query": f"{settings.query_length} tokens, special ones included",
        "longest passage": f"{settings.passage_length} tokens, title and special ones included",
    }
    for side in SIDES:
        if settings.prefix(side):
            rows[f"before a {side}"] = f"`{settings.prefix(side)}`"
    if isinstance(settings, DenseRepresentation) and not files.has_user_code(settings):
        decoder = settings.encoder_decoder == "first_decoder_token"
        rows["pooling"] = "the first decoder token" if decoder else settings.pooling
        rows["similarity"] = "cosine" if settings.normalize else "dot product"
        rows |= {"dimensions": settings.head} if settings.head else {}
    if isinstance(settings, LexiconRepresentation):
        rows["similarity"] = "dot product"
        rows["activation"] = "log(1 + log(1 + relu(x)))" if settings.activation == "log1p_twice" else "log(1 + relu(x))"
        if settings.query_encoder != "model":
            rows["queries"] = "without inference: a fixed weight per token"
    title = "a title and its text are two segments, with a separator between them and without token types"
    title = "[CLS] query [SEP] title [SEP] text [SEP]" if isinstance(settings, RankerRepresentation) else title
    rows["titles"] = title
    return "\n".join(["## How it reads texts\n", "| | |\n|---|---|", *(f"| {k} | {v} |" for k, v in rows.items()), ""])


def _training(folder: Path, results: Results | None) -> str:
    """Return settings, machine, time and versions, as far as the folder knows them."""
    values, machine = _optional(folder / "settings.json"), _optional(folder / MACHINE)
    rows: dict[str, object] = {}
    if isinstance(values, dict):
        rows |= {key.replace("_", " "): values[key] for key in ASKED if values.get(key) is not None}
    seconds = _seconds(folder / "train.jsonl")
    if isinstance(machine, dict):
        count = int(machine.get("processes", 1))
        rows["hardware"] = f"{count} x {machine.get('device')}"
        if seconds is not None and machine.get("gpu"):
            rows["GPU hours"] = f"{seconds * count / 3600:,.2f}"
        if machine.get("commit"):
            rows["led_pipeline's commit"] = f"`{machine['commit']}`"
    if seconds is not None:
        rows["training time"] = f"{seconds / 60:,.1f} minutes"
    software = _optional(folder / "software.json")
    if isinstance(software, dict):
        rows["versions"] = ", ".join(f"{name} {version}" for name, version in software.items())
    if not rows:
        rows["training"] = "none: a published model as it is"
    text = ["## Training\n", "| | |\n|---|---|", *(f"| {key} | {value} |" for key, value in rows.items()), ""]
    if results and results.inputs:
        text += [
            "Files of the data, by SHA-256:\n",
            *(f"- `{name}`: `{digest}`" for name, digest in results.inputs.items()),
        ]
        text.append("")
    if results and results.recipe:
        text += ["<details><summary>The recipe</summary>\n", f"```yaml\n{results.recipe}```\n", "</details>\n"]
    return "\n".join(text)


def _seconds(log: Path) -> float | None:
    """Return the seconds of a finished training."""
    lines = log.read_text(encoding="utf-8").splitlines() if log.is_file() else []
    last = json.loads(lines[-1]) if lines else {}
    seconds = last.get("seconds") if isinstance(last, dict) and last.get("finished") else None
    return float(seconds) if isinstance(seconds, int | float) else None


def _measured(results: Results) -> str:
    names = list(dict.fromkeys(name for each in results.measured for name in each.measures))
    lines = ["## Results\n", f"| {results.dataset} | queries | {' | '.join(names)} |", "|---" * (len(names) + 2) + "|"]
    for each in results.measured:
        cells = [f"{each.measures[name]:.4f}" if name in each.measures else "" for name in names]
        lines.append(f"| {each.split} | {each.queries:,} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])
