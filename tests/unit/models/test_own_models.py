"""Poolings and encoders from a file of the user's."""

import shutil

import pytest
import tiny
import torch

from led_pipeline.files.errors import InputError
from led_pipeline.models import saved_model
from led_pipeline.training import train

CODE = """
import torch
from led_pipeline.models.backbone import hidden_states


def second(hidden_NH, texts):
    return hidden_NH[texts.cu_seqlens[:-1].long() + 1]


def too_short(hidden_NH, texts):
    return hidden_NH[:1]


class Scaled(torch.nn.Module):
    def __init__(self, backbone, settings):
        super().__init__()
        self.backbone, self.scale = backbone, torch.nn.Parameter(torch.full((16,), 2.0))

    size = 16

    def forward(self, texts):
        rows = hidden_states(self.backbone, texts)[texts.cu_seqlens[:-1].long()]
        return texts.restore(rows.float() * self.scale)


class Lost(torch.nn.Module):
    def __init__(self, backbone, settings):
        super().__init__()


number = 3
"""


@pytest.fixture
def folder(tmp_path):
    tiny.save_dataset(tmp_path)
    (tmp_path / "code").mkdir()
    (tmp_path / "code/mine.py").write_text(CODE)
    (tmp_path / "code/broken.py").write_text("import nothing_of_this_name")
    return tmp_path


def test_a_trained_model_keeps_the_users_pooling(folder):
    settings = tiny.settings("dense", pooling=f"{folder}/code/mine.py:second", max_steps=2)
    train.train(tiny.training(folder, settings, folder / "model"))
    shutil.rmtree(folder / "code")
    (folder / "model").rename(folder / "moved")
    model, (ids, mask) = saved_model.load(folder / "moved")[0].eval(), tiny.batch()
    hidden = model.backbone(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(model(tiny.unpadded(ids, mask)), hidden[:, 1], rtol=1e-5, atol=1e-5)


def test_a_trained_model_keeps_the_users_encoder_and_its_weights(folder):
    value = f"{folder}/code/mine.py:Scaled"
    settings = tiny.settings("dense", encoder=value, max_steps=2, learning_rate=1e-2)
    train.train(tiny.training(folder, settings, folder / "model"))
    shutil.rmtree(folder / "code")
    model, (ids, mask) = saved_model.load(folder / "model")[0].eval(), tiny.batch()
    assert (model.scale - 2).abs().max() > 1e-3
    hidden = model.backbone(input_ids=ids, attention_mask=mask).last_hidden_state
    expected = hidden[:, 0] * model.scale
    torch.testing.assert_close(model(tiny.unpadded(ids, mask)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pooling": "{}/code/none.py:second"}, r"pooling: no file '.*/code/none\.py'"),
        ({"pooling": "{}/code/mine.py:third"}, r"pooling: .*mine\.py: no function or class 'third'"),
        ({"pooling": "{}/code/mine.py:number"}, r"pooling: .*mine\.py: no function or class 'number'"),
        (
            {"pooling": "{}/code/broken.py:x"},
            r"pooling: .*broken\.py: no function or class 'x'",
        ),
        ({"encoder": "{}/code/mine.py:Lost"}, r"encoder: .*mine\.py:Lost is not a torch module that keeps"),
    ],
)
def test_error_names_user_code_that_cannot_be_used(folder, changes, sentence):
    changes = {key: value.format(folder) for key, value in changes.items()}
    with pytest.raises(InputError, match=sentence):
        tiny.start(folder / "dense", tiny.import_settings("dense", **changes))


def test_error_names_a_pooling_that_does_not_return_one_vector_per_text(folder):
    model = tiny.start(folder / "dense", tiny.settings("dense", pooling=f"{folder}/code/mine.py:too_short"))
    with pytest.raises(InputError, match=r"pooling: too_short returned \(1, 16\), expected .* \(5, 16\)"):
        model(tiny.unpadded(*tiny.batch()))
