"""Upload a folder to the model hub, with the account that `hf auth login` has stored or HF_TOKEN names."""

from pathlib import Path

from led_pipeline.fetch.hub import first_line
from led_pipeline.files.errors import InputError


def check_name(name: str) -> None:
    """Check that a name is a possible id of a model on the hub.

    Raises:
        InputError: it has another form than ORG/NAME.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # not in __all__

    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise InputError(f"'{name}' is no possible name of a model on the hub ({first_line(error)})") from error
    if name.count("/") != 1:
        raise InputError(f"'{name}': expected ORG/NAME, the account or organisation and the name of the model")


def upload(folder: Path, name: str, private: bool) -> str:
    """Upload a folder as a model, which is created if it does not exist, and return its address.

    Raises:
        InputError: nobody is logged in, the account may not write there, or the hub cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        created = api.create_repo(name, private=private, exist_ok=True)
        # Files that an earlier upload had and this model does not need would change how it opens.
        api.upload_folder(repo_id=name, folder_path=folder, commit_message="Model and card", delete_patterns="*")
    except Exception as error:  # the hub's errors have no common class
        raise InputError(_explain(name, error)) from error
    return str(created)


def _explain(name: str, error: Exception) -> str:
    from huggingface_hub import constants
    from huggingface_hub import errors as hub_errors

    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, hub_errors.LocalTokenNotFoundError) or status == 401:
        return f"'{name}': the hub ({constants.ENDPOINT}) does not know you; log in with `hf auth login`"
    if status == 403:
        return f"'{name}': your account may not write there ({first_line(error)}); name an organisation of yours"
    if constants.HF_HUB_OFFLINE:
        return f"'{name}' cannot be uploaded: HF_HUB_OFFLINE is set; unset it"
    return f"'{name}' could not be uploaded to {constants.ENDPOINT}: {first_line(error)}"
