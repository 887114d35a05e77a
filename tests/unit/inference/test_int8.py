"""int8 on a processor: close to float32, heads as they were, and refused on GPUs."""

import copy

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from led_pipeline.files.errors import InputError
from led_pipeline.inference import batches
from led_pipeline.inference.quantised import in_int8
from led_pipeline.models.dense import DenseEncoder
from led_pipeline.models.lexicon import LexiconEncoder
from led_pipeline.models.ranker import Ranker

CPU = torch.device("cpu")
QUANTISED = torch.ao.nn.quantized.dynamic.Linear
MODELS = {
    "dense": lambda: DenseEncoder(tiny.backbone("dense")),
    "lexicon": lambda: LexiconEncoder(tiny.backbone("lexicon")),
    "ranker": lambda: Ranker(tiny.backbone("ranker")),
}


def linear_layers(model: nn.Module, kind: type) -> list[str]:
    return [name for name, module in model.named_modules() if type(module) is kind]


@pytest.mark.parametrize("name", ["dense", "lexicon", "ranker"])
def test_layers_are_quantised_and_heads_are_not(name):
    model = MODELS[name]().eval()
    before = copy.deepcopy(model.state_dict())
    quantised = in_int8(model, CPU)
    assert in_int8(model, CPU) is quantised and quantised is not model
    layers = linear_layers(quantised, QUANTISED)
    assert len(layers) == 2 * 6 and all(".layer." in layer for layer in layers)
    assert linear_layers(quantised, nn.Linear) == [n for n in linear_layers(model, nn.Linear) if ".layer." not in n]
    assert not linear_layers(model, QUANTISED), "the model itself stays as it was"
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", ["dense", "ranker"])
def test_results_are_close_to_float32_and_not_equal(tmp_path, name):
    tiny.save_dataset(tmp_path)
    queries, passages = (batches.TokenStore([tmp_path / f"{kind}.arrow"]) for kind in ("queries", "passages"))
    model = MODELS[name]().eval()
    results = {}
    for precision in ("float32", "int8"):
        if name == "ranker":
            rows = np.arange(8, dtype=np.int32), np.arange(8, dtype=np.int32)
            results[precision] = batches.score(model, queries, passages, rows, tiny.settings("ranker"), CPU, precision)
        else:
            vectors = np.zeros((len(passages), 16), np.float32)

            def store(places, values, vectors=vectors):
                vectors[places] = values

            batches.encode(model, passages, np.arange(len(passages)), 20, CPU, store, precision)
            results[precision] = vectors
    error = np.linalg.norm(results["int8"] - results["float32"]) / np.linalg.norm(results["float32"])
    assert 0 < error < 0.05


def test_int8_on_a_gpu_is_refused():
    with pytest.raises(InputError, match="inference_precision: int8 is for processors, and this job computes on cuda"):
        in_int8(MODELS["dense"](), torch.device("cuda"))
