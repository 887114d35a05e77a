import json
from pathlib import Path

import pytest
import tiny
import torch
from torch import nn
from transformers import AutoModelForMaskedLM, AutoTokenizer

from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.models import saved_model
from led_pipeline.models.lexicon import counting_positions, term_weights
from led_pipeline.recipe.step_settings import MODEL


@pytest.fixture
def initial(tmp_path):
    """Return a folder with a tokenizer and a way to save an initial model into it."""
    tiny.save_tokenizer(tmp_path / "tokenizer")

    def save(backbone) -> Path:
        backbone.save_pretrained(tmp_path / "initial")
        return tmp_path / "initial"

    return tmp_path, save


def altered(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    return model


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_saved_model_loads_with_its_settings(initial, family):
    folder, save = initial
    settings = tiny.settings(family)
    source = save(tiny.backbone(family, seed=1))
    model = altered(tiny.start(source, settings))
    (folder / "model").mkdir()
    saved_model.save(model, settings, folder / "tokenizer", folder / "model")
    again, stored = saved_model.load(folder / "model")
    assert stored == MODEL[family](**settings.model_dump(include=set(MODEL[family].model_fields)))
    written = read_json(folder / "model/led.json")
    assert written == stored.model_dump(mode="json")
    assert list(written) == [key for key in MODEL[family].model_fields if key != "title_separator"]  # LeftOut
    for (name, value), (_, loaded) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        torch.testing.assert_close(value, loaded, rtol=0, atol=0, msg=name)
    ids, mask = tiny.batch()
    texts = tiny.unpadded(ids, mask, mask if family == "ranker" else None)
    torch.testing.assert_close(model.eval()(texts), again.eval()(texts), rtol=0, atol=0)


@pytest.mark.parametrize("activation", ["log1p", "log1p_twice", None])
def test_a_saved_lexicon_model_keeps_its_activation(initial, activation):
    """None: a folder from before the activation was a setting."""
    folder, save = initial
    settings = tiny.settings("lexicon", **({"activation": activation} if activation else {}))
    model = tiny.start(save(tiny.backbone("lexicon")), settings)
    (folder / "model").mkdir()
    saved_model.save(model, settings, folder / "tokenizer", folder / "model")
    if activation is None:
        written = read_json(folder / "model/led.json")
        del written["activation"]
        (folder / "model/led.json").write_text(json.dumps(written))
    assert saved_model.load(folder / "model")[0].activation == (activation or "log1p")


@pytest.mark.parametrize("name", tiny.MASKED_LANGUAGE_MODELS)
def test_a_saved_lexicon_model_is_a_plain_masked_language_model(initial, name):
    folder, save = initial
    settings = tiny.settings("lexicon")
    model = altered(tiny.start(save(tiny.lexicon_backbone(name)), settings)).eval()
    before = [p.detach().clone() for p in model.parameters()]
    (folder / "model").mkdir()
    saved_model.save(model, settings, folder / "tokenizer", folder / "model")
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    plain, (ids, mask) = AutoModelForMaskedLM.from_pretrained(folder / "model").eval(), tiny.batch()
    torch.testing.assert_close(plain.get_output_embeddings().weight, model.backbone.get_output_embeddings().weight)
    torch.testing.assert_close(plain.get_output_embeddings().bias, model.backbone.get_output_embeddings().bias)
    expected = term_weights(plain(input_ids=ids, attention_mask=mask).logits, counting_positions(mask))
    torch.testing.assert_close(model(tiny.unpadded(ids, mask)), expected, rtol=1e-5, atol=1e-6)


def test_a_saved_tokenizer_reads_like_the_original(initial):
    folder, save = initial
    model = tiny.start(save(tiny.backbone("dense")), tiny.settings("dense"))
    (folder / "model").mkdir()
    saved_model.save(model, tiny.settings("dense"), folder / "tokenizer", folder / "model")
    text = "a bc def"
    original = AutoTokenizer.from_pretrained(folder / "tokenizer")(text)["input_ids"]
    assert AutoTokenizer.from_pretrained(folder / "model")(text)["input_ids"] == original


def test_error_names_a_folder_without_led_json_or_an_unknown_model(initial):
    folder, save = initial
    with pytest.raises(InputError, match=r"initial: no led\.json here"):
        saved_model.load(save(tiny.backbone("dense")))
    with pytest.raises(InputError, match=r"model '.*absent': not a local folder"):
        tiny.start(folder / "absent", tiny.import_settings("dense"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"poling": "mean"}, r"led.json: poling: no such key \(did you mean pooling\?\)"),
        ({"query_length": 1}, "led.json: query_length: expected a number that is at least 3"),
        ({"family": "dens"}, r"led.json: family: expected one of .* ranker, got 'dens' \(did you mean dense\?\)"),
    ],
)
def test_errors_name_faults_in_led_json(initial, changes, sentence):
    folder, save = initial
    settings = tiny.settings("dense")
    (folder / "model").mkdir()
    model = tiny.start(save(tiny.backbone("dense")), settings)
    saved_model.save(model, settings, folder / "tokenizer", folder / "model")
    file = folder / "model/led.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(InputError, match=sentence):
        saved_model.load(folder / "model")
