"""Download the models and tokenizers that a recipe names from the model hub into the results folder.

Run as `python -m led_pipeline.fetch.hub --name ID[@REVISION] --keys KEY... --out DIR` with `--weights`, `--tokenizer`
or both. Compute nodes often have no internet, so this runs first, on the machine that starts the run; every later job
reads the folder. It uses and fills the hub's cache (HF_HOME); with HF_HUB_OFFLINE=1 it reads only the cache.
"""

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path

from led_pipeline.fetch.hub_revisions import REVISIONS
from led_pipeline.files import folder_names
from led_pipeline.files.atomic import atomic, tree_bytes, write_json
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.command import run_main
from led_pipeline.recipe import needs
from led_pipeline.recipe.graph import Recipe

# Configuration, vocabulary, merges, and the card, whose license the cards of our models repeat.
DESCRIPTIONS = ["*.json", "*.txt", "*.model", "README.md"]
# In order of preference; only the first kind that a repository has is downloaded.
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
# What belongs to a model besides: modules of sentence-transformers, and the parts of a folder that led_pipeline saved.
PARTS = ("*_*/*.json", "*_Dense/*", "*_SparseStaticEmbedding/*", "head.safetensors", "query/*.json", "query/model*")
PART_SUFFIXES = (".json", ".safetensors", ".bin")
# The small files in which a model describes itself.
ABOUT = ["modules.json", "config_sentence_transformers.json", "sentence_bert_config.json", "router_config.json"]
ABOUT += ["led.json", "config.json", "tokenizer_config.json", "*_*/config.json"]
VOCABULARY = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
ANSWER_S = 10  # how long the hub may take to answer
NOTE = "hub.json"  # in the folder: its hub id and commit


@dataclass(frozen=True)
class HubModel:
    """A model or tokenizer that the recipe names and that is neither a stage nor a local folder."""

    name: str  # hub id, optionally with @revision
    keys: tuple[str, ...]  # the recipe's keys that name it
    weights: bool  # whether a stage starts from it
    tokenizer: bool = False  # whether texts are tokenised with it

    @property
    def repository(self) -> str:
        return self.name.partition("@")[0]

    @property
    def revision(self) -> str | None:
        """The branch, tag or commit in the recipe's name, or else the pinned commit of a model that our recipes use."""
        return self.name.partition("@")[2] or REVISIONS.get(self.repository)


def is_local(name: str) -> bool:
    """Return whether a name is a folder: it exists, or it has a form that no hub id can have."""
    repository, _, revision = name.partition("@")
    parts = repository.count("/") + (revision.count("/") if repository.count("/") != 1 else 0)  # ORG/NAME@refs/pr/2
    return Path(name).is_dir() or name.startswith(("/", ".", "~")) or parts > 1


def slug(name: str) -> str:
    """Return the folder name of a hub id; different ids get different names."""
    return folder_names.of_hub(name)


def outside_names(recipe: Recipe) -> dict[str, list[str]]:
    """Return the models and tokenizers that are not stages, each with the keys that name it."""
    keys_of: dict[str, list[str]] = {}
    shared = False  # whether a stage uses the recipe's tokenizer
    for name in recipe.stages:
        for edge in needs.edges(recipe, name):
            if edge.kind not in ("init", "query_init", "tokenizer") or edge.source in recipe.stages:
                continue
            if edge.kind == "tokenizer" and not recipe.started(name).tokenizer:
                shared = True
            else:
                keys_of.setdefault(edge.source, []).append(f"stages.{name}.{edge.kind}")
    if shared:
        keys_of.setdefault(recipe.tokenizer, []).append("tokenizer")
    return keys_of


def hub_models(recipe: Recipe) -> list[HubModel]:
    """Return the models and tokenizers to download, in the order in which the recipe names them."""
    return [
        HubModel(name, tuple(keys), any(k.endswith("init") for k in keys), any(k.endswith("tokenizer") for k in keys))
        for name, keys in outside_names(recipe).items()
        if not is_local(name)
    ]


def cached(name: str, file: str) -> Path | None:
    """Return the path of a file in the hub's cache on this machine, or None."""
    from huggingface_hub import try_to_load_from_cache

    model = HubModel(name, (), False)
    try:
        path = try_to_load_from_cache(model.repository, file, revision=model.revision)
    except ValueError:  # not a possible hub id
        return None
    return Path(path) if isinstance(path, str) else None


def snapshot(model: HubModel) -> Path:
    """Download the files of a model into the hub's cache and return their folder.

    Raises:
        InputError: one sentence with the key, the id and what to do.
    """
    from huggingface_hub import snapshot_download

    def download(*patterns: str) -> Path:
        files = [*DESCRIPTIONS, *(PARTS if model.weights else ()), *patterns]
        return Path(snapshot_download(model.repository, revision=model.revision, allow_patterns=files))

    try:
        cache = download()
        for pattern in WEIGHTS if model.weights else ():
            cache = download(pattern)
            if any(cache.glob(pattern)):
                break
    except Exception as error:  # the hub's errors have no common class
        raise InputError(explain(model, error)) from error
    if missing := lacking(model, cache):
        raise InputError(
            f"{keys(model)}: '{model.name}' has no {missing} on the hub or, without a network, in the hub's cache"
            f" ({cache}); name another model, or download it with `{by_hand(model)}`"
        )
    return cache


def described(model: HubModel) -> Path | None:
    """Return the folder in the hub's cache with the small files in which a model describes itself; None: out of reach.

    It may lack any of them; a download brings those that the hub has.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    try:
        return Path(
            snapshot_download(model.repository, revision=model.revision, allow_patterns=ABOUT, etag_timeout=ANSWER_S)
        )
    except Exception:  # the hub's errors have no common class; the preflight reports them
        return None


def lacking(model: HubModel, folder: Path) -> str | None:
    """Return the kind of file that a folder lacks for its use in the recipe, or None if it is complete."""
    required = [("config.json",)] * model.weights + [WEIGHTS] * model.weights + [VOCABULARY] * model.tokenizer
    return next((" or ".join(kinds) for kinds in required if not any(any(folder.glob(kind)) for kind in kinds)), None)


def keys(model: HubModel) -> str:
    return ", ".join(model.keys)


def explain(model: HubModel, error: Exception) -> str:
    """Return one sentence about an error of the hub or the network: key, id, reason, what to do."""
    from huggingface_hub import constants
    from huggingface_hub import errors as hub_errors

    subject = f"{keys(model)}: '{model.name}'"
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        return f"{subject} could not be stored in {constants.HF_HUB_CACHE}: {error}"
    if isinstance(error, hub_errors.HFValidationError):
        return f"{subject} is neither a local folder nor a possible hub id ({first_line(error)})"
    if isinstance(error, hub_errors.GatedRepoError):
        return (
            f"{subject} is available only to users who accepted its terms; accept them at"
            f" {constants.ENDPOINT}/{model.repository} and log in with `hf auth login`"
        )
    if isinstance(error, hub_errors.RepositoryNotFoundError):
        return (
            f"{subject} is not a local folder, and the hub ({constants.ENDPOINT}) has no such model, or not for you;"
            " correct the name, or log in with `hf auth login` if it is private"
        )
    if isinstance(error, hub_errors.RevisionNotFoundError):
        return f"{subject}: the model is on the hub, but it has no branch, tag or commit '{model.revision}'"
    cause = error.__cause__ or error.__context__ or error
    offline = " (HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else f" ({first_line(cause)})"
    return (
        f"{subject} is not a local folder, not complete in the hub's cache ({constants.HF_HUB_CACHE}), and the hub"
        f" ({constants.ENDPOINT}) cannot be reached{offline}; run `{by_hand(model)}` on a machine with a network and"
        " rerun, or name a local folder"
    )


def by_hand(model: HubModel) -> str:
    """Return the shell command that downloads a model into the hub's cache."""
    return f"hf download {model.repository}" + (f" --revision {model.revision}" if model.revision else "")


def first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def fetch(model: HubModel, out: Path) -> None:
    """Copy a model from the hub or its local cache into a folder, with a note of its id and commit."""
    source = snapshot(model)
    weights = [pattern for pattern in WEIGHTS if any(source.glob(pattern))] if model.weights else []
    files = {path for pattern in [*DESCRIPTIONS, *weights[:1]] for path in source.glob(pattern)}
    described = any((source / name).is_file() for name in ("modules.json", "led.json"))
    parts = {path for pattern in PARTS for path in source.glob(pattern) if path.suffix in PART_SUFFIXES}
    parts = parts if model.weights and described else set()
    with atomic(out) as temporary:
        temporary.mkdir()
        for path in sorted(files):
            shutil.copyfile(path, temporary / path.name)  # the cache has links, the folder gets files
        for path in sorted(parts):
            inside = temporary / path.relative_to(source)
            inside.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, inside)
        write_json(temporary / NOTE, {"id": model.repository, "asked": model.revision, "commit": source.name})
    size = tree_bytes(out)
    print(f"{model.name}: commit {source.name}, {len(files | parts)} files, {size / 1e6:,.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description="Download a model or a tokenizer from the hub into a folder.")
    parser.add_argument("--name", required=True, help="hub id, with @revision for a branch, tag or commit")
    parser.add_argument("--keys", required=True, nargs="+", help="the recipe's keys that name it, for messages")
    parser.add_argument("--weights", action="store_true", help="a stage starts from it")
    parser.add_argument("--tokenizer", action="store_true", help="texts are tokenised with it")
    parser.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    fetch(HubModel(a.name, tuple(a.keys), a.weights, a.tokenizer), a.out)


if __name__ == "__main__":
    run_main(main)
