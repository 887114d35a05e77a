"""Tokenizer: one from a folder or the hub, refused where led_pipeline could not read texts as its author does.

Texts are cut without special tokens and put together later (`data.tokens`), so a tokenizer must be a fast one, and one
that has [CLS] and [SEP] must put them where BERT's does.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from led_pipeline.files.errors import InputError
from led_pipeline.pretrained import model_folder

VOCABULARY = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model")

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(name: str | Path) -> "PreTrainedTokenizerBase":
    """Return a tokenizer that has a fast backend; code of its folder never runs.

    Raises:
        InputError: it cannot be read, it is one in Python, or it wants code of its own to be run.
    """
    from transformers import AutoTokenizer  # slow to import

    what, name = f"tokenizer '{name}'", str(name)
    if Path(name).is_dir():
        model_folder.check_tokenizer(Path(name))
    with model_folder.as_sentences(what, "name a folder that a tokenizer was saved into, whole"):
        loaded = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    if not hasattr(loaded, "backend_tokenizer"):
        raise InputError(
            f"{what}: {type(loaded).__name__} is written in Python, and a fast one is needed (a tokenizer.json, as the"
            " library tokenizers writes it); name another model, or a folder with this one converted to a fast one"
        )
    if Path(name).is_dir() and not any(any(Path(name).glob(pattern)) for pattern in VOCABULARY):
        # transformers makes an empty one from config.json alone, for which every word is unknown.
        raise InputError(
            f"{what}: it has no vocabulary ({', '.join(VOCABULARY)}); name a folder that a tokenizer was saved into"
        )
    return loaded


def vocabulary_size(loaded: "PreTrainedTokenizerBase") -> int:
    """Return one more than the highest id of a tokenizer, which counts holes between ids as well."""
    return max(loaded.get_vocab().values(), default=-1) + 1


def first_token(loaded: "PreTrainedTokenizerBase", name: str) -> int | None:
    """Return the id that a tokenizer puts before a text: BERT's [CLS], Llama's <s>, or None as of T5 and GPT-2.

    One that puts nothing around a text but has a [CLS] is taken to be like BERT's.

    Raises:
        InputError: it puts them elsewhere (XLNet's [CLS] ends a text), or others besides, which nothing here does.
    """
    ids = loaded.encode("a", add_special_tokens=False)
    around = loaded.encode("a", add_special_tokens=True)
    if loaded.cls_token_id is not None:
        if around in (ids, [loaded.cls_token_id, *ids, loaded.sep_token_id]):
            return loaded.cls_token_id
        ours = f"`{loaded.cls_token} text {loaded.sep_token}`"
    else:
        begin, end = ([token] if token is not None else [] for token in (loaded.bos_token_id, loaded.eos_token_id))
        if around in (ids, [*ids, *end]):
            return None
        if around in ([*begin, *ids], [*begin, *ids, *end]):
            return loaded.bos_token_id
        ours = (
            f"`text`, with its bos_token ({loaded.bos_token}) before it and its eos_token ({loaded.eos_token}) behind"
        )
    shown = " ".join("text" if token in ids else loaded.convert_ids_to_tokens(token) for token in around)
    raise InputError(
        f"tokenizer '{name}': it reads a text as `{shown}`, and led_pipeline puts {ours} together; name a model whose"
        " tokenizer does the same, or correct these names in tokenizer_config.json"
    )
