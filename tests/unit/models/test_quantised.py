"""Adapters on weights in 4 or 8 bits: the trained parameters, the export, and a killed training that resumes."""

import pytest
import tiny
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification

from led_pipeline.models import adapters
from led_pipeline.recipe.step_settings import RunningSettings
from led_pipeline.training import train

pytest.importorskip("peft")
bitsandbytes = pytest.importorskip("bitsandbytes")

LORA = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "targets": None}
BITS = ["4bit", "8bit"]
PLAIN = {"dense": AutoModel, "lexicon": AutoModelForMaskedLM, "ranker": AutoModelForSequenceClassification}
MERGED = {"query.weight", "value.weight"}  # peft's default targets in BERT
HEAD = {"pooler.dense.weight", "pooler.dense.bias", "classifier.weight", "classifier.bias"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("few_bits")
    tiny.save_dataset(folder)
    for family in tiny.FAMILIES:  # bitsandbytes packs 64 weights together
        tiny.backbone(family, hidden_size=64, intermediate_size=128).save_pretrained(folder / family)
    return folder


def settings(family: str, bits: str, **changes):
    return tiny.settings(family, lora=LORA, load_in=bits, learning_rate=1e-2, **{"max_steps": 3} | changes)


def few_bits(model: torch.nn.Module, bits: str) -> list[torch.nn.Module]:
    """Return the quantised linear layers."""
    kind = {"4bit": bitsandbytes.nn.Linear4bit, "8bit": bitsandbytes.nn.Linear8bitLt}[bits]
    return [module for module in model.modules() if type(module) is kind]


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("bits", BITS)
def test_the_export_is_the_float32_initial_model_plus_adapters(folder, tmp_path, monkeypatch, family, bits):
    trained, save = [], train.save
    monkeypatch.setattr(train, "save", lambda model, *rest: trained.append(model) or save(model, *rest))
    train.train(tiny.training(folder, settings(family, bits), tmp_path / "model"))
    learned = {name: p.detach() for name, p in trained[0].backbone.named_parameters() if p.requires_grad}
    assert len(few_bits(trained[0].backbone, bits)) >= 12, (
        "six layers of each of the two, those with adapters among them"
    )

    first = PLAIN[family].from_pretrained(folder / family).state_dict()
    exported = PLAIN[family].from_pretrained(tmp_path / "model").state_dict()
    assert exported.keys() == first.keys()
    changed = set()
    for name, value in first.items():
        assert exported[name].dtype == torch.float32
        layer, expected = name.removesuffix(".weight"), learned.get(name, value)
        if f"{layer}.lora_B.default.weight" in learned:
            product = learned[f"{layer}.lora_B.default.weight"] @ learned[f"{layer}.lora_A.default.weight"]
            expected = value + LORA["alpha"] / LORA["rank"] * product
        torch.testing.assert_close(exported[name], expected, rtol=0, atol=1e-6, msg=name)
        if not torch.equal(exported[name], value):
            changed.add(name.partition("self.")[2] or name.removeprefix("bert."))
    assert changed == MERGED | (HEAD if family == "ranker" else set())


@pytest.mark.parametrize("bits", BITS)
def test_quantised_vectors_are_close_to_those_of_the_plain_model(folder, bits):
    texts = tiny.unpadded(*tiny.batch())
    with torch.no_grad():
        plain = tiny.start(folder / "dense", tiny.settings("dense")).eval()(texts)
        rounded = tiny.start(folder / "dense", settings("dense", bits)).eval()(texts)
    assert not torch.equal(plain, rounded)
    assert torch.cosine_similarity(plain, rounded).min() > 0.95


@pytest.mark.ranks
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("changes", [{}, {"gradient_checkpointing": True, "gradient_cache": 5}])
def test_a_killed_quantised_training_ends_with_the_same_result(folder, tmp_path, monkeypatch, bits, changes):
    def dying(*arguments):
        if arguments[-1] == 2:
            raise KeyboardInterrupt
        return step_loss(*arguments)

    step_loss, chosen = train.retriever_loss, settings("dense", bits, max_steps=4, **changes)
    running = RunningSettings(checkpoint_steps=1)
    train.train(tiny.training(folder, chosen, tmp_path / "whole", running=running))
    monkeypatch.setattr(train, "retriever_loss", dying)
    with pytest.raises(KeyboardInterrupt):
        train.train(tiny.training(folder, chosen, tmp_path / "killed", running=running))
    monkeypatch.setattr(train, "retriever_loss", step_loss)
    train.train(tiny.training(folder, chosen, tmp_path / "killed", running=running))
    whole, killed = (AutoModel.from_pretrained(tmp_path / name).state_dict() for name in ("whole", "killed"))
    first = AutoModel.from_pretrained(folder / "dense").state_dict()
    assert all(torch.equal(killed[name], value) for name, value in whole.items())
    assert not all(torch.equal(killed[name], value) for name, value in first.items())


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_products_use_the_stages_precision_and_adapters_are_float32(folder, family):
    model = tiny.start(folder / family, settings(family, "4bit", precision="bf16"))
    layers = few_bits(model, "4bit")
    assert {layer.compute_dtype for layer in layers} == {torch.bfloat16}
    assert {layer.weight.dtype for layer in layers} == {torch.uint8}
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}


@pytest.mark.parametrize("bits", BITS)
def test_a_rankers_classifier_and_pooler_stay_whole_and_learn(folder, bits):
    model = tiny.start(folder / "ranker", settings("ranker", bits)).backbone
    for layer in (model.classifier, model.bert.pooler.dense):
        assert type(layer) is torch.nn.Linear and layer.weight.requires_grad
    assert adapters.merge_adapters(model, settings("ranker", bits)).config.to_dict().get("quantization_config") is None
