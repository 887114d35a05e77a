"""Any model of transformers as an encoder, and adapters that are merged on export."""

import importlib.util

import numpy as np
import pytest
import tiny
import torch
from tokenizers import processors
from torch import nn
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    BartConfig,
    BartModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    T5Config,
    T5EncoderModel,
    T5Model,
)

from led_pipeline.data.prefixes import with_prefix
from led_pipeline.data.tokens import TokenStore
from led_pipeline.files.errors import InputError
from led_pipeline.models import adapters, saved_model, weights
from led_pipeline.models.backbone import to_packed_batch
from led_pipeline.models.dense import DenseEncoder
from led_pipeline.training import modules, objectives, train

CPU = torch.device("cpu")
IDS = {"vocab_size": 30, "pad_token_id": 0, "eos_token_id": 1}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "dropout_rate": 0.0}
LLAMA = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
BART = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
BART |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64}
LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "targets": None}


def t5() -> nn.Module:
    return tiny.fill(T5Model(T5Config(**IDS, **T5, decoder_start_token_id=0)))


def bare(count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids and mask of texts of 9, 2, 5 and 12 tokens, without special tokens."""
    ids, mask = tiny.batch([9, 2, 5, 12][:count])
    return (ids % 25 + 3) * mask, mask


def pooled(model: nn.Module, ids: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    from sentence_transformers.sentence_transformer.modules import Pooling

    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    name = {"last": "lasttoken"}.get(pooling, pooling)
    return Pooling(16, name)({"token_embeddings": hidden, "attention_mask": mask})["sentence_embedding"]


# --- poolings and models


@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: tiny.backbone("dense"),
        lambda: tiny.lexicon_backbone("roberta").roberta,
        lambda: tiny.lexicon_backbone("distilbert").distilbert,
        lambda: tiny.fill(T5EncoderModel(T5Config(**IDS, **T5))),
        lambda: tiny.fill(GPT2Model(GPT2Config(**GPT2, vocab_size=30))).eval(),
        lambda: tiny.fill(LlamaModel(LlamaConfig(**LLAMA, **IDS))),
    ],
    ids=["bert", "roberta", "distilbert", "t5", "gpt2", "llama"],
)
def test_vectors_equal_transformers_pooled_by_sentence_transformers(make, pooling):
    model, (ids, mask) = make(), bare()
    with torch.no_grad():
        expected = pooled(model, ids, mask, pooling)
        actual = DenseEncoder(model, pooling=pooling)(tiny.unpadded(ids, mask))
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("decoder", ["encoder", "first_decoder_token"])
def test_a_t5_is_read_at_its_encoder_or_first_decoder_token(tmp_path, decoder):
    t5().save_pretrained(tmp_path / "t5")
    tiny.save_bare_tokenizer(tmp_path / "tokenizer")
    pooling = "mean" if decoder == "encoder" else "cls"
    settings = tiny.import_settings("dense", encoder_decoder=decoder, pooling=pooling)
    model, (ids, mask) = tiny.start(tmp_path / "t5", settings).eval(), bare()
    with torch.no_grad():
        if decoder == "encoder":
            expected = pooled(T5EncoderModel.from_pretrained(tmp_path / "t5").eval(), ids, mask, "mean")
        else:
            start = torch.zeros(4, 1, dtype=torch.long)
            whole = T5Model.from_pretrained(tmp_path / "t5").eval()
            expected = whole(input_ids=ids, attention_mask=mask, decoder_input_ids=start).last_hidden_state[:, 0]
        torch.testing.assert_close(model(tiny.unpadded(ids, mask)), expected, rtol=1e-5, atol=1e-5)
        (tmp_path / "model").mkdir()
        saved_model.save(model, settings, tmp_path / "tokenizer", tmp_path / "model")
        again = saved_model.load(tmp_path / "model")[0].eval()
        torch.testing.assert_close(again(tiny.unpadded(ids, mask)), expected, rtol=1e-5, atol=1e-5)


def test_error_names_the_part_that_a_model_lacks(tmp_path):
    tiny.backbone("dense").save_pretrained(tmp_path / "bert")
    BartModel(BartConfig(**IDS, **BART)).save_pretrained(tmp_path / "bart")
    with pytest.raises(InputError, match=r"encoder_decoder: '.*bert' is a bert model and has no decoder"):
        tiny.start(tmp_path / "bert", tiny.import_settings("dense", encoder_decoder="first_decoder_token"))
    with pytest.raises(InputError, match=r"encoder_decoder: of a bart model .* say first_decoder_token"):
        tiny.start(tmp_path / "bart", tiny.import_settings("dense"))
    model = tiny.start(tmp_path / "bart", tiny.import_settings("dense", encoder_decoder="first_decoder_token"))
    assert model(tiny.unpadded(*bare())).shape == (4, 16)


def test_a_decoder_model_learns_from_texts_that_end_with_eos(tmp_path):
    tiny.save_dataset(tmp_path)
    tiny.save_bare_tokenizer(tmp_path / "tokenizer")
    tiny.fill(LlamaModel(LlamaConfig(**LLAMA, **IDS))).save_pretrained(tmp_path / "dense")
    for name, count in (("queries", 10), ("passages", 30)):
        tiny.save_store(tmp_path / f"{name}.arrow", tmp_path / "tokenizer", {"text": tiny.texts(count, 25)})
    settings = tiny.settings("dense", pooling="last", append_eos=True, untied=True, max_steps=2)
    train.train(tiny.training(tmp_path, settings, tmp_path / "model"))
    model, stored = saved_model.load(tmp_path / "model")
    store = TokenStore.for_stage([tmp_path / "queries.arrow"], stored)
    assert all(store.texts([row], 8).ids[-1] == 1 for row in range(10))
    with torch.no_grad():
        actual = model.eval().encode(to_packed_batch(store.texts([3], 8), CPU), "query")
        plain = AutoModel.from_pretrained(tmp_path / "model/query").eval()
        expected = plain(torch.from_numpy(store.texts([3], 8).ids).unsqueeze(0)).last_hidden_state[:, -1]
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


# --- adapters


@pytest.fixture
def folder(tmp_path):
    pytest.importorskip("peft")
    tiny.save_dataset(tmp_path)
    return tmp_path


PLAIN = {"dense": AutoModel, "lexicon": AutoModelForMaskedLM, "ranker": AutoModelForSequenceClassification}


def stir(model: nn.Module) -> None:
    """Give adapters weights as a training would."""
    random = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=random))


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_an_adapter_is_exported_as_the_plain_model_that_peft_merges(folder, family):
    from peft import LoraConfig, get_peft_model

    settings = tiny.settings(family, lora=LORA)
    model = tiny.start(folder / family, settings).eval()
    stir(model)
    (folder / "model").mkdir()
    saved_model.save(model, settings, folder / "tokenizer", folder / "model")

    base = PLAIN[family].from_pretrained(folder / family, **({"num_labels": 1} if family == "ranker" else {}))
    peer = get_peft_model(base, LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0))
    stir(peer)
    expected = peer.merge_and_unload().state_dict()
    exported = PLAIN[family].from_pretrained(folder / "model").state_dict()
    assert exported.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(exported[name], value, rtol=0, atol=1e-6, msg=name)
    first = PLAIN[family].from_pretrained(folder / family).state_dict()
    changed = {name for name in exported if not torch.equal(exported[name], first[name])}
    assert changed and all(".query." in name or ".value." in name for name in changed)
    ids, mask = tiny.batch()
    texts = tiny.unpadded(ids, mask, mask if family == "ranker" else None)
    torch.testing.assert_close(saved_model.load(folder / "model")[0].eval()(texts), model(texts), rtol=1e-5, atol=1e-5)


def test_only_the_adapters_and_the_head_learn_and_the_first_step_sees_the_plain_model(folder):
    settings = tiny.settings("dense", lora=LORA | {"targets": ["key", "dense"]}, head=6)
    model, (ids, mask) = tiny.start(folder / "dense", settings), tiny.batch()
    learning = {name.rsplit(".", 3)[-3] for name, p in model.named_parameters() if p.requires_grad and "lora" in name}
    others = {name for name, p in model.named_parameters() if p.requires_grad and "lora" not in name}
    assert learning == {"lora_A", "lora_B"} and others == {"head.weight"}
    plain = tiny.start(folder / "dense", tiny.settings("dense", head=6))
    texts = tiny.unpadded(ids, mask)
    torch.testing.assert_close(model.eval()(texts), plain.eval()(texts), rtol=0, atol=0)


def test_a_ranker_learns_its_classifier_beside_the_adapters(folder):
    model = tiny.start(folder / "ranker", tiny.settings("ranker", lora=LORA))
    others = {name for name, p in model.named_parameters() if p.requires_grad and "lora" not in name}
    assert {name.split(".")[1] for name in others if "pooler" not in name} == {"classifier"}


def test_a_trained_adapter_is_exported_as_a_plain_model_with_the_same_vectors(folder):
    settings = tiny.settings("lexicon", lora=LORA, untied=True, max_steps=3, learning_rate=1e-2)
    train.train(tiny.training(folder, settings, folder / "model"))
    model = saved_model.load(folder / "model")[0]
    assert not any("lora" in name for name, _ in model.named_parameters())
    first = dict(tiny.start(folder / "lexicon", tiny.settings("lexicon", untied=True)).named_parameters())
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, first[name])}
    assert {name.partition(".")[0] for name in changed} == {"query", "passage"}
    assert all(".query." in name or ".value." in name for name in changed)


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize(("dropout", "chunk"), [(0.3, None), (0.0, 7)])
def test_gradient_checkpointing_reaches_the_adapters_and_changes_no_gradient(folder, family, dropout, chunk):
    """Every chunk of the gradient cache draws its own dropout, so the cached case has none."""
    objective, gradients = objectives.ranker_loss if family == "ranker" else objectives.retriever_loss, []
    for changes in ({}, {"gradient_checkpointing": True, "gradient_cache": chunk}):
        settings = tiny.settings(family, lora=LORA | {"dropout": dropout}, **changes)
        data = objectives.TrainingData.read(
            folder / "trainset.arrow", folder / "queries.arrow", [folder / "passages.arrow"], settings
        )
        encoder = tiny.start(folder / family, settings)
        stir(encoder)
        module = modules.trainable(encoder, settings).double().train()
        torch.manual_seed(1)
        objective(module, data, np.arange(4), slice(0, 4), settings, CPU).total.backward()
        gradients.append({name: p.grad for name, p in encoder.named_parameters() if p.requires_grad})
    assert sum("lora_" in name for name in gradients[1]) == 8, "two matrices beside two weights of each of two layers"
    for name, value in gradients[1].items():
        assert value is not None and value.any(), name
        torch.testing.assert_close(value, gradients[0][name], rtol=1e-6, atol=1e-12, msg=name)


def test_error_lists_the_targets_that_a_model_has(folder):
    with pytest.raises(InputError, match=r"lora\.targets: \['q_proj'\] does not fit a bert model.* dense, key, query"):
        tiny.start(folder / "dense", tiny.settings("dense", lora=LORA | {"targets": ["q_proj"]}))
    tiny.lexicon_backbone("distilbert").save_pretrained(folder / "distilbert")
    with pytest.raises(InputError, match=r"lora\.targets: name some, since peft has no default .* k_lin, lin1, lin2"):
        tiny.start(folder / "distilbert", tiny.settings("lexicon", lora=LORA))


@pytest.mark.parametrize(
    ("package", "changes", "sentence"),
    [
        ("peft", {"lora": LORA}, "lora: it needs peft, which is not installed; pip install peft"),
        (
            "bitsandbytes",
            {"load_in": "4bit"},
            "load_in: 4bit needs bitsandbytes, which is not installed; pip",
        ),
    ],
)
def test_error_gives_the_command_that_installs_a_missing_package(tmp_path, monkeypatch, package, changes, sentence):
    tiny.backbone("dense").save_pretrained(tmp_path / "dense")
    real = importlib.util.find_spec
    for module in (weights, adapters):
        monkeypatch.setattr(module, "find_spec", lambda name: None if name == package else real(name))
    with pytest.raises(InputError, match=sentence):
        tiny.start(tmp_path / "dense", tiny.settings("dense", **changes))


# --- texts without [CLS] and [SEP]


def test_eos_is_never_cut_off_and_counts_in_the_length(tmp_path):
    tiny.save_bare_tokenizer(tmp_path / "tokenizer")
    columns = {"title": ["a b c", "", "a"], "text": ["d e f g", "h i", ""]}
    tiny.save_store(tmp_path / "p.arrow", tmp_path / "tokenizer", columns)
    vocabulary = {name: i for i, name in enumerate(["<pad>", "</s>", "<unk>", *tiny.LETTERS])}

    def read(append: bool, length: int) -> list[str]:
        settings = tiny.import_settings("dense", append_eos=append, pooling="last")
        store = TokenStore.for_stage([tmp_path / "p.arrow"], settings)
        batch = store.texts([0, 1, 2], length)
        assert batch.lengths.tolist() == store.lengths([0, 1, 2], length).tolist()
        names = np.array([*vocabulary])[batch.ids]
        return [" ".join(part) for part in np.split(names, np.cumsum(batch.lengths)[:-1])]

    assert read(False, 20) == ["a b c d e f g", "h i", "a"]
    assert read(True, 20) == ["a b c d e f g </s>", "h i </s>", "a </s>"]
    assert read(True, 6) == ["a b d e f </s>", "h i </s>", "a </s>"], "the longer of title and text is cut first"
    assert read(False, 2) == ["a d", "h i", "a"]
    assert read(True, 2) == ["d </s>", "h </s>", "a </s>"]


@pytest.mark.parametrize(
    ("template", "append"),
    [("<s> $A", False), ("<s> $A </s>", True), ("$A </s>", True), ("$A", False)],
    ids=["llama", "both", "t5", "gpt2"],
)
def test_texts_begin_and_end_as_the_tokenizer_builds_them(tmp_path, template, append):
    fast = tiny.save_bare_tokenizer(tmp_path, ["<s>"])
    fast.add_special_tokens({"bos_token": "<s>"})
    special = [(token, fast.convert_tokens_to_ids(token)) for token in ("<s>", "</s>")]
    fast.backend_tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=special)
    fast.save_pretrained(tmp_path)
    texts = ["a b c", "d", "", "e f g h i j"]
    store = tiny.save_store(tmp_path / "p.arrow", tmp_path, {"text": texts})
    settings = tiny.import_settings("dense", append_eos=append, pooling="last", query_prefix="x y")
    store = TokenStore.for_stage([tmp_path / "p.arrow"], settings)
    batch = store.texts(range(4), 5)
    expected = fast(texts, truncation=True, max_length=5)["input_ids"]
    assert batch.lengths.tolist() == store.lengths(range(4), 5).tolist()
    actual = [part.tolist() for part in np.split(batch.ids, np.cumsum(batch.lengths)[:-1])]
    assert actual == [ids or [fast.eos_token_id] for ids in expected], "a text without any token becomes its end token"
    prefixed = with_prefix(store, "query", str(tmp_path), settings).texts([0], 8).ids.tolist()
    assert prefixed == fast("x y a b c")["input_ids"]


def test_cls_pooling_needs_a_tokenizer_with_a_first_token(tmp_path):
    tiny.save_bare_tokenizer(tmp_path)
    tiny.save_store(tmp_path / "p.arrow", tmp_path, {"text": ["a"]})
    with pytest.raises(InputError, match=r"pooling: cls .* text's first word; write pooling: mean"):
        TokenStore.for_stage([tmp_path / "p.arrow"], tiny.import_settings("dense", pooling="cls"))


def test_error_names_append_eos_or_a_family_that_does_not_fit_the_tokenizer(tmp_path):
    tiny.save_tokenizer(tmp_path / "bert")
    tiny.save_bare_tokenizer(tmp_path / "bare")
    for name in ("bert", "bare"):
        tiny.save_store(tmp_path / f"{name}.arrow", tmp_path / name, {"text": ["a"]})
    with pytest.raises(InputError, match=r"append_eos: the tokenizer ends every text with \[SEP\]; leave this key out"):
        TokenStore.for_stage([tmp_path / "bert.arrow"], tiny.import_settings("dense", append_eos=True))
    with pytest.raises(InputError, match=r"tokenizer: a stage of the family lexicon reads \[CLS\] text \[SEP\]"):
        TokenStore.for_stage([tmp_path / "bare.arrow"], tiny.import_settings("lexicon"))
