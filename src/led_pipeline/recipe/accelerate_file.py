"""What a configuration file of accelerate must say for a training to be sharded by it. Imports no torch."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from led_pipeline.files.errors import InputError
from led_pipeline.files.yaml_lines import read_yaml
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.stages import Started

KINDS = ("FSDP", "DEEPSPEED")
WRAPPED = ("TRANSFORMER_BASED_WRAP", "NO_WRAP")


def read(path: str) -> dict[str, Any]:
    """Return what a configuration file says.

    Raises:
        InputError: there is no such file, it is not what `accelerate config` writes, or trainings cannot follow it.
    """
    config = _mapping(path)
    if fault := next(_faults(config), None):
        raise InputError(f"{path}: {fault}")
    return config


def kind(path: str | None) -> list[str]:
    """Return the parts of a file that the states of a training on disk depend on; nothing without a file."""
    if path is None:
        return []
    config = read(path)
    if config["distributed_type"] == "FSDP":
        return ["FSDP", _section(config, "fsdp_config").get("fsdp_state_dict_type") or "SHARDED_STATE_DICT"]
    zero = _zero(_section(config, "deepspeed_config"))
    return ["DEEPSPEED", str(zero["stage"]), str(zero["offload"])]


def _mapping(path: str) -> dict[str, Any]:
    if not Path(path).is_file():
        raise InputError(f"no file '{path}' here ({Path.cwd()}); give its path from the working directory")
    config = read_yaml(path, "a YAML or JSON file")  # JSON is YAML, too
    if not isinstance(config, Mapping):
        raise InputError(f"{path}: expected a mapping of keys")
    return dict(config)


def _section(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return `fsdp_config` or `deepspeed_config`, with the keys as accelerate knows them."""
    prefix = "fsdp_" if name == "fsdp_config" else ""
    return {prefix + str(key).removeprefix(prefix): value for key, value in (config.get(name) or {}).items()}


def _zero(section: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stage and where the optimizer is, from accelerate's file or from DeepSpeed's that it names."""
    if name := section.get("deepspeed_config_file"):
        zero = _mapping(name).get("zero_optimization") or {}
        return {"stage": zero.get("stage"), "offload": (zero.get("offload_optimizer") or {}).get("device", "none")}
    return {"stage": section.get("zero_stage", 2), "offload": section.get("offload_optimizer_device", "none")}


def _faults(config: Mapping[str, Any]) -> Iterator[str]:
    kind = config.get("distributed_type")
    if kind not in KINDS:
        yield f"distributed_type: expected {' or '.join(KINDS)}, got {kind}; without sharding no such file is needed"
    for key in ("fsdp_config", "deepspeed_config"):
        if not isinstance(config.get(key) or {}, Mapping):
            yield f"{key}: expected a mapping of keys"
    if config.get("parallelism_config"):
        yield "parallelism_config: only the data is parallel here; leave this section out"
    if kind == "FSDP":
        yield from _fsdp(_section(config, "fsdp_config"))
    else:
        yield from _deepspeed(_section(config, "deepspeed_config"))


def _fsdp(section: Mapping[str, Any]) -> Iterator[str]:
    if section.get("fsdp_version", 1) != 2:
        yield "fsdp_config.fsdp_version: expected 2; `accelerate to-fsdp2` turns a file of version 1 into one"
    policy = section.get("fsdp_auto_wrap_policy") or "NO_WRAP"
    if policy not in WRAPPED:
        yield f"fsdp_config.fsdp_auto_wrap_policy: expected {' or '.join(WRAPPED)}, got {policy}"
    if section.get("fsdp_ignored_modules"):
        yield "fsdp_config.fsdp_ignored_modules: all weights are sharded; leave this key out"


def _deepspeed(section: Mapping[str, Any]) -> Iterator[str]:
    name = section.get("deepspeed_config_file")
    inner = _mapping(name) if name else {}
    for key in ("optimizer", "scheduler"):
        if key in inner:
            yield f"deepspeed_config.deepspeed_config_file: {name}: {key}: the recipe configures it; remove it here"
    steps = inner.get("gradient_accumulation_steps", section.get("gradient_accumulation_steps", 1))
    if steps not in (1, "auto"):
        yield f"gradient_accumulation_steps: expected 1, got {steps}; it is a key of the stage, gradient_accumulation"


def faults(recipe: Recipe) -> Iterator[str]:
    """Check the files by which trainings are sharded, and that the trainings can be."""
    checked: set[str] = set()
    for name, stage in recipe.stages.items():
        job = recipe.training(name)
        if name not in recipe.trainings or not isinstance(stage, Started) or not job.accelerate:
            continue
        key = f"stages.{name}.resources" if stage.resources else "resources.train"
        if key not in checked:
            checked.add(key)
            try:
                read(job.accelerate)
            except InputError as error:
                yield f"{key}.accelerate: {error}"
            if not job.gpu:
                yield f"{key}.accelerate: weights are sharded over GPUs; set gpu, or leave this key out"
        if stage.precision == "fp16":
            yield f"stages.{name}.precision: fp16 cannot be sharded ({key}.accelerate); use bf16 or float32"
        if stage.load_in:
            yield f"stages.{name}.load_in: quantised weights cannot be sharded ({key}.accelerate)"
        if stage.compile:
            yield f"stages.{name}.compile: sharded layers ({key}.accelerate) are not compiled here; leave this key out"
        if stage.gradient_exchange != "float32":
            yield (
                f"stages.{name}.gradient_exchange: shards ({key}.accelerate) exchange their gradients in float32; leave"
                " this key out"
            )
