"""Checks: what would stop a run later, found in seconds; every finding says how to fix it.

All checks run at the same time and none stops another, so that one call reports everything.
"""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from led_pipeline.data.formats.streams import is_there, on_disk
from led_pipeline.evaluation.published import load_published, published_about
from led_pipeline.fetch.hub import hub_models, is_local, outside_names
from led_pipeline.fetch.sources import read_source
from led_pipeline.files.atomic import size, tree_bytes
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import check_regular
from led_pipeline.plan import assumptions, machine
from led_pipeline.plan.engines import check_engines
from led_pipeline.plan.finding import Finding
from led_pipeline.plan.jobs import run_files, source_files
from led_pipeline.plan.models import check_folder, check_hub
from led_pipeline.plan.table import Estimate
from led_pipeline.plan.workload import Workload
from led_pipeline.recipe import needs
from led_pipeline.recipe.graph import JobKind, Recipe
from led_pipeline.recipe.layout import ARCHIVES

GPU_JOBS: tuple[JobKind, ...] = ("train", "encode", "score", "search")


@dataclass(frozen=True)
class Site:
    """Where a run takes place."""

    results: Path  # folder of the dataset
    sources: Path  # config/sources.yaml
    published: Path  # config/published.yaml
    elsewhere: bool = False  # whether GPU jobs run on other machines than this one
    limit: int | None = None  # `--resources gpu=N`: no job gets more
    gpus: list[machine.Gpu] = field(default_factory=machine.gpus)


def findings(recipe: Recipe, site: Site, estimate: Estimate) -> list[Finding]:
    """Return what the checks found, in a fixed order."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        lambda: check_engines(recipe),
        lambda: faiss(recipe, site),
        lambda: devices(recipe, site, estimate),
        lambda: batches(recipe, site, estimate),
        lambda: torch(recipe, site),
        lambda: memory(recipe, site),
        lambda: disk(site, estimate),
        lambda: files(recipe, site),
        lambda: models(recipe, site),
        lambda: gate(recipe, site, estimate.load),
    ]
    with ThreadPoolExecutor(len(checks)) as pool:
        return [finding for results in pool.map(lambda check: list(check()), checks) for finding in results]


def faiss(recipe: Recipe, site: Site) -> Iterator[Finding]:
    """FAISS, and whether it searches where the recipe says."""
    code = "import faiss; print(faiss.__version__, int(hasattr(faiss, 'StandardGpuResources')), faiss.get_num_gpus())"
    status, output = machine.python(code)
    if status:
        yield Finding(
            "fatal", "FAISS", f"it cannot be imported ({output}); install envs/cpu.txt, or envs/gpu.txt for GPUs"
        )
        return
    version, gpu_build, count = output.split()
    requested = recipe.resources.search.gpu
    if requested and gpu_build == "0":
        yield Finding(
            "note" if site.elsewhere else "fatal",
            "FAISS",
            f"resources.search.gpu asks for {requested} and this FAISS ({version}) works on the processor only, which"
            " takes days for MS MARCO; `make env GPU=1` installs the other one, or set resources.search.gpu to 0",
        )
    elif requested and count == "0" and site.gpus:
        yield Finding("fatal", "FAISS", f"version {version} sees no GPU though there is one; compare its CUDA version")
    else:
        yield Finding("ok", "FAISS", f"version {version}, {'for GPUs' if gpu_build == '1' else 'on the processor'}")


def requested_gpus(recipe: Recipe, limit: int | None) -> dict[str, int]:
    """Return the GPUs that a job gets, by key of the recipe, without those that ask for none."""
    counts = {f"resources.{kind}.gpu": recipe.job(kind).gpu for kind in GPU_JOBS}
    for name, stage in recipe.stages.items():
        if stage.resources and stage.family != "pretrain":
            counts[f"stages.{name}.resources.gpu"] = stage.resources.gpu
    return {key: count if limit is None else min(count, limit) for key, count in counts.items() if count}


def devices(recipe: Recipe, site: Site, estimate: Estimate) -> Iterator[Finding]:
    """As many GPUs as jobs ask for, with enough memory, and batches that they can share."""
    requested = requested_gpus(recipe, site.limit)
    if not requested:
        yield Finding("ok", "GPUs", "none asked for")
        return
    for name in recipe.trained:
        gpus = recipe.job("train", name).gpu
        gpus = gpus if site.limit is None else min(gpus, site.limit)
        batch_size = recipe.model_stage(name).batch_size
        if gpus and batch_size % gpus:
            yield Finding(
                "fatal",
                "GPUs",
                f"stages.{name}.batch_size: {batch_size} queries cannot be split evenly over the"
                f" {gpus} GPUs that --resources leaves to a job; give it a number that divides it",
            )
    key = max(requested, key=lambda name: requested[name])
    if site.elsewhere:
        yield Finding("note", "GPUs", f"jobs run on other machines, which are not checked; {key} is {requested[key]}")
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


def batches(recipe: Recipe, site: Site, estimate: Estimate) -> Iterator[Finding]:
    """Batches that an epoch can fill: one with fewer examples is a single batch of all of them."""
    for name in recipe.trained if estimate.load.examples else []:
        stage = recipe.model_stage(name)
        examples = estimate.load.of_epoch(stage)
        if stage.batch_size > examples:
            processes = recipe.processes(name)
            uneven = f", which cannot be split evenly over {processes} processes" if examples % processes else ""
            yield Finding(
                "note",
                "batches",
                f"stages.{name}.batch_size: {stage.batch_size} is more than the {examples} examples of an epoch"
                f" ({estimate.load.basis}), so batches hold {examples}{uneven}",
            )


def torch(recipe: Recipe, site: Site) -> Iterator[Finding]:
    """Whether torch can use the GPUs: the package for the processor alone is easily installed by mistake."""
    if not (requested_gpus(recipe, site.limit) and site.gpus) or site.elsewhere:
        return
    code = "import torch; print(torch.__version__, torch.version.cuda, torch.cuda.is_available())"
    status, output = machine.python(code)
    if status or not output.endswith("True"):
        yield Finding(
            "fatal",
            "torch",
            f"it cannot use the GPUs of this machine ({output}); install torch with CUDA (without an extra index URL"
            " for the CPU), for a driver that is new enough",
        )
    else:
        yield Finding("ok", "torch", output.rsplit(" ", 1)[0])


def memory(recipe: Recipe, site: Site) -> Iterator[Finding]:
    """Whether a job asks for more memory than this machine has."""
    requested = {f"resources.{kind}.mem_mb": recipe.job(kind).mem_mb for kind in (*GPU_JOBS, "cpu")}
    key, available = max(requested, key=lambda name: requested[name]), machine.memory()
    if requested[key] * 1e6 > available and not site.elsewhere:
        yield Finding(
            "note",
            "memory",
            f"{key} asks for {size(requested[key] * 1e6)} and this machine has {size(available)}; a job that takes more"
            " is killed, see docs/guides/troubleshooting.md",
        )
    else:
        yield Finding("ok", "memory", f"jobs ask for up to {size(requested[key] * 1e6)} ({key})")


def unfinished(name: str) -> bool:
    """Return whether a file under the results was left by a killed job and will be removed; a download continues."""
    return name.startswith(".") and name != ARCHIVES


def disk(site: Site, estimate: Estimate) -> Iterator[Finding]:
    """Room for what is still to be written, at the peak."""
    folder = machine.existing(site.results)
    free, written = shutil.disk_usage(folder).free, tree_bytes(site.results, without=unfinished)
    missing = assumptions.DISK_RESERVE * max(estimate.peak - written, 0)
    text = f"{size(free)} free at {folder}, about {size(missing)} still to be written at the peak"
    advice = "; free space there, or run with `--directory` on a larger disk" if missing > free else ""
    yield Finding("fatal" if advice else "ok", "disk", text + advice)


def files(recipe: Recipe, site: Site) -> Iterator[Finding]:
    """The files of the dataset: in the user's folder, or in the list of downloads."""
    dataset, names = recipe.dataset, source_files(recipe)
    qrels = {dataset.qrels_of(split): split for split in dataset.splits if not dataset.splits[split].qrels}
    unjudged = {name: f"; without judgements, say dataset.splits.{split}.qrels: none" for name, split in qrels.items()}
    runs = run_files(recipe)
    if dataset.source == "docstrings" and not runs:
        return
    faults = [f"{path}: no such file; correct its name in dataset.runs" for path in runs if not is_there(path)]
    for name in names if dataset.source != "docstrings" else []:
        try:
            if dataset.source == "download":
                read_source(site.sources, name)
            elif not is_there(path := Path(dataset.folder or "", name)):
                if on_disk(path).exists():
                    check_regular(on_disk(path), "a file")
                faults.append(
                    f"{path}: no such file; correct dataset.folder or the name in dataset{unjudged.get(name, '')}"
                )
        except InputError as error:
            faults.append(str(error))
    yield from (Finding("fatal", "files", fault) for fault in dict.fromkeys(faults))
    if not faults:
        where = dataset.folder if dataset.source == "folder" else site.sources
        if dataset.source != "docstrings":
            yield Finding("ok", "files", f"{len(names)} of the dataset in {where}")
        if runs:
            yield Finding("ok", "files", f"{len(set(runs))} of dataset.runs")


def models(recipe: Recipe, site: Site) -> Iterator[Finding]:
    """Every model and tokenizer that no stage makes: here, in the hub's cache, or reachable."""
    from_hub = hub_models(recipe)
    with ThreadPoolExecutor(max(len(from_hub), 1)) as pool:
        for fault, text in pool.map(lambda model: check_hub(model, site.results), from_hub):
            yield Finding("fatal" if fault else "ok", "model", text)
    for name, keys in outside_names(recipe).items():
        if is_local(name):
            fault, text = check_folder(name, keys)
            yield Finding("fatal" if fault else "ok", "model", text)


def gate(recipe: Recipe, site: Site, load: Workload) -> Iterator[Finding]:
    """Whether a gate that is switched on has a number to compare results with."""
    if not recipe.evaluation.gate:
        return
    try:
        sections = load_published(site.published)
    except InputError as error:
        yield Finding("fatal", "gate", str(error))
        return
    judged = recipe.dataset.judged(recipe.evaluation.splits)
    published, ours = published_about(sections, load.passages, {s: load.queries[s] for s in judged}) or (None, {})
    results = needs.systems(recipe), ours
    count = sum(1 for _ in published.gated(*results)) if published else 0
    missing = published.unmeasured(*results, recipe.evaluation.measures, recipe.evaluation.depth) if published else []
    if missing:
        yield Finding(
            "fatal",
            "gate",
            f"evaluation.gate is on and needs {', '.join(missing)}; add them to evaluation.measures, or set"
            " evaluation.gate to false",
        )
    elif count:
        yield Finding("ok", "gate", f"{count} published numbers to compare results with")
    elif load.estimated:
        yield Finding(
            "note", "gate", "whether there are published numbers of this dataset is known when it is prepared"
        )
    else:
        yield Finding(
            "fatal",
            "gate",
            f"evaluation.gate is on and {site.published} has no number for a dataset of {load.passages:,} passages that"
            " these systems and splits could be compared with; set evaluation.gate to false",
        )
