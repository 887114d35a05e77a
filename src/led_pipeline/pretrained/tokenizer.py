"""Load a tokenizer from a folder or the hub, and refuse one whose inputs led_pipeline could not reproduce.

Texts are tokenised without special tokens, which are added later (`data.tokens`). So a tokenizer must be a fast one,
and if it has [CLS] and [SEP], it must put them where BERT's does.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from led_pipeline.files.errors import InputError
from led_pipeline.pretrained import model_folder

VOCABULARY = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(name: str | Path) -> "PreTrainedTokenizerBase":
    """Return a fast tokenizer; code in its folder never runs.

    Raises:
        InputError: it cannot be read, it is a Python tokenizer, or it needs custom code.
    """
    from transformers import AutoTokenizer  # slow to import

    subject, name = f"tokenizer '{name}'", str(name)
    if Path(name).is_dir():
        model_folder.check_tokenizer(Path(name))
    with model_folder.as_sentences(subject, "name the complete folder of a saved tokenizer"):
        loaded = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    if not hasattr(loaded, "backend_tokenizer"):
        raise InputError(
            f"{subject}: {type(loaded).__name__} is written in Python, expected a fast tokenizer (with a tokenizer.json"
            " of the library tokenizers); name another model, or a folder with this one converted to a fast one"
        )
    if Path(name).is_dir() and not any(any(Path(name).glob(pattern)) for pattern in VOCABULARY):
        # From config.json alone, transformers creates an empty tokenizer to which every word is unknown.
        raise InputError(
            f"{subject}: it has no vocabulary ({', '.join(VOCABULARY)}); name the folder of a saved tokenizer"
        )
    return loaded


def vocabulary_size(loaded: "PreTrainedTokenizerBase") -> int:
    """Return one more than the highest id of a tokenizer, which also counts unused ids."""
    return max(loaded.get_vocab().values(), default=-1) + 1


def first_token(loaded: "PreTrainedTokenizerBase", name: str) -> int | None:
    """Return the id that a tokenizer puts before a text: BERT's [CLS], Llama's <s>, or None for T5 and GPT-2.

    A tokenizer that has a [CLS] but adds nothing to a text is treated like BERT's.

    Raises:
        InputError: it puts special tokens elsewhere (XLNet's [CLS] ends a text), or adds others.
    """
    ids = loaded.encode("a", add_special_tokens=False)
    around = loaded.encode("a", add_special_tokens=True)
    if loaded.cls_token_id is not None:
        if around in (ids, [loaded.cls_token_id, *ids, loaded.sep_token_id]):
            return loaded.cls_token_id
        supported = f"`{loaded.cls_token} text {loaded.sep_token}`"
    else:
        begin, end = ([token] if token is not None else [] for token in (loaded.bos_token_id, loaded.eos_token_id))
        if around in (ids, [*ids, *end]):
            return None
        if around in ([*begin, *ids], [*begin, *ids, *end]):
            return loaded.bos_token_id
        supported = (
            f"`text`, with its bos_token ({loaded.bos_token}) before and its eos_token ({loaded.eos_token}) after"
        )
    template = " ".join("text" if token in ids else str(loaded.convert_ids_to_tokens(token)) for token in around)
    raise InputError(
        f"tokenizer '{name}': it encodes a text as `{template}`, but led_pipeline only supports {supported}; name a"
        " model whose tokenizer does that, or correct these tokens in tokenizer_config.json"
    )
