"""Checks of the GPUs: their number and memory, and whether torch computes and searches on them."""

import json
from collections.abc import Iterator

from led_pipeline.files.atomic import size
from led_pipeline.files.errors import InputError
from led_pipeline.jobs import gpus
from led_pipeline.plan import machine
from led_pipeline.plan.finding import Finding
from led_pipeline.plan.site import Site
from led_pipeline.plan.table import Estimate
from led_pipeline.recipe.graph import JobKind, Recipe

GPU_JOBS: tuple[JobKind, ...] = ("train", "encode", "score", "search")
CARDS = (
    "import json, torch; cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())"
    " if torch.cuda.is_available()]; print(json.dumps([torch.__version__, torch.version.cuda,"
    " torch.cuda.get_arch_list() if cards else [], [[card.name, [card.major, card.minor]] for card in cards]]))"
)
SEARCH = "from led_pipeline.search.torch_engine import probe; print(probe())"


def requested_gpus(recipe: Recipe, limit: int | None) -> dict[str, int]:
    """Return the GPUs that a job gets, by key of the recipe, without those that ask for none."""
    counts = {f"resources.{kind}.gpu": recipe.job(kind).gpu for kind in GPU_JOBS}
    for name, stage in recipe.stages.items():
        if stage.resources and stage.family != "pretrain":
            counts[f"stages.{name}.resources.gpu"] = stage.resources.gpu
    return {key: count if limit is None else min(count, limit) for key, count in counts.items() if count}


def _on_several_nodes(recipe: Recipe) -> str:
    """Return what to do about a training on several nodes without SLURM, empty if there is none."""
    for name in recipe.trainings:
        if (nodes := recipe.training(name).nodes) > 1:
            return (
                f"the training of {name} asks for {nodes} nodes, which SLURM starts; run with --profile profiles/slurm"
                " (docs/guides/cluster.md), or set nodes to 1"
            )
    return ""


def devices(recipe: Recipe, site: Site, estimate: Estimate) -> Iterator[Finding]:
    """As many GPUs as jobs ask for, with enough memory, and batches that they can share."""
    requested = requested_gpus(recipe, site.limit)
    if not requested:
        yield Finding("ok", "GPUs", "none asked for")
        return
    for name in recipe.trainings:
        gpus = recipe.job("train", name).gpu
        gpus = gpus if site.limit is None else min(gpus, site.limit)
        batch_size = recipe.started(name).batch_size
        texts = "passages" if name in recipe.names("masked_lm") else "queries"
        if gpus and batch_size % gpus:
            yield Finding(
                "fatal",
                "GPUs",
                f"stages.{name}.batch_size: {batch_size} {texts} cannot be split evenly over the"
                f" {gpus} GPUs that --resources leaves to a job; give it a number that divides it",
            )
    key = max(requested, key=lambda name: requested[name])
    if site.elsewhere:
        yield Finding("note", "GPUs", f"jobs run on other machines, which are not checked; {key} is {requested[key]}")
        return
    if text := _on_several_nodes(recipe):
        yield Finding("fatal", "nodes", text)
        return
    visible = len(site.gpus)
    if requested[key] > visible:
        yield Finding(
            "fatal",
            "GPUs",
            f"{key} asks for {requested[key]} and {visible} {'is' if visible == 1 else 'are'} visible here; "
            + (f"start with `--resources gpu={visible}`, " if visible else "")
            + "lower resources.*.gpu in the config (0 runs on the CPU), or set LED_GPUS=elsewhere if other machines"
            " compute",
        )
        return
    yield Finding("ok", "GPUs", f"{visible}: {', '.join(sorted({gpu.name or 'unknown' for gpu in site.gpus}))}")
    smallest = min((gpu.memory for gpu in site.gpus if gpu.memory), default=None)
    for row in estimate.rows:
        if smallest and row.gpu_memory > smallest:
            yield Finding(
                "note",
                "GPU memory",
                f"stage {row.name} takes about {size(row.gpu_memory)} on a GPU and the smallest here has"
                f" {size(smallest)}; more GPUs per training, a smaller batch or fewer negatives need less",
            )


def torch(recipe: Recipe, site: Site) -> Iterator[Finding]:
    """Whether torch can use the GPUs: it needs CUDA, a driver that is new enough, and kernels for these cards."""
    if not (requested_gpus(recipe, site.limit) and site.gpus) or site.elsewhere:
        return
    status, output = machine.python(CARDS)
    if status:
        yield Finding("fatal", "torch", f"it cannot look for GPUs ({output}); install it again: make env GPU=1")
        return
    version, cuda, architectures, cards = json.loads(output)
    if not cards:
        yield Finding(
            "fatal", "torch", f"version {version} cannot use the GPUs of this machine: {gpus.driver_advice(cuda)}"
        )
        return
    faults: dict[str, None] = {}  # several cards of a kind have the same ones
    for name, (major, minor) in cards:
        faults |= dict.fromkeys(_card_faults(recipe, name, (major, minor)))
        try:
            gpus.check_card(name, (major, minor), architectures, version)
        except InputError as error:
            faults[str(error)] = None
    for fault in faults:
        yield Finding("fatal", "torch", fault)
    if not faults:
        yield Finding("ok", "torch", f"{version}, CUDA {cuda}")


def _card_faults(recipe: Recipe, name: str, capability: tuple[int, int]) -> Iterator[str]:
    """Yield one sentence per stage that a card cannot train."""
    for stage in recipe.trainings:
        if recipe.job("train", stage).gpu:
            fault = gpus.precision_fault(name, capability, recipe.started(stage).precision)
            if fault:
                yield f"stages.{stage}.{fault}"


def dense_search(recipe: Recipe, site: Site) -> Iterator[Finding]:
    """Whether a few vectors are searched right on every GPU, if searches use GPUs."""
    if not (recipe.resources.search.gpu and recipe.with_output("dense") and site.gpus) or site.elsewhere:
        return
    status, output = machine.python(SEARCH)
    if status:
        yield Finding(
            "fatal",
            "dense search",
            f"a search of a few vectors fails on a GPU of this machine ({output}); if torch is right here, set"
            " resources.search.gpu to 0",
        )
    else:
        yield Finding("ok", "dense search", f"a few vectors, on {output}")
