"""The values of `bm25.language`: the text analysers of Anserini and OpenSearch. Imports no torch.

Anserini silently treats an unknown code as English, so the codes are listed here; tests/unit/recipe/test_languages.py
compares the list with the jar.
"""

import difflib
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

_Code = Literal[
    "en", "none", "bigrams", "ar", "bn", "da", "de", "es", "fa", "fi", "fr", "ha", "hi", "hu", "id", "it", "ja", "ko",
    "nl", "no", "pl", "pt", "ru", "so", "sv", "sw", "te", "th", "tr", "uk", "yo", "zh",
]  # fmt: skip
CODES: tuple[str, ...] = get_args(_Code)

# The analysers that every OpenSearch node has. Japanese, Polish and Ukrainian need plugins, Telugu has none; for the
# languages that Anserini only splits at blanks (ha, so, sw, yo), OpenSearch has no equivalent.
NODE_ANALYZERS = {
    "en": "english", "none": "standard", "bigrams": "whitespace", "ar": "arabic", "bn": "bengali", "da": "danish",
    "de": "german", "es": "spanish", "fa": "persian", "fi": "finnish", "fr": "french", "hi": "hindi", "hu": "hungarian",
    "id": "indonesian", "it": "italian", "ko": "cjk", "nl": "dutch", "no": "norwegian", "pt": "portuguese",
    "ru": "russian", "sv": "swedish", "th": "thai", "tr": "turkish", "zh": "cjk",
}  # fmt: skip


def _checked(value: object, validate: ValidatorFunctionWrapHandler) -> str:
    """Raise one sentence with all codes and the advice for other languages."""
    try:
        return str(validate(value))
    except ValidationError:
        close = difflib.get_close_matches(str(value), CODES, n=1)
        raise PydanticCustomError(
            "language",
            "expected {codes}; none serves other languages that put blanks between words, bigrams those that do"
            " not{nearest}",
            {"codes": ", ".join(CODES), "nearest": f" (did you mean {close[0]}?)" if close else ""},
        ) from None


# YAML reads an unquoted `no` as false.
Language = Annotated[_Code, BeforeValidator(lambda value: "no" if value is False else value), WrapValidator(_checked)]
