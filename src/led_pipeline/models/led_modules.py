"""A module of sentence-transformers for models of led_pipeline that its own modules cannot express exactly.

This file is copied into the folder of such a model, and needs sentence-transformers, not led_pipeline. Load the model
with `trust_remote_code=True`; without it sentence-transformers refuses the folder. `led.json` beside this file says
how the model reads texts: separate lengths of queries and passages, prefixes that are tokenised separately, titles,
which positions count, pruning, queries without inference, the first decoder token, true or false as answers.

# B = texts, T = token positions, V = vocabulary entries, H = hidden size
"""

import importlib
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import transformers
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules import InputModule
from sentence_transformers.util import load_file_path
from torch import Tensor, nn
from transformers import AutoConfig, AutoTokenizer

SETTINGS, TABLE, HEAD, QUERY = "led.json", "idf.json", "head.safetensors", "query"
KINDS = {"lexicon": "AutoModelForMaskedLM", "ranker": "AutoModelForSequenceClassification"}
Row = tuple[list[int], list[int]]  # token ids, and the type of each


class Settings(SimpleNamespace):
    """The values of led.json."""


def is_code(value: str | None) -> bool:
    """Return whether a setting names code of the model's author, `file.py:name`."""
    return bool(value) and ":" in str(value)


def kind_of(settings: Settings, config: Any) -> Any:
    """Return the class of transformers that reads the weights."""
    if getattr(settings, "scoring", None) == "true_false":
        return transformers.AutoModelForSeq2SeqLM
    if settings.family in KINDS:
        return getattr(transformers, KINDS[settings.family])
    encoders: Any = transformers.AutoModelForTextEncoding._model_mapping
    alone = type(config) in encoders and "Encoder" in encoders[type(config)].__name__
    return transformers.AutoModelForTextEncoding if alone and not reads_decoder(settings) else transformers.AutoModel


def reads_decoder(settings: Settings) -> bool:
    return settings.encoder_decoder == "first_decoder_token"


class Reader:
    """Turns texts into token ids as in training."""

    def __init__(self, settings: Settings, tokenizer: Any):
        self.settings, self.tokenizer = settings, tokenizer
        self.lengths = {side: getattr(settings, f"{side}_length") for side in ("query", "passage")}
        self.cls, self.sep, self.eos = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.eos_token_id
        self.bracketed = self.cls is not None and self.sep is not None
        around = tokenizer.encode("a", add_special_tokens=True)
        plain = bool(around) and around[0] == tokenizer.bos_token_id and tokenizer.bos_token_id is not None
        plain = plain and getattr(settings, "scoring", None) != "true_false"
        self.begin = self.cls if self.bracketed else tokenizer.bos_token_id if plain else None
        self.between = 0 if self.sep is None else min(2, max(1, tokenizer("a", "a")["input_ids"].count(self.sep) - 1))
        self.append_eos = bool(getattr(settings, "append_eos", None))
        joint = getattr(settings, "title_separator", None)  # text between title and passage
        self.after_title = [self.sep] * (self.between * self.bracketed) if joint is None else self.ids(joint.rstrip())

    def ids(self, text: str) -> list[int]:
        tokens = self.tokenizer(text, add_special_tokens=False, truncation=False, padding=False, verbose=False)
        return list(tokens["input_ids"])

    def text(self, item: Any, side: str, prefix: str) -> list[int]:
        """Return the ids of a text, or of a pair (title, text)."""
        title, text = ("", item) if isinstance(item, str) else item
        before, titles, texts = self.ids(prefix.rstrip(" ")) if prefix else [], self.ids(title), self.ids(text)
        lead = [] if self.begin is None else [self.begin]
        end = [self.sep] if self.bracketed else [self.eos] if self.append_eos else []
        room = self.lengths[side] - len(before) - len(lead) - len(end)
        if titles or (self.settings.untitled == "empty_title" and side == "passage"):
            room = max(0, room - len(self.after_title))
            if len(titles) + len(texts) > room:
                shorter = min(len(titles), len(texts), room // 2)
                cut = (shorter, room - shorter) if len(titles) <= len(texts) else (room - shorter, shorter)
                titles, texts = titles[: cut[0]], texts[: cut[1]]
            middle = [*titles, *self.after_title, *texts]
        else:
            middle = texts[:room]
        if not middle and not lead and not end:
            end = [self.eos]
        return [*lead, *before, *middle, *end]

    def pair(self, query: str, passage: Any) -> Row:
        """Return the ids and types of a query and a passage, or a passage (title, text)."""
        left = self.text(query, "query", self.settings.query_prefix)
        right = self.text(passage, "passage", self.settings.passage_prefix)
        if self.between:  # a [SEP] takes the place of the passage's [CLS]
            right = [self.sep] * (self.between - 1) + right[1:]
        if getattr(self.settings, "scoring", None) == "true_false":
            return self._ask(left, right)
        return [*left, *right], [0] * len(left) + [1] * len(right)

    def _ask(self, left: list[int], right: list[int]) -> Row:
        match = re.fullmatch(r"(.*)\{query\}(.*)\{passage\}(.*)", self.settings.template, re.DOTALL)
        assert match, f"{SETTINGS}: template"
        before, between, after = (self.ids(part.strip()) for part in match.groups())
        end = [] if self.eos is None else [self.eos]
        ids = [*before, *left, *between, *right, *after, *end]
        return ids, [0] * len(ids)


class LedModel(InputModule):
    """A whole model: `task="query"` (encode_query) reads queries, everything else passages; rankers read pairs."""

    passage: Any
    query: Any
    tokenizer: Any

    def __init__(self, settings: Settings, tokenizer: Any, passage: nn.Module, query: nn.Module | None = None):
        super().__init__()  # type: ignore[no-untyped-call]
        self.settings, self.tokenizer, self.reader = settings, tokenizer, Reader(settings, tokenizer)
        self.passage, self.query, self.heads = passage, query, nn.ParameterDict()
        self.table_text = ""
        self.table_V: Tensor
        self.register_buffer("table_V", torch.empty(0), persistent=False)

    @classmethod
    def load(cls, model_name_or_path: str, subfolder: str = "", **options: Any) -> "LedModel":  # type: ignore[override]
        path, hub = model_name_or_path, {name: options.get(name) for name in ("token", "revision")}
        hub["local_files_only"] = options.get("local_files_only", False)
        folder: dict[str, Any] = {**hub, "cache_folder": options.get("cache_folder")}
        hub["cache_dir"] = options.get("cache_folder")
        if options.get("backend", "torch") != "torch":
            raise ValueError(f"{path}: this model can only be used with backend='torch'")
        settings = Settings(**cls.load_config(path, config_filename=SETTINGS, **folder))
        if is_code(getattr(settings, "pooling", None)) or is_code(getattr(settings, "encoder", None)):
            return user_model(path, settings, hub)
        tokenizer = AutoTokenizer.from_pretrained(path, **hub, **(options.get("processor_kwargs") or {}))
        config = AutoConfig.from_pretrained(path, **hub, **(options.get("config_kwargs") or {}))
        kind, arguments = kind_of(settings, config), {"dtype": "auto", **hub, **(options.get("model_kwargs") or {})}
        passage, query = kind.from_pretrained(path, config=config, **arguments), None
        if getattr(settings, "untied", False):
            query = kind.from_pretrained(path, subfolder=QUERY, **arguments)
        model = cls(settings, tokenizer, passage, query)
        sides = {"passage": "", "query": QUERY} if query is not None else {"passage": ""}
        for name, inside in sides.items() if getattr(settings, "head", None) else ():
            file = load_file_path(path, HEAD, subfolder=inside, **folder)
            assert file, f"{path}: no {inside}/{HEAD}"
            model.heads[name] = nn.Parameter(load_file(file)["weight"])
        if getattr(settings, "query_encoder", "model") != "model":
            file = load_file_path(path, TABLE, **folder)
            model.table_text = Path(file).read_text(encoding="utf-8") if file else ""
            model.table_V = table_of(settings, tokenizer, config.vocab_size, model.table_text)
        return model

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        folder = Path(output_path)
        self.tokenizer.save_pretrained(folder)
        for name, model in (("passage", self.passage), ("query", self.query)):
            if model is not None:
                inside = folder / QUERY if name == "query" else folder
                model.save_pretrained(inside)
                if name in self.heads:
                    save_file({"weight": self.heads[name].detach().cpu().contiguous()}, inside / HEAD)
        if self.table_text:
            (folder / TABLE).write_text(self.table_text, encoding="utf-8")
        (folder / SETTINGS).write_text(json.dumps(vars(self.settings), indent=2) + "\n", encoding="utf-8")

    @property
    def max_seq_length(self) -> int:
        return max(self.reader.lengths.values())

    @max_seq_length.setter
    def max_seq_length(self, value: int) -> None:
        self.reader.lengths = dict.fromkeys(self.reader.lengths, value)

    def get_embedding_dimension(self) -> int:
        config = self.passage.config
        hidden = config.hidden_size if self.settings.family == "dense" else config.vocab_size
        return int(getattr(self.settings, "head", None) or hidden)

    def preprocess(self, inputs: Any, prompt: str | None = None, task: str | None = None, **_: Any) -> dict[str, Any]:
        side = "query" if task == "query" else "passage"
        if self.settings.family == "ranker":
            rows = [self.reader.pair(*pair) for pair in inputs]
        else:
            rows = [(self.reader.text(item, side, prompt or ""), []) for item in inputs]
        longest = max(len(ids) for ids, _ in rows)
        padding = self.tokenizer.pad_token_id or 0
        features: dict[str, Any] = {"side": side}
        features["input_ids"] = torch.tensor([ids + [padding] * (longest - len(ids)) for ids, _ in rows])
        features["attention_mask"] = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in rows])
        if self.settings.family == "ranker" and getattr(self.passage.config, "type_vocab_size", 0) > 1:
            types = [types + [0] * (longest - len(types)) for _, types in rows]
            features["token_type_ids"] = torch.tensor(types)
        return features

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        side = features.get("side", "passage")
        if self.settings.family == "ranker":
            features["scores"] = self._scores(features)
        elif self.settings.family == "lexicon":
            features["sentence_embedding"] = self._weights(features, side)
        else:
            features["sentence_embedding"] = self._vectors(features, side)
        return features

    def _run(self, model: nn.Module, features: dict[str, Any], start: bool = False) -> Tensor:
        names = ("input_ids", "attention_mask", "token_type_ids")
        inputs = {name: features[name] for name in names if name in features}
        if start:
            inputs["decoder_input_ids"] = torch.full_like(inputs["input_ids"][:, :1], start_token(model))
        output: Tensor = model(**inputs, use_cache=False)[0] if start else model(**inputs)[0]
        return output.float()

    def _scores(self, features: dict[str, Any]) -> Tensor:
        if self.settings.scoring == "classifier":
            return self._run(self.passage, features)
        words = (self.reader.ids(getattr(self.settings, key))[0] for key in ("true_word", "false_word"))
        first_BV = self._run(self.passage, features, start=True)[:, 0]
        true, false = words
        return (first_BV[:, true] - first_BV[:, false]).unsqueeze(1)

    def _vectors(self, features: dict[str, Any], side: str) -> Tensor:
        name = "query" if side == "query" and self.query is not None else "passage"
        decoder = reads_decoder(self.settings)
        hidden_BTH = self._run(getattr(self, name), features, decoder)
        mask_BT1 = features["attention_mask"].unsqueeze(-1)
        if decoder or self.settings.pooling == "cls":
            vectors = hidden_BTH[:, 0]
        elif self.settings.pooling == "last":
            vectors = hidden_BTH[torch.arange(len(hidden_BTH)), mask_BT1.sum(dim=(1, 2)) - 1]
        else:
            vectors = (hidden_BTH * mask_BT1).sum(dim=1) / mask_BT1.sum(dim=1)
        if name in self.heads:
            vectors = nn.functional.linear(vectors, self.heads[name])
        return nn.functional.normalize(vectors, dim=1) if self.settings.normalize else vectors

    def _weights(self, features: dict[str, Any], side: str) -> Tensor:
        ids_BT, counts_BT = features["input_ids"], features["attention_mask"].bool()
        if side == "query" and len(self.table_V):
            present_BV = self.table_V.new_zeros(len(ids_BT), len(self.table_V))
            present_BV.scatter_reduce_(1, ids_BT, counts_BT.to(present_BV.dtype), "amax")
            weights_BV = present_BV * self.table_V
        else:
            name = "query" if side == "query" and self.query is not None else "passage"
            logits_BTV = self._run(getattr(self, name), features)
            if not self.settings.keep_special_tokens:  # neither the first position nor the last one
                counts_BT = counts_BT.clone()
                counts_BT[torch.arange(len(counts_BT)), counts_BT.sum(dim=1) - 1] = False
                counts_BT[:, 0] = False
            logits_BTV = logits_BTV.masked_fill(~counts_BT.unsqueeze(-1), torch.finfo(logits_BTV.dtype).min)
            weights_BV = logits_BTV.amax(dim=1).relu().log1p()
            weights_BV = weights_BV.log1p() if self.settings.activation == "log1p_twice" else weights_BV
        of = "queries" if side == "query" else "passages"
        top_k, ratio = getattr(self.settings, f"top_k_{of}"), getattr(self.settings, f"prune_ratio_{of}")
        return pruned(weights_BV, top_k, ratio)


def user_model(path: str, settings: Settings, hub: dict[str, Any]) -> LedModel:
    """Return a model whose pooling or encoder is code of its author for led_pipeline."""
    try:
        model: LedModel = importlib.import_module("led_pipeline.models.user_module").UserModel.of(path, settings, hub)
    except ImportError as error:
        raise ImportError(f"{path}: its pooling or encoder is code for led_pipeline, which is not installed") from error
    return model


def start_token(model: Any) -> int:
    """Return the id of the first token that a decoder reads."""
    for config in (model.config, getattr(model, "generation_config", None)):
        token: int | None = getattr(config, "decoder_start_token_id", None)
        if token is not None:
            return token
    return int(model.config.pad_token_id)


def table_of(settings: Settings, tokenizer: Any, size: int, text: str) -> Tensor:
    """Return the weight of each vocabulary entry in a query (V,); special tokens have none."""
    weights_V = torch.ones(size)
    if settings.query_encoder == "idf":
        vocabulary = tokenizer.get_vocab()
        for token, weight in json.loads(text).items():
            weights_V[vocabulary[token]] = weight
    weights_V[[i for i in tokenizer.all_special_ids if i < size]] = 0
    return weights_V.relu()


def pruned(weights_BV: Tensor, top_k: int | None, ratio: float) -> Tensor:
    """Keep the weights above a share of a text's highest one, and at most `top_k` of them."""
    if ratio:
        weights_BV = weights_BV * (weights_BV > ratio * weights_BV.amax(dim=1, keepdim=True))
    if top_k and top_k < weights_BV.shape[1]:
        highest, terms = weights_BV.topk(top_k, dim=1)
        weights_BV = torch.zeros_like(weights_BV).scatter(1, terms, highest)
    return weights_BV
