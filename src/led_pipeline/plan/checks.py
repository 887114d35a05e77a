"""Checks: what would stop a run later, found in seconds; every finding says how to fix it.

All checks run at the same time and none stops another, so that one call reports everything.
"""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from led_pipeline.data.formats.stored import exists
from led_pipeline.data.formats.streams import is_there, on_disk
from led_pipeline.evaluation.published import load_published, published_about
from led_pipeline.fetch.hub import hub_models, is_local, outside_names
from led_pipeline.fetch.sources import read_source
from led_pipeline.files.atomic import size, tree_bytes
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import check_regular
from led_pipeline.plan import assumptions, gpu_checks, machine
from led_pipeline.plan.engines import check_engines, compiler
from led_pipeline.plan.finding import Finding
from led_pipeline.plan.jobs import run_files, source_files
from led_pipeline.plan.lengths import lengths
from led_pipeline.plan.models import check_folder, check_hub
from led_pipeline.plan.site import Site
from led_pipeline.plan.table import Estimate
from led_pipeline.plan.workload import Workload
from led_pipeline.recipe import needs
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import ARCHIVES


def findings(recipe: Recipe, site: Site, estimate: Estimate) -> list[Finding]:
    """Return what the checks found, in a fixed order."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        lambda: check_engines(recipe),
        lambda: compiler(recipe, site.elsewhere),
        faiss,
        lambda: gpu_checks.devices(recipe, site, estimate),
        lambda: batches(recipe, site, estimate),
        lambda: gpu_checks.torch(recipe, site),
        lambda: gpu_checks.dense_search(recipe, site),
        lambda: memory(recipe, site),
        lambda: disk(site, estimate),
        lambda: files(recipe, site),
        lambda: models(recipe, site),
        lambda: lengths(recipe, site.results),
        lambda: gate(recipe, site, estimate.load),
    ]
    with ThreadPoolExecutor(len(checks)) as pool:
        return [finding for results in pool.map(lambda check: list(check()), checks) for finding in results]


def faiss() -> Iterator[Finding]:
    """FAISS, which searches on the processor."""
    status, output = machine.python("import faiss; print(faiss.__version__)")
    if status:
        yield Finding("fatal", "FAISS", f"it cannot be imported ({output}); install envs/cpu.txt")
    else:
        yield Finding("ok", "FAISS", f"version {output}")


def batches(recipe: Recipe, site: Site, estimate: Estimate) -> Iterator[Finding]:
    """Batches that an epoch can fill: one with fewer examples is a single batch of all of them."""
    for name in recipe.trainings:
        stage = recipe.started(name)
        examples = estimate.load.of_epoch(stage)
        if 0 < examples < stage.batch_size:
            processes = recipe.processes(name)
            uneven = f", which cannot be split evenly over {processes} processes" if examples % processes else ""
            yield Finding(
                "note",
                "batches",
                f"stages.{name}.batch_size: {stage.batch_size} is more than the {examples} examples of an epoch"
                f" ({estimate.load.basis}), so batches hold {examples}{uneven}",
            )


def memory(recipe: Recipe, site: Site) -> Iterator[Finding]:
    """Whether a job asks for more memory than this machine has."""
    requested = {f"resources.{kind}.mem_mb": recipe.job(kind).mem_mb for kind in (*gpu_checks.GPU_JOBS, "cpu")}
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
    defaults = [split for split in dataset.splits if not dataset.splits[split].qrels and dataset.format != "examples"]
    qrels = {name: split for split in defaults for name in dataset.qrels_of(split)}
    unjudged = {name: f"; without judgements, say dataset.splits.{split}.qrels: none" for name, split in qrels.items()}
    runs = run_files(recipe)
    if dataset.source == "docstrings" and not runs:
        return
    faults = [f"{path}: no such file; correct its name in dataset.runs" for path in runs if not is_there(path)]
    for name in names if dataset.source != "docstrings" else []:
        try:
            if dataset.source == "download":
                read_source(site.sources, name)
            elif not exists(path := Path(dataset.folder or "", name)):
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
