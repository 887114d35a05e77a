"""Hub: models and tokenizers that a recipe takes from a model hub, brought into the results before anything uses them.

Run as `python -m led_pipeline.fetch.hub --name ID[@REVISION] --keys KEY... --out DIR` with `--weights`, `--tokenizer`
or both. Compute nodes often have no internet, so this runs first and on the machine that starts the run; every later
job reads the folder. The hub's own cache is used and filled (HF_HOME), and with HF_HUB_OFFLINE=1 nothing else.
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
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.stages import Trained

DESCRIPTIONS = ["*.json", "*.txt", "*.model"]  # configuration, vocabulary, merges
# In order of preference; the first kind that a repository has is taken.
WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")
VOCABULARY = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")
NOTE = "hub.json"  # inside the folder: where it came from


@dataclass(frozen=True)
class HubModel:
    """A name of the recipe that no stage and no folder has."""

    name: str  # hub id, with @revision where one is asked for
    keys: tuple[str, ...]  # where the recipe names it
    weights: bool  # whether it is the start of a stage
    tokenizer: bool = False  # whether texts are cut with it

    @property
    def repository(self) -> str:
        return self.name.partition("@")[0]

    @property
    def revision(self) -> str | None:
        """The branch, tag or commit that the recipe asks for, or the commit that is known of a model of ours."""
        return self.name.partition("@")[2] or REVISIONS.get(self.repository)


def is_local(name: str) -> bool:
    """Return whether a name means a folder: one that exists, or a name that no hub id can have."""
    return Path(name).is_dir() or name.startswith(("/", ".", "~")) or name.count("/") > 1


def slug(name: str) -> str:
    """Return a hub id as the name of a folder; different ids stay different."""
    return folder_names.of_hub(name)


def folder(results: Path | str, name: str) -> Path:
    """Return where a run keeps a model of the hub."""
    return Path(results, "hub", slug(name))


def outside_names(recipe: Recipe) -> dict[str, list[str]]:
    """Return the models and tokenizers that no stage makes, each with the keys that name it."""
    found: dict[str, list[str]] = {}
    for stage, settings in recipe.stages.items():
        if isinstance(settings, Trained):
            query_init = getattr(settings, "query_init", None)
            for key, name in (("init", settings.init), ("query_init", query_init), ("tokenizer", settings.tokenizer)):
                if name and name not in recipe.stages:
                    found.setdefault(name, []).append(f"stages.{stage}.{key}")
    shared = any(isinstance(s, Trained) and not s.tokenizer for s in recipe.stages.values())
    if shared and recipe.tokenizer not in recipe.stages:
        found.setdefault(recipe.tokenizer, []).append("tokenizer")
    return found


def hub_models(recipe: Recipe) -> list[HubModel]:
    """Return what has to come from the hub, in the order in which the recipe names it."""
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
    except ValueError:  # no possible hub id
        return None
    return Path(path) if isinstance(path, str) else None


def snapshot(model: HubModel) -> Path:
    """Bring the files of a model into the hub's cache and return their folder.

    Raises:
        InputError: one sentence with the key, the id and what to do.
    """
    from huggingface_hub import snapshot_download

    options = {"repo_id": model.repository, "revision": model.revision}
    try:
        where = Path(snapshot_download(**options, allow_patterns=DESCRIPTIONS))
        for pattern in WEIGHTS if model.weights else ():
            where = Path(snapshot_download(**options, allow_patterns=[*DESCRIPTIONS, pattern]))
            if any(where.glob(pattern)):
                break
    except Exception as error:  # the hub's errors share no class
        raise InputError(explain(model, error)) from error
    if missing := lacking(model, where):
        raise InputError(
            f"{keys(model)}: of '{model.name}' there is no {missing} on the hub or, without a network, in its cache"
            f" ({where}); name another model, or bring it here with `{by_hand(model)}`"
        )
    return where


def lacking(model: HubModel, where: Path) -> str | None:
    """Return what a folder would need to be used as the recipe says, or None if everything is there."""
    needed = [("config.json",)] * model.weights + [WEIGHTS] * model.weights + [VOCABULARY] * model.tokenizer
    return next((" or ".join(kinds) for kinds in needed if not any(any(where.glob(kind)) for kind in kinds)), None)


def keys(model: HubModel) -> str:
    return ", ".join(model.keys)


def explain(model: HubModel, error: Exception) -> str:
    """Return one sentence about what the hub or the network said: key, id, reason, what to do."""
    from huggingface_hub import constants
    from huggingface_hub import errors as hub_errors

    what = f"{keys(model)}: '{model.name}'"
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        return f"{what} could not be stored in {constants.HF_HUB_CACHE}: {error}"
    if isinstance(error, hub_errors.HFValidationError):
        return f"{what} is no folder here, and no possible id of a hub model ({first_line(error)})"
    if isinstance(error, hub_errors.GatedRepoError):
        return (
            f"{what} is given only to those who accepted its terms; accept them at"
            f" {constants.ENDPOINT}/{model.repository} and log in with `hf auth login`"
        )
    if isinstance(error, hub_errors.RepositoryNotFoundError):
        return (
            f"{what} is no folder here, and the hub ({constants.ENDPOINT}) has no such model, or not for you; correct"
            " the name, or log in with `hf auth login` if it is private"
        )
    if isinstance(error, hub_errors.RevisionNotFoundError):
        return f"{what}: the model is on the hub, but it has no branch, tag or commit '{model.revision}'"
    cause = error.__cause__ or error.__context__ or error
    offline = " (HF_HUB_OFFLINE is set)" if constants.HF_HUB_OFFLINE else f" ({first_line(cause)})"
    return (
        f"{what} is no folder here, not complete in the hub's cache ({constants.HF_HUB_CACHE}), and the hub"
        f" ({constants.ENDPOINT}) cannot be reached{offline}; where there is a network run `{by_hand(model)}` and start"
        " again, or name a local folder"
    )


def by_hand(model: HubModel) -> str:
    """Return the command that fills the hub's cache."""
    return f"hf download {model.repository}" + (f" --revision {model.revision}" if model.revision else "")


def first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__


def fetch(model: HubModel, out: Path) -> None:
    """Copy a model from the hub, or from its cache here, into a folder with a note about where it came from."""
    source = snapshot(model)
    weights = [pattern for pattern in WEIGHTS if any(source.glob(pattern))] if model.weights else []
    files = {path for pattern in [*DESCRIPTIONS, *weights[:1]] for path in source.glob(pattern)}
    modules = set(source.glob("*_*/config.json")) if (source / "modules.json").is_file() else set()
    with atomic(out) as temporary:
        temporary.mkdir()
        for path in sorted(files):
            shutil.copyfile(path, temporary / path.name)  # what a cache links to is copied
        for path in sorted(modules):  # what sentence-transformers does behind the model
            (temporary / path.parent.name).mkdir()
            shutil.copyfile(path, temporary / path.parent.name / path.name)
        write_json(temporary / NOTE, {"id": model.repository, "asked": model.revision, "commit": source.name})
    size = tree_bytes(out)
    print(f"{model.name}: commit {source.name}, {len(files | modules)} files, {size / 1e6:,.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description="Bring a model or a tokenizer from the hub into a folder.")
    parser.add_argument("--name", required=True, help="hub id, with @revision for a branch, tag or commit")
    parser.add_argument("--keys", required=True, nargs="+", help="where the recipe names it, for messages")
    parser.add_argument("--weights", action="store_true", help="a stage starts from it")
    parser.add_argument("--tokenizer", action="store_true", help="texts are cut with it")
    parser.add_argument("--out", required=True, type=Path)
    a = parser.parse_args()
    fetch(HubModel(a.name, tuple(a.keys), a.weights, a.tokenizer), a.out)


if __name__ == "__main__":
    run_main(main)
