"""Sharding: weights, gradients and optimizer of a training, split over its processes (FSDP or DeepSpeed).

A configuration file of accelerate says what is sharded, and how. torchrun starts the processes, so the variables that
`accelerate launch` would set are set here. Without such a file these functions change nothing.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from accelerate import Accelerator, DeepSpeedPlugin, FullyShardedDataParallelPlugin
from accelerate.utils import DistributedType, broadcast, is_deepspeed_available
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from led_pipeline.files.errors import InputError
from led_pipeline.recipe import accelerate_file

# Prefixes of the variables that are taken from a file; recipe and launcher decide about processes and precision.
PREFIXES = (
    "FSDP_",
    "ACCELERATE_USE_FSDP",
    "ACCELERATE_USE_DEEPSPEED",
    "ACCELERATE_DEEPSPEED_",
    "ACCELERATE_CONFIG_DS_",
)
FIXED = {"FSDP_CPU_RAM_EFFICIENT_LOADING": "false"}  # every process reads the whole model, and then shards it


def environment(path: str) -> dict[str, str]:
    """Return the variables of `accelerate launch --config_file` that say how to shard.

    Raises:
        InputError: the file is missing, accelerate cannot read it, or trainings here do not support it.
    """
    # Private functions of accelerate, so a training without shards does not import them.
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env

    config = accelerate_file.read(path)
    fixed = ["--num_processes=1", "--num_machines=1", "--mixed_precision=no", "--main_process_port=0"]
    arguments = launch_command_parser().parse_args([f"--config_file={path}", *fixed, "train"])
    try:
        arguments = _validate_launch_command(arguments)[0]
        if config["distributed_type"] == "FSDP":
            variables = prepare_multi_gpu_env(arguments) | FIXED
        else:
            arguments.deepspeed_fields_from_accelerate_config = ",".join(config.get("deepspeed_config") or {})
            variables = prepare_deepspeed_cmd_env(arguments)[1]
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: accelerate cannot follow this file ({error})") from error
    return {name: value for name, value in variables.items() if name.startswith(PREFIXES)}


def accelerator_of(path: str | None, clip_norm: float, **options: Any) -> Accelerator:
    """Return an Accelerator that shards as a file says, or one with the options alone where there is no file.

    Weights stay float32, also between processes; `make_ready` lets the products be bf16.

    Raises:
        InputError: the file cannot be followed, DeepSpeed is not installed, or there is no GPU.
    """
    if path is None:
        return Accelerator(**options)
    os.environ.update(variables := environment(path))
    if "ACCELERATE_USE_FSDP" in variables:
        options["fsdp_plugin"] = FullyShardedDataParallelPlugin(mixed_precision_policy=MixedPrecisionPolicy())
    else:
        options |= {"deepspeed_plugin": _deepspeed_plugin(path, clip_norm), "mixed_precision": "no"}
    accelerator = Accelerator(**options)
    if not is_sharded(accelerator):
        raise InputError(f"{path}: weights are sharded over GPUs, and there is none here")
    unset_hf_deepspeed_config()  # with it, transformers would load models in shards
    return accelerator


def _deepspeed_plugin(path: str, clip_norm: float) -> DeepSpeedPlugin:
    if not is_deepspeed_available():
        raise InputError(f"{path}: it asks for DeepSpeed, which is not installed; pip install deepspeed, or use FSDP")
    try:
        plugin = DeepSpeedPlugin()
    except ValueError as error:
        raise InputError(f"{path}: accelerate cannot follow this file ({error})") from error
    plugin.deepspeed_config |= {
        "gradient_clipping": clip_norm,
        "train_micro_batch_size_per_gpu": 1,  # DeepSpeed sees no batches; it counts with this alone
        "train_batch_size": "auto",
        "bf16": {"enabled": False},
        "fp16": {"enabled": False},
    }
    plugin.deepspeed_config["zero_optimization"]["stage3_gather_16bit_weights_on_model_save"] = True  # float32 here
    return plugin


def is_sharded(accelerator: Accelerator) -> bool:
    """Return whether weights, gradients or the optimizer are sharded."""
    return accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED)


def make_ready(accelerator: Accelerator, model: nn.Module, precision: str) -> None:
    """Prepare a model for sharding: equal weights on all processes, autocast, and the names of its layers.

    Raises:
        InputError: the file names a class of layers that the model does not have, or one that cannot be a shard.
    """
    if not is_sharded(accelerator):
        return
    for tensor in [*model.parameters(), *model.buffers()]:
        tensor.data.copy_(broadcast(tensor.data.to(accelerator.device)))
    if precision == "bf16":
        _autocast(model, accelerator.device.type)
    if accelerator.is_fsdp2:
        # Vectors are views of one tensor; nothing changes them in place.
        warnings.filterwarnings("ignore", message=".*returned a view tensor")
        _name_layers(accelerator.state.fsdp_plugin, model)


def _autocast(model: nn.Module, device: str) -> None:
    """Compute the products of a model in bf16, without a second copy of its weights."""
    forward = model.forward

    def in_bf16(*arguments: Any, **options: Any) -> Any:
        with torch.autocast(device, dtype=torch.bfloat16, cache_enabled=False):
            return forward(*arguments, **options)

    model.forward = in_bf16


def _name_layers(plugin: FullyShardedDataParallelPlugin, model: nn.Module) -> None:
    """Check the classes of layers that a file names, or set those of the model: the elements of its outermost lists.

    A class with the token embeddings cannot be a shard: lexicon stages use them outside of it.
    """
    parts = list(model.modules())
    tables = {id(part.get_input_embeddings()) for part in parts if isinstance(part, PreTrainedModel)}
    holding = {type(part).__name__ for part in parts if tables & {id(inner) for inner in part.modules()}}
    present = {type(part).__name__ for part in parts}
    lists = [part for part in parts if isinstance(part, nn.ModuleList)]
    nested = {id(inner) for outer in lists for item in outer for inner in item.modules()}
    layers = sorted({type(item).__name__ for outer in lists if id(outer) not in nested for item in outer} - holding)
    for name in plugin.transformer_cls_names_to_wrap or ():
        reason = "no such class in" if name not in present else "it holds the embeddings of" if name in holding else ""
        if reason:
            raise InputError(
                f"fsdp_config.fsdp_transformer_layer_cls_to_wrap: {name}: {reason} this model, whose layers are"
                f" {', '.join(layers)}; name these, or leave the key out"
            )
    plugin.transformer_cls_names_to_wrap = plugin.transformer_cls_names_to_wrap or layers


@contextmanager
def adding_gradients(accelerator: Accelerator, model: nn.Module, *, last: bool) -> Iterator[None]:
    """Within this context gradients are added up, and processes exchange them only for the last batch of a step."""
    accelerator.sync_gradients = last  # DeepSpeed takes its step inside of the backward pass if this is set
    with nullcontext() if last else accelerator.no_sync(model):
        yield


def weights(accelerator: Accelerator, model: nn.Module) -> dict[str, Tensor]:
    """Return all weights of a prepared model on the main process; all processes call it."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return accelerator.get_state_dict(accelerator.deepspeed_engine_wrapped.engine)
    if accelerator.is_fsdp2:
        return accelerator.get_state_dict(model)
    return accelerator.unwrap_model(model).state_dict()


def whole(norm: Tensor | float) -> Tensor:
    """Return the norm of a gradient as a plain tensor; of a sharded one, all processes call it."""
    if isinstance(norm, DTensor):
        norm = norm.full_tensor()
    return torch.as_tensor(norm).detach()


def load_weights(accelerator: Accelerator, model: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load all weights into a prepared model; all processes call it with the same ones."""
    if accelerator.is_fsdp2:
        options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
        local: dict[str, Any] = dict(weights) if accelerator.is_main_process else {}
        set_model_state_dict(model, local, options=options)
        return
    together = nullcontext()
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        import deepspeed

        together = deepspeed.zero.GatheredParameters(list(model.parameters()), modifier_rank=0)
    with together:
        accelerator.unwrap_model(model).load_state_dict(weights)


def unsharded(
    accelerator: Accelerator,
    encoder: nn.Module,
    model: nn.Module,
    start: Callable[[], tuple[nn.Module, nn.Module]],
) -> nn.Module:
    """Return an encoder in training with all of its weights on every process; all processes call it.

    Args:
        encoder: the encoder that is trained; it is returned unless it is sharded.
        model: the module that was prepared in its place.
        start: builds both again, as they were before the training.
    """
    if not is_sharded(accelerator):
        return encoder
    values = weights(accelerator, model)
    with torch.random.fork_rng(devices=[]):
        fresh, outer = start()
    fresh.to(accelerator.device).eval()
    for name, tensor in outer.state_dict().items():
        tensor.copy_(broadcast(values[name].to(tensor.device) if accelerator.is_main_process else tensor))
    return fresh
