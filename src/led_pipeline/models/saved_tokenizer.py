"""Saved tokenizers: written so that transformers alone reads texts as the model does, special tokens included.

Our own commands add the special tokens themselves (`data.tokens`), so nothing here changes what they read: only the
template around a text, the sides for padding and cutting, and whether token types are returned.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import processors
from transformers import PreTrainedTokenizerBase

from led_pipeline.data.tokeniser import separators
from led_pipeline.pretrained.sentence_transformers_files import WITHOUT_TOKENS, prompt
from led_pipeline.pretrained.tokenizer import first_token
from led_pipeline.recipe.representation import DenseRepresentation, RankerRepresentation, Side
from led_pipeline.recipe.step_settings import ModelSettings

CONFIG = "tokenizer_config.json"
PROBES = ("a", "Hello world", "1", "(x)", " b", "é", "")
SIDES: tuple[Side, ...] = ("query", "passage")


def save_tokenizer(words: PreTrainedTokenizerBase, settings: ModelSettings, types: bool, out: Path) -> list[str]:
    """Write a tokenizer, and return sentences about texts that it reads differently from the model.

    Args:
        words: its template is changed in place, where it does not give what the model reads.
        types: whether the model reads token types; retrievers read none, even for titles.
    """
    words.padding_side = words.truncation_side = "right"
    if not isinstance(settings, RankerRepresentation) and _differs(words, settings):
        _set_template(words, settings)
    faults = [*_faults(words, settings)]
    words.save_pretrained(out)
    config = json.loads((out / CONFIG).read_text(encoding="utf-8"))
    names = ["input_ids", *(["token_type_ids"] if types else []), "attention_mask"]
    config |= {"model_input_names": names, "padding_side": "right", "truncation_side": "right"}
    (out / CONFIG).write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return faults


def _around(words: PreTrainedTokenizerBase, settings: ModelSettings) -> tuple[list[int], list[int], list[int]]:
    """Return the special tokens before a text, between title and text, and after them."""
    if words.cls_token_id is not None and words.sep_token_id is not None:
        return [words.cls_token_id], [words.sep_token_id] * separators(words), [words.sep_token_id]
    in_template = isinstance(settings, RankerRepresentation) and settings.scoring == "true_false"
    begin = None if in_template else first_token(words, str(words.name_or_path))
    append = isinstance(settings, DenseRepresentation) and settings.append_eos and words.eos_token_id is not None
    return [] if begin is None else [begin], [], [words.eos_token_id] if append else []


def _ids(words: PreTrainedTokenizerBase, text: str, second: str | None = None) -> list[int]:
    return list(words(text, second)["input_ids"])


def _bare(words: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(words(text, add_special_tokens=False)["input_ids"])


def _differs(words: PreTrainedTokenizerBase, settings: ModelSettings) -> bool:
    """Return whether a tokenizer puts other special tokens around a text, or a title and a text, than we do."""
    before, between, after = _around(words, settings)
    one, two = _bare(words, "a"), _bare(words, "b c")
    alone = _ids(words, "a") != [*before, *one, *after]
    return alone or _ids(words, "a", "b c") != [*before, *one, *between, *two, *after]


def _set_template(words: PreTrainedTokenizerBase, settings: ModelSettings) -> None:
    before, between, after = _around(words, settings)
    names = {i: str(words.convert_ids_to_tokens(i)) for i in {*before, *between, *after}}

    def pieces(*parts: list[int] | str) -> list[str]:
        return [piece for part in parts for piece in ([part] if isinstance(part, str) else [names[i] for i in part])]

    words.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=pieces(before, "$A", after),
        pair=pieces(before, "$A", between, "$B", after),
        special_tokens=[(name, i) for i, name in names.items()],
    )


def _faults(words: PreTrainedTokenizerBase, settings: ModelSettings) -> Iterator[str]:
    if isinstance(settings, RankerRepresentation):
        return
    if _differs(words, settings):
        yield "its tokenizer puts other special tokens around a text"
    if not _ids(words, ""):
        yield WITHOUT_TOKENS
    for side in SIDES:
        before, _, after = _around(words, settings)
        if not settings.prefix(side):
            continue
        prefix = _bare(words, settings.prefix(side).rstrip(" "))
        expected = ([*before, *prefix, *_bare(words, text), *after] for text in PROBES)
        if any(_ids(words, prompt(settings, side) + text) != ids for text, ids in zip(PROBES, expected, strict=True)):
            yield f"prefix and text are tokenised separately ({side}_prefix)"
