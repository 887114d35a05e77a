"""`led beir`: evaluate a trained model on the public datasets of BEIR."""

from pathlib import Path
from typing import Annotated

import typer

from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.jobs.gpus import visible_devices


def beir(
    model: Annotated[
        str, typer.Argument(help="a model folder, such as results/msmarco/models/led, or a model of the hub")
    ],
    sets: Annotated[str, typer.Option(help="datasets, with commas between them, or all")] = "all",
    data: Annotated[Path, typer.Option(help="the folder of the archives")] = Path("data/beir"),
    directory: Annotated[Path, typer.Option(help="the parent of results/")] = Path(),
    family: Annotated[
        str | None, typer.Option(help="dense or lexicon; default: what the folder says", show_default=False)
    ] = None,
    query_length: Annotated[int, typer.Option(min=3, help="tokens of a query; 512 for ArguAna anyway")] = 64,
    passage_length: Annotated[int, typer.Option(min=5, help="tokens of a passage")] = 512,
    gpu: Annotated[
        int | None, typer.Option(min=0, help="GPUs of a job; default: 1 if this machine has one", show_default=False)
    ] = None,
    cores: Annotated[str, typer.Option(help="as with snakemake --cores")] = "all",
    json: Annotated[Path | None, typer.Option(help="also write the numbers to this file", show_default=False)] = None,
) -> None:
    """Download BEIR's public datasets, evaluate a model on each, and print published numbers beside its own.

    It prints nDCG@10 and recall@100 of the model and of BM25, their means, and the FLOPS of a lexicon model. Every
    dataset is a run in results/: an interrupted command goes on with what is missing.
    """
    from led_pipeline.inspection import beir as evaluation
    from led_pipeline.inspection.workflow import snakefile
    from led_pipeline.pretrained.descriptions import describe

    described = describe(Path(model)) if Path(model).is_dir() else None
    kind = family or (described.family if described else None)
    if kind is None:
        raise InputError(f"{model}: it does not say which family it is; name it with --family dense or lexicon")
    if kind not in ("dense", "lexicon"):
        raise InputError(f"{model}: a {kind} model searches no collection; name a dense or a lexicon one")
    datasets = evaluation.read_sets(snakefile(directory).parent / "config" / "beir.yaml")
    names = evaluation.chosen(datasets, sets)
    gpus = (1 if visible_devices() else 0) if gpu is None else gpu
    inside = str(Path(model).absolute()) if Path(model).is_dir() else model
    lengths = {"query_length": query_length, "passage_length": passage_length}
    request = evaluation.Evaluation(inside, kind, lengths, gpus, cores)
    done = []
    for name in evaluation.run(names, datasets.archives, data, directory, request):
        print(f"{name}: done", flush=True)
        done.append(name)
    result = evaluation.results_of(done, directory)
    if json:
        write_json(json, result)
    print(evaluation.text(datasets, done, result), end="")
