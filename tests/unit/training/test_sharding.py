"""Configuration files of accelerate: the settings that are used, and errors about unsupported ones.

tests/ranks/test_sharded_ranks.py tests that sharded trainings learn the same as others.
"""

import json
import os

import pytest
import tiny
import yaml
from accelerate import FullyShardedDataParallelPlugin
from configs import FOLDER, RECIPES, changed
from transformers import T5Config, T5EncoderModel

from led_pipeline.files.errors import InputError
from led_pipeline.recipe import accelerate_file
from led_pipeline.recipe.load import load_recipe
from led_pipeline.recipe.step_settings import RunningSettings
from led_pipeline.training import sharding

FSDP = FOLDER / "accelerate/fsdp.yaml"
ZERO = {"distributed_type": "DEEPSPEED", "deepspeed_config": {"zero_stage": 2, "offload_optimizer_device": "none"}}
GPUS = {"resources.train.gpu": 4, "resources.train.accelerate": str(FSDP)}


def written(path, config, **changes) -> str:
    path.write_text(yaml.safe_dump(changed(config, {key.replace("__", "."): v for key, v in changes.items()})))
    return str(path)


@pytest.fixture
def example():
    return yaml.safe_load(FSDP.read_text())


@pytest.fixture
def variables(monkeypatch):
    """Restore the environment after a test."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return os.environ


def test_environment_variables_of_the_example_file_equal_accelerates(tmp_path, example):
    actual = sharding.environment(str(FSDP))
    assert actual.items() >= {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_RESHARD_AFTER_FORWARD": "true",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_STATE_DICT_TYPE": "SHARDED_STATE_DICT",
        "FSDP_OFFLOAD_PARAMS": "false",
    }.items()  # fmt: skip
    config = example | {"mixed_precision": "fp16", "num_processes": 7, "num_machines": 3, "gpu_ids": "0,1"}
    config["fsdp_config"] |= {"fsdp_cpu_ram_efficient_loading": True}
    assert sharding.environment(written(tmp_path / "more.yaml", config)) == actual


def test_environment_variables_for_deepspeed_equal_accelerates(tmp_path):
    actual = sharding.environment(written(tmp_path / "zero.yaml", ZERO))
    assert actual.items() >= {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}.items()


def test_no_environment_variable_is_set_without_a_file(variables):
    before = dict(variables)
    accelerator = sharding.accelerator_of(None, 1.0)
    assert not sharding.is_sharded(accelerator) and variables == before


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"distributed_type": "MULTI_GPU"}, "distributed_type: expected FSDP or DEEPSPEED, got MULTI_GPU;"),
        ({"fsdp_config__fsdp_version": 1}, "fsdp_config.fsdp_version: expected 2; `accelerate to-fsdp2`"),
        ({"fsdp_config__fsdp_auto_wrap_policy": "SIZE_BASED_WRAP"}, "TRANSFORMER_BASED_WRAP or NO_WRAP, got SIZE"),
        ({"fsdp_config__fsdp_ignored_modules": "head"}, "fsdp_config.fsdp_ignored_modules: all weights are sharded"),
        ({"parallelism_config": {"parallelism_config_tp_size": 2}}, "parallelism_config: only the data is parallel"),
        ({"fsdp_config": "none"}, "fsdp_config: expected a mapping of keys"),
    ],
)  # fmt: skip
def test_error_names_the_unsupported_key_of_an_accelerate_file(tmp_path, example, changes, sentence):
    path = written(tmp_path / "a.yaml", example, **changes)
    with pytest.raises(InputError) as error:
        sharding.environment(path)
    assert str(error.value).startswith(f"{path}: ") and sentence in str(error.value)


@pytest.mark.parametrize(
    ("inner", "sentence"),
    [
        ({"optimizer": {"type": "Adam"}}, "optimizer: the recipe configures it; remove it here"),
        ({"gradient_accumulation_steps": 4}, "gradient_accumulation_steps: expected 1, got 4;"),
    ],
)
def test_a_deepspeed_file_may_not_configure_the_optimizer(tmp_path, inner, sentence):
    (tmp_path / "zero.json").write_text(json.dumps({"zero_optimization": {"stage": 2}} | inner))
    config = ZERO | {"deepspeed_config": {"deepspeed_config_file": str(tmp_path / "zero.json")}}
    with pytest.raises(InputError, match=sentence):
        accelerate_file.read(written(tmp_path / "a.yaml", config))


def test_error_names_a_missing_or_malformed_accelerate_file(tmp_path):
    with pytest.raises(InputError, match=r"no file 'no\.yaml' here"):
        accelerate_file.read("no.yaml")
    (tmp_path / "a.yaml").write_text("distributed_type: FSDP\nfsdp_config: {\n")
    with pytest.raises(InputError, match=r"a\.yaml:3: not valid YAML \(expected the node content"):
        accelerate_file.read(str(tmp_path / "a.yaml"))


def test_accelerates_own_message_is_passed_on(tmp_path, example):
    with pytest.raises(InputError, match=r"accelerate cannot follow this file \(.*shards"):
        sharding.environment(written(tmp_path / "a.yaml", example, shards=4))


def test_error_names_a_missing_deepspeed(tmp_path, variables, monkeypatch):
    monkeypatch.setattr(sharding, "is_deepspeed_available", lambda: False)
    with pytest.raises(InputError, match=r"zero\.yaml: it asks for DeepSpeed, which is not installed; pip install"):
        sharding.accelerator_of(written(tmp_path / "zero.yaml", ZERO), 1.0)


@pytest.mark.usefixtures("variables")
def test_error_says_that_a_machine_has_no_gpu():
    with pytest.raises(InputError, match=r"fsdp\.yaml: weights are sharded over GPUs, and there is none here"):
        sharding.accelerator_of(str(FSDP), 1.0)


@pytest.mark.parametrize(
    ("name", "layer"), [("bert", "BertLayer"), ("distilbert", "TransformerBlock"), ("t5", "T5Block")]
)
def test_transformer_layers_are_sharded_and_embeddings_are_not(variables, name, layer):
    variables |= sharding.environment(str(FSDP))
    t5 = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 2, "num_heads": 2}
    model = T5EncoderModel(T5Config(**t5)) if name == "t5" else tiny.lexicon_backbone(name)
    plugin = FullyShardedDataParallelPlugin()
    sharding._name_layers(plugin, model)
    assert plugin.transformer_cls_names_to_wrap == [layer]
    for class_name, reason in ((type(model).__name__, "it holds the embeddings of"), ("GPT2Block", "no such class in")):
        names = [class_name]
        with pytest.raises(InputError, match=f"{names[0]}: {reason} this model, whose layers are {layer};"):
            sharding._name_layers(FullyShardedDataParallelPlugin(transformer_cls_names_to_wrap=names), model)


def test_a_checkpoint_is_resumed_only_with_the_same_kind_of_sharding(tmp_path, example):
    tiny.save_dataset(tmp_path)
    full = written(tmp_path / "full.yaml", example, fsdp_config__fsdp_state_dict_type="FULL_STATE_DICT")
    other = written(tmp_path / "other.yaml", example, fsdp_config__fsdp_reshard_after_forward=False)
    files = [None, str(FSDP), other, full, written(tmp_path / "2.yaml", ZERO)]
    files.append(written(tmp_path / "3.yaml", ZERO, deepspeed_config__zero_stage=3))
    running = [RunningSettings(accelerate=file) for file in files]
    trainings = [tiny.training(tmp_path, tiny.settings("dense"), tmp_path, running=each) for each in running]
    plain, fsdp, same, *others = [training.fingerprint(2) for training in trainings]
    assert same == fsdp and len({plain, fsdp, *others}) == 5
    assert plain == tiny.training(tmp_path, tiny.settings("dense"), tmp_path).fingerprint(2)


def test_only_trainings_get_the_accelerate_file():
    plain, sharded = load_recipe(RECIPES["config.yaml"]), load_recipe(changed(RECIPES["config.yaml"], GPUS))
    assert sharded.running("led") == plain.running("led") | {"accelerate": str(FSDP)}
    assert sharded.settings("train", "led") == plain.settings("train", "led")
    assert "accelerate" not in plain.running("led")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"resources.train.accelerate": "no.yaml"}, "resources.train.accelerate: no file 'no.yaml' here"),
        ({"resources.train.gpu": 0}, "resources.train.accelerate: weights are sharded over GPUs; set gpu,"),
        (
            {"stages.led.precision": "fp16"},
            "stages.led.precision: fp16 cannot be sharded (resources.train.accelerate);",
        ),
        (
            {"stages.led.load_in": "8bit", "stages.led.lora": {}},
            "stages.led.load_in: quantised weights cannot be sharded (resources.train.accelerate)",
        ),
        (
            {"stages.led.resources": {"gpu": 1, "accelerate": "no.yaml"}},
            "stages.led.resources.accelerate: no file 'no.yaml' here",
        ),
    ],
)
def test_error_names_the_key_that_cannot_be_sharded(changes, sentence):
    with pytest.raises(InputError) as error:
        load_recipe(changed(RECIPES["config.yaml"], GPUS | changes))
    lines = str(error.value).splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"recipe: {sentence}")
