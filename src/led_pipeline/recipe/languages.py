"""The values of `bm25.language`: how texts are cut into terms, with Anserini and with OpenSearch. Imports no torch.

Anserini takes a code that it does not know for English and says nothing, so the codes are listed here;
tests/unit/test_languages.py compares the list with the jar.
"""

import difflib
from collections.abc import Iterator
from typing import Annotated, Literal, get_args

from pydantic import BeforeValidator, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

_Code = Literal[
    "en", "none", "bigrams", "ar", "bn", "da", "de", "es", "fa", "fi", "fr", "ha", "hi", "hu", "id", "it", "ja", "ko",
    "nl", "no", "pl", "pt", "ru", "so", "sv", "sw", "te", "th", "tr", "uk", "yo", "zh",
]  # fmt: skip
CODES: tuple[str, ...] = get_args(_Code)

# The analysers that every OpenSearch node has. Japanese, Polish and Ukrainian need plugins, Telugu has none; languages
# that Anserini only splits at blanks (ha, so, sw, yo) have no counterpart that does the same.
NODE_ANALYZERS = {
    "en": "english", "none": "standard", "bigrams": "whitespace", "ar": "arabic", "bn": "bengali", "da": "danish",
    "de": "german", "es": "spanish", "fa": "persian", "fi": "finnish", "fr": "french", "hi": "hindi", "hu": "hungarian",
    "id": "indonesian", "it": "italian", "ko": "cjk", "nl": "dutch", "no": "norwegian", "pt": "portuguese",
    "ru": "russian", "sv": "swedish", "th": "thai", "tr": "turkish", "zh": "cjk",
}  # fmt: skip


def _known(value: object, known: ValidatorFunctionWrapHandler) -> str:
    """Say in one sentence what there is, and what serves all other languages."""
    try:
        return known(value)
    except ValidationError:
        close = difflib.get_close_matches(str(value), CODES, n=1)
        raise PydanticCustomError(
            "language",
            "expected {codes}; none serves other languages that put blanks between words, bigrams those that do"
            " not{nearest}",
            {"codes": ", ".join(CODES), "nearest": f" (did you mean {close[0]}?)" if close else ""},
        ) from None


# YAML reads an unquoted `no` as false.
Language = Annotated[_Code, BeforeValidator(lambda value: "no" if value is False else value), WrapValidator(_known)]


def faults(language: str, backend: str) -> Iterator[str]:
    """Check that the engine that searches knows the language."""
    if backend == "opensearch" and language not in NODE_ANALYZERS:
        yield (
            f"bm25.language: OpenSearch has no analyser for {language} without a plugin; there are"
            f" {', '.join(NODE_ANALYZERS)} (none: words, bigrams: pairs of letters)"
        )
