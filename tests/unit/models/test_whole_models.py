"""Every weight of a model comes from its file or is a new head of a trained stage; anything else is an error."""

import json
from pathlib import Path

import pytest
import tiny
import torch
from configs import RECIPES, changed
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    BartConfig,
    BartModel,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
)

from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.models import limits, saved_model
from led_pipeline.models.bi_encoder import encoders
from led_pipeline.recipe.load import load_recipe
from led_pipeline.training import train

FILE = "model.safetensors"
IDS = {"vocab_size": 57, "pad_token_id": 0, "eos_token_id": 1}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24, "bos_token_id": 1, "eos_token_id": 1}
LLAMA = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
BART = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2}
BART |= {"decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 24}


def saved(folder: Path, family: str, rename=lambda name: name, **others: torch.Tensor) -> str:
    """Save a tiny BERT whose tensors get other names, or none (None), with further tensors beside them."""
    tiny.backbone(family).save_pretrained(folder)
    tensors = {rename(name): value for name, value in load_file(folder / FILE).items()}
    tensors.pop(None, None)
    save_file(tensors | others, folder / FILE, metadata={"format": "pt"})
    return str(folder)


def load(source: str, family: str, trained: bool = False, query_init: str | None = None, **changes) -> nn.Module:
    settings = (tiny.settings if trained else tiny.import_settings)(family, **changes)
    return tiny.start(source, settings, query_init=query_init)


def same(first: nn.Module, second: nn.Module) -> bool:
    expected = second.state_dict()
    return all(torch.equal(value, expected[name]) for name, value in first.state_dict().items())


# --- prefixes


PREFIXES = ["module.", "_orig_mod.module.", "model.", "encoder.", "lm_q.", "bert."]


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_wrappers_prefix_is_removed_with_a_note(tmp_path, prefix):
    plain = load(saved(tmp_path / "plain", "dense"), "dense")
    model = load(saved(tmp_path / "wrapped", "dense", lambda name: prefix + name), "dense")
    assert same(plain, model)
    notes = saved_model.origins(model)
    # transformers itself strips the name of the body in a model with a head
    assert notes == [] if prefix == "bert." else f"'{prefix}' is taken away from the names" in notes[0]


def test_a_wrapped_model_is_saved_as_a_plain_one(tmp_path):
    plain = load(saved(tmp_path / "plain", "dense"), "dense")
    model = load(saved(tmp_path / "wrapped", "dense", lambda name: f"module.bert.{name}"), "dense")
    tiny.save_tokenizer(tmp_path / "tokenizer")
    (tmp_path / "out").mkdir()
    saved_model.save(model, tiny.settings("dense"), tmp_path / "tokenizer", tmp_path / "out")
    assert load_file(tmp_path / "out" / FILE).keys() == load_file(tmp_path / "plain" / FILE).keys()
    assert same(saved_model.load(tmp_path / "out")[0], plain)


@pytest.mark.parametrize("family", ["lexicon", "ranker"])
def test_a_prefix_before_a_body_with_a_head_is_removed_too(tmp_path, family):
    plain = load(saved(tmp_path / "plain", family), family)
    assert same(plain, load(saved(tmp_path / "wrapped", family, lambda name: f"module.{name}"), family))


def test_error_names_two_models_in_one_file(tmp_path):
    tiny.backbone("dense").save_pretrained(tmp_path)
    tensors = load_file(tmp_path / FILE)
    both = {f"{side}.{name}": value.clone() for side in ("lm_q", "lm_p") for name, value in tensors.items()}
    save_file(both, tmp_path / FILE)
    with pytest.raises(InputError, match=r"safetensors: it holds more than one model, .* 'lm_p\.' and with 'lm_q\.'"):
        load(str(tmp_path), "dense")


# --- tensors that are not there, or too many


def test_error_names_a_missing_tensor_and_those_in_the_file(tmp_path):
    source = saved(tmp_path, "dense", lambda name: name.replace("layer.1.output", "layer.1.exit"))
    with pytest.raises(InputError) as error:
        load(source, "dense", trained=True)
    sentence = str(error.value)
    assert f"{tmp_path}/model.safetensors: its weights lack 4 of the tensors that BertModel needs" in sentence
    assert "encoder.layer.1.output.LayerNorm.bias" in sentence and "encoder.layer.1.exit.LayerNorm.bias" in sentence


def test_error_names_tensors_that_the_config_does_not_have(tmp_path):
    source = saved(tmp_path, "dense")
    config = read_json(tmp_path / "config.json")
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 1}))
    with pytest.raises(InputError, match=r"hold 16 tensors in the body .* does not have \(encoder\.layer\.1"):
        load(source, "dense", trained=True)


def test_error_names_a_shape_that_differs_from_the_config(tmp_path):
    source = saved(tmp_path, "dense")
    config = read_json(tmp_path / "config.json")
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 60}))
    with pytest.raises(InputError, match=r"word_embeddings\.weight has the shape 57 x 16 in its weights and 60 x 16"):
        load(source, "dense")


def test_a_projection_that_would_be_left_out_is_an_error_unless_the_stage_is_trained(tmp_path):
    source = saved(tmp_path, "dense", projection=torch.zeros(8, 16))
    with pytest.raises(InputError, match=r"hold 1 tensors that no head of a bert model has \(projection\)"):
        load(source, "dense")
    assert "1 tensors are not used: projection" in saved_model.origins(load(source, "dense", trained=True))[0]


def test_heads_of_other_tasks_are_dropped_with_a_note(tmp_path):
    source = saved(tmp_path, "lexicon", lambda name: name, **{"cls.seq_relationship.weight": torch.zeros(2, 16)})
    assert "6 tensors are not used: cls.predictions.bias" in saved_model.origins(load(source, "dense"))[0]


@pytest.mark.parametrize(
    ("make", "family", "changes"),
    [
        (lambda: tiny.lexicon_backbone("distilbert"), "lexicon", {}),
        (lambda: tiny.lexicon_backbone("roberta"), "lexicon", {}),
        (lambda: tiny.lexicon_backbone("bert with untied output embeddings"), "lexicon", {}),
        (lambda: GPT2LMHeadModel(GPT2Config(**GPT2, vocab_size=57)), "dense", {"pooling": "last"}),
        (lambda: LlamaForCausalLM(LlamaConfig(**LLAMA, **IDS, tie_word_embeddings=True)), "dense", {"pooling": "last"}),
        (
            lambda: T5ForConditionalGeneration(T5Config(**IDS, **T5, decoder_start_token_id=0)),
            "dense",
            {"pooling": "mean"},
        ),
    ],
    ids=["distilbert", "roberta", "untied", "gpt2", "llama", "t5"],
)
def test_models_with_tied_or_unneeded_heads_are_complete(tmp_path, make, family, changes):
    model = tiny.fill(make())
    model.save_pretrained(tmp_path)
    loaded = load(str(tmp_path), family, **changes)
    assert loaded.backbone.origin.new == []
    expected = {**model.state_dict(), **model.base_model.state_dict()}
    for name, value in loaded.backbone.state_dict().items():
        assert torch.equal(value, expected.get(name, expected.get(f"encoder.{name}", value))), name


def test_a_model_without_a_pooler_is_imported_alike_every_time(tmp_path):
    """A masked language model has no pooler; a dense stage does not use one."""
    source = saved(tmp_path / "mlm", "lexicon")
    models = [load(source, "dense", trained=trained) for trained in (False, True)]
    assert models[0].backbone.origin.new == [] and same(*models)
    assert not any("pooler" in name for name in models[0].state_dict())


# --- new heads


def test_a_ranker_without_its_classifier_is_not_imported(tmp_path):
    source = saved(tmp_path, "dense")
    with pytest.raises(InputError, match=r"lack 2 .*SequenceClassification needs \(classifier\.bias, classifier\."):
        load(source, "ranker")
    models = [load(source, "ranker", trained=True, seed=seed) for seed in (1, 1, 2)]
    assert same(models[0], models[1]) and not same(models[0], models[2]), "new heads come from the seed"
    assert "2 tensors are new, drawn from the seed" in saved_model.origins(models[0])[0]


def test_the_head_of_another_number_of_labels_is_replaced_only_where_it_is_trained(tmp_path):
    config = BertConfig(**tiny.BERT, num_labels=3)
    tiny.fill(BertForSequenceClassification(config)).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"classifier\.(bias|weight) has the shape 3"):
        load(str(tmp_path), "ranker")
    assert set(load(str(tmp_path), "ranker", trained=True).backbone.origin.new) == {
        "classifier.weight",
        "classifier.bias",
    }


def test_a_lexicon_stage_without_a_masked_lm_head_needs_new_head(tmp_path):
    source = saved(tmp_path, "dense")
    with pytest.raises(InputError, match=r"BertForMaskedLM needs .*that was saved with its masked-LM head$"):
        load(source, "lexicon")
    with pytest.raises(InputError, match=r"or say new_head: true"):
        load(source, "lexicon", trained=True)
    with pytest.raises(InputError, match=r"lack 6 .* since adapters do not train a new one"):
        load(source, "lexicon", trained=True, new_head=True, lora={"rank": 2})
    assert any("transform.dense" in name for name in load(source, "lexicon", True, new_head=True).backbone.origin.new)


@pytest.mark.parametrize(
    ("stage", "fault"),
    [
        (
            {"family": "lexicon", "init": "led", "train": False},
            "no masked-LM head; start from a masked_lm, lexicon or pretrain stage",
        ),
        ({"family": "lexicon", "init": "led", "negatives": ["bm25"]}, "no masked-LM head; .* or say new_head: true"),
        ({"family": "lexicon", "init": "led", "negatives": ["bm25"], "new_head": True}, None),
        ({"family": "ranker", "init": "led", "train": False}, r"no classifier; train this stage \(train: true\)"),
        ({"family": "ranker", "init": "led", "negatives": ["bm25"]}, None),
    ],
)
def test_error_names_a_stage_without_a_head_before_any_job(stage, fault):
    config = changed(RECIPES["demo.yaml"], {"stages.mine": stage})
    if fault is None:
        assert load_recipe(config).stages["mine"].init == "led"
        return
    with pytest.raises(InputError, match=f"stages.mine.init: 'led' is a dense stage, whose model has {fault}"):
        load_recipe(config)


def test_a_projection_starts_at_random_only_if_it_is_trained(tmp_path):
    source = saved(tmp_path, "dense")
    with pytest.raises(InputError, match=r"head: '.*' has no linear head \(head\.safetensors\), and train: false"):
        load(source, "dense", head=4)
    assert load(source, "dense", trained=True, head=4).backbone.origin.new == ["head.safetensors: weight"]


def test_a_separate_query_encoder_is_checked_as_well(tmp_path):
    source = saved(tmp_path / "whole", "dense")
    damaged = saved(tmp_path / "damaged", "dense", lambda name: None if "layer.1.output.dense" in name else name)
    with pytest.raises(InputError, match=r"damaged/model\.safetensors: its weights lack 2"):
        load(source, "dense", untied=True, query_init=damaged)


def test_a_training_records_which_weights_started_at_random(tmp_path, capsys):
    tiny.save_dataset(tmp_path)
    saved(tmp_path / "ranker", "dense")
    settings = tiny.settings("ranker", max_steps=1)
    train.train(tiny.training(tmp_path, settings, tmp_path / "model"))
    assert "2 tensors are new, drawn from the seed" in capsys.readouterr().out
    origin = read_json(tmp_path / "model/weights.json")
    assert origin == {
        "source": str(tmp_path / "ranker"),
        "prefix": "",
        "new": ["classifier.bias", "classifier.weight"],
        "unused": [],
    }


# --- what texts need


MODELS = {
    "bert": (lambda: BertModel(BertConfig(**tiny.BERT | {"max_position_embeddings": 24})), 24),
    "roberta": (
        lambda: tiny.lexicon_backbone("roberta").roberta,
        63,
    ),  # 64 rows, the first is behind the padding's id 0
    "gpt2": (lambda: GPT2LMHeadModel(GPT2Config(**GPT2, vocab_size=57)).transformer, 24),
    "bart": (lambda: BartModel(BartConfig(**IDS, **BART)), 24),
}


@pytest.mark.parametrize("name", MODELS)
def test_maximal_positions_are_those_that_a_model_can_compute(name):
    model, most = MODELS[name][0]().eval(), MODELS[name][1]
    assert limits.positions(model) == most
    with torch.no_grad():
        model(input_ids=torch.full((1, most), 5))
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, most + 1), 5))


def test_relative_positions_are_unlimited_and_rotary_ones_limited_by_the_config():
    assert limits.positions(T5EncoderModel(T5Config(**IDS, **T5))) is None
    assert limits.positions(LlamaForCausalLM(LlamaConfig(**LLAMA, **IDS, max_position_embeddings=40)).model) == 40


@pytest.mark.parametrize(
    ("family", "lengths", "sentence"),
    [
        ("dense", (16, 64), None),
        ("dense", (16, 65), r"passage_length: 65 tokens do not fit into the 64 positions of '.*'; write at most 64"),
        ("lexicon", (65, 16), r"query_length: 65 tokens do not fit into the 64 positions"),
        ("ranker", (16, 49), None),
        ("ranker", (16, 50), r"query_length \+ passage_length: 66 tokens do not fit .*; write at most 65"),
    ],
)
def test_error_names_lengths_beyond_the_positions(tmp_path, family, lengths, sentence):
    changes = dict(zip(("query_length", "passage_length"), lengths, strict=True))
    model, settings = load(saved(tmp_path, family), family, **changes), tiny.import_settings(family, **changes)
    if sentence is None:
        limits.check_lengths(model, settings, shared=1)
        return
    with pytest.raises(InputError, match=sentence):
        limits.check_lengths(model, settings, shared=1)


def test_a_training_ends_at_once_if_texts_do_not_fit(tmp_path):
    tiny.save_dataset(tmp_path)
    settings = tiny.settings("dense", passage_length=65)
    with pytest.raises(InputError, match="passage_length: 65 tokens do not fit into the 64 positions"):
        train.train(tiny.training(tmp_path, settings, tmp_path / "model"))
    tiny.save_tokenizer(tmp_path / "larger", [*tiny.VOCABULARY, "more", "most"])
    for name in ("queries", "passages"):
        tiny.save_store(tmp_path / f"{name}.arrow", tmp_path / "larger", {"text": ["a"] * 30})
    with pytest.raises(InputError, match=r"tokenizer: '.*' has 59 tokens and '.*dense' embeddings for 57; name"):
        train.train(tiny.training(tmp_path, tiny.settings("dense"), tmp_path / "model"))


@pytest.mark.parametrize("make", [MODELS["gpt2"][0], lambda: BertModel(BertConfig(**tiny.BERT, is_decoder=True))])
def test_cls_pooling_of_a_decoder_is_an_error(tmp_path, make):
    tiny.fill(make()).save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"pooling: '.*' is a decoder .* write pooling: last, .* or pooling: mean"):
        load(str(tmp_path), "dense")
    model = load(str(tmp_path), "dense", pooling="last")
    ids, mask = tiny.batch([5, 5])
    ids[1, 1] = ids[0, 1] + 1
    assert len(encoders(model)) == 1 and not torch.equal(*model(tiny.unpadded(ids, mask)))
