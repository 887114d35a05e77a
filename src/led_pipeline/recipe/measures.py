"""Measures: the names that recipes may use, in one grammar for validations and evaluations. Imports no torch.

A kind at a cut-off k looks at the first k passages: nDCG@10. Some kinds have a form without a cut-off, over the whole
ranking: MAP. trec_eval computes all of them (`evaluation.measures`).
"""

import difflib
from collections.abc import Collection, Iterable
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

# Measures at a cut-off k, such as nDCG@10: name -> name in trec_eval.
KINDS_OF_MEASURES = {
    "MRR": "recip_rank",
    "nDCG": "ndcg_cut_{k}",
    "MAP": "map_cut_{k}",
    "P": "P_{k}",
    "recall": "recall_{k}",
    "hit": "success_{k}",
}
# Measures of the whole ranking: name -> name in trec_eval.
WITHOUT_CUT_OFF = {"MRR": "recip_rank", "nDCG": "ndcg", "MAP": "map", "Rprec": "Rprec"}
LARGEST_CUT_OFF = 999_999
# The measures of an evaluation, unless the recipe names others.
MEASURES = ("MRR@10", "nDCG@10", "recall@50", "recall@100", "recall@1000", "hit@50", "hit@100", "hit@1000")


def split_measure(name: str) -> tuple[str, int | None]:
    """Return the kind and the cut-off of a measure; the cut-off of MAP is None.

    Raises:
        ValueError: it is no measure.
    """
    kind, at, cut = name.partition("@")
    digits = cut.isascii() and cut.isdigit() and cut[0] != "0"
    if at and kind in KINDS_OF_MEASURES and digits and len(cut) <= len(str(LARGEST_CUT_OFF)):
        return kind, int(cut)
    if not at and kind in WITHOUT_CUT_OFF:
        return kind, None
    raise ValueError(f"'{name}' is no measure")


def cut_off(measure: str) -> int | None:
    """Return the number of passages that a measure looks at: 10 for nDCG@10, None for MAP."""
    return split_measure(measure)[1]


def trec_name(measure: str) -> str:
    """Return the name of a measure in trec_eval; MRR@k has that of MRR."""
    kind, cut = split_measure(measure)
    return WITHOUT_CUT_OFF[kind] if cut is None else KINDS_OF_MEASURES[kind].format(k=cut)


def within(depth: int, measures: Iterable[str] = MEASURES) -> list[str]:
    """Return the measures that rankings of this depth allow: recall@1000 of 100 passages would be recall@100."""
    return [name for name in measures if (cut_off(name) or 0) <= depth]


def at_top(measures: Collection[str]) -> list[str]:
    """Return the measures of a comparison that names none: those at the top of a ranking, and the deepest recall."""
    top = [name for name in measures if name.endswith("@10")]
    return top + [name for name in measures if name.startswith("recall@")][-1:] or list(measures)


def first_of(measures: Collection[str], *preferred: str) -> str:
    """Return the first of the preferred measures that there is, or else the first measure."""
    return next((name for name in preferred if name in measures), next(iter(measures)))


def similar(name: str) -> str | None:
    """Return the measure that a misspelt name probably means: nDCG@10 for NDCG@10 or ncdg@10."""
    kind, _, cut = name.replace("_", "@").partition("@")
    kinds = {each.casefold(): each for each in (*KINDS_OF_MEASURES, *WITHOUT_CUT_OFF)}
    match = difflib.get_close_matches(kind.casefold(), kinds, n=1, cutoff=0.5)
    number = "".join(filter(str.isdigit, cut)).lstrip("0")
    for candidate in [kinds[each] + end for each in match for end in (f"@{number}" if number else "", "@10")]:
        try:
            split_measure(candidate)
        except ValueError:
            continue
        return candidate
    return None


def _measure(name: str) -> str:
    try:
        split_measure(name)
    except ValueError:
        nearest = similar(name)
        choices = {"at_k": ", ".join(KINDS_OF_MEASURES), "whole": ", ".join(WITHOUT_CUT_OFF)}
        raise PydanticCustomError(
            "measure",
            "expected a measure: {at_k} at a cut-off, such as nDCG@10, or {whole} without one{nearest}",
            choices | {"nearest": f" (did you mean {nearest}?)" if nearest else ""},
        ) from None
    return name


def _pattern() -> dict[str, Any]:
    cut = rf"({'|'.join(KINDS_OF_MEASURES)})@[1-9][0-9]{{0,5}}"
    return {"type": "string", "format": "measure", "pattern": rf"^({cut}|{'|'.join(WITHOUT_CUT_OFF)})$"}


Measure = Annotated[str, AfterValidator(_measure), WithJsonSchema(_pattern())]
