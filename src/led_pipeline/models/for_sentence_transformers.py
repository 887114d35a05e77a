"""For sentence-transformers: make a saved model's folder one that sentence-transformers opens as trained."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedTokenizerBase

from led_pipeline.models.bi_encoder import BiEncoder, encoders
from led_pipeline.models.idf import BagOfWords
from led_pipeline.models.saved_tokenizer import CONFIG, save_tokenizer
from led_pipeline.pretrained import sentence_transformers_files as files
from led_pipeline.pretrained.tokenizer import vocabulary_size
from led_pipeline.recipe.representation import RankerRepresentation
from led_pipeline.recipe.step_settings import ModelSettings

WEIGHTS = "model.safetensors"


def shape_of(model: nn.Module, words: PreTrainedTokenizerBase) -> files.Shape:
    """Return what a model's configuration says about it."""
    config = encoders(model)[0].backbone.config
    text = config.get_text_config()
    both = bool(getattr(config, "is_encoder_decoder", False)) or config.model_type in files.ENCODERS_ALONE
    return files.Shape(config.model_type, text.hidden_size, text.vocab_size, vocabulary_size(words), both)


def write_folder(model: nn.Module, settings: ModelSettings, words: PreTrainedTokenizerBase, out: Path) -> None:
    """Write the tokenizer and the files of sentence-transformers into a folder that has the model."""
    config = encoders(model)[0].backbone.config
    types = isinstance(settings, RankerRepresentation) and getattr(config, "type_vocab_size", 0) > 1
    faults = save_tokenizer(words, settings, types, out)
    shape = shape_of(model, words)
    why = files.reasons(settings, shape, faults)
    files.write(out, settings, shape, why)
    if why:
        shutil.copyfile(Path(__file__).with_name(files.CODE), out / files.CODE)
        return
    for encoder, folder in zip(encoders(model), (out, out / files.QUERY), strict=False):
        head = getattr(encoder, "head", None)
        if head is not None:
            _save(head.weight, "linear.weight", folder / files.HEAD)
    query = model.query if isinstance(model, BiEncoder) else None
    if isinstance(query, BagOfWords):
        folder = out / files.WEIGHTS_OF_QUERIES
        _save(query.final_V, "weight", folder)
        save_tokenizer(words, settings, types, folder)
        # This module reads no special tokens, and cuts a query to the tokenizer's length.
        tokenizer = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tokenizer["model_max_length"] = settings.query_length - 2
        (folder / CONFIG).write_text(json.dumps(tokenizer, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    elif query is not None:
        save_tokenizer(words, settings, types, out / files.QUERY)


def _save(tensor: torch.Tensor, name: str, folder: Path) -> None:
    save_file({name: tensor.detach().cpu().contiguous()}, folder / WEIGHTS)
