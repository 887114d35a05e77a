"""Models: whether those that a recipe takes from elsewhere are here, or can be brought here."""

from fnmatch import fnmatch
from pathlib import Path

from led_pipeline.fetch import hub
from led_pipeline.files.errors import InputError
from led_pipeline.pretrained import model_folder
from led_pipeline.recipe.layout import Layout


def check_hub(model: hub.HubModel, results: Path) -> tuple[bool, str]:
    """Return whether a hub model is out of reach, and a sentence about it."""
    folder = Layout(results).hub(model.name)
    if Path(folder, hub.NOTE).is_file():
        return False, f"{model.name} is in {folder}"
    from huggingface_hub import HfApi, constants, hf_hub_download
    from huggingface_hub import errors as hub_errors

    try:
        info = HfApi().model_info(model.repository, revision=model.revision, timeout=hub.ANSWER_S)
        names = [file.rfilename for file in info.siblings or []]
        if missing := _lacking(model, names):
            return True, f"{hub.keys(model)}: '{model.name}' on the hub has no {missing}; name another model"
        if "config.json" in names:  # whoever may not read a model sees its page all the same
            hf_hub_download(model.repository, "config.json", revision=model.revision, etag_timeout=hub.ANSWER_S)
        pinned = "" if model.revision else f"; no commit is pinned, {model.name}@{info.sha} would hold it to today's"
        return False, f"{model.name} is on the hub ({constants.ENDPOINT}){pinned}"
    except hub_errors.RepositoryNotFoundError as error:
        return True, hub.explain(model, error)
    except hub_errors.RevisionNotFoundError as error:
        return True, hub.explain(model, error)
    except Exception as error:  # no network, in one of many forms
        return _check_cache(model, error)


def _lacking(model: hub.HubModel, names: list[str]) -> str | None:
    def has(pattern: str) -> bool:
        return any(fnmatch(name, pattern) for name in names if "/" not in name)

    required = [("config.json",), hub.WEIGHTS] * model.weights + [hub.VOCABULARY] * model.tokenizer
    return next((" or ".join(kinds) for kinds in required if not any(map(has, kinds))), None)


def _check_cache(model: hub.HubModel, error: Exception) -> tuple[bool, str]:
    """Look into the hub's cache where the hub itself cannot be reached."""
    from huggingface_hub import constants, snapshot_download

    try:
        cache = Path(
            snapshot_download(
                model.repository, revision=model.revision, local_files_only=True, allow_patterns=hub.DESCRIPTIONS
            )
        )
    except Exception:
        return True, hub.explain(model, error)
    if hub.lacking(model, cache):
        return True, hub.explain(model, error)
    return False, f"{model.name} is in the hub's cache ({constants.HF_HUB_CACHE})"


def check_folder(name: str, keys: list[str]) -> tuple[bool, str]:
    """Return whether a local model or tokenizer is not there, and a sentence about it."""
    named_at = ", ".join(keys)
    model = hub.HubModel(name, (), any(k.endswith("init") for k in keys), any(k.endswith("tokenizer") for k in keys))
    if not Path(name).is_dir():
        return True, f"{named_at}: no folder '{name}' here; correct the path (relative ones start where the run does)"
    if (missing := hub.lacking(model, Path(name))) and missing != model_folder.CONFIG:
        return True, f"{named_at}: folder '{name}' has no {missing}; name a folder that a model was saved into"
    try:
        if model.weights:
            model_folder.check_model(Path(name))
        if model.tokenizer:
            model_folder.check_tokenizer(Path(name))
    except InputError as error:
        return True, f"{named_at}: {error}"
    return False, f"{name} is a folder here"
