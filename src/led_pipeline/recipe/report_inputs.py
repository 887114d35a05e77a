"""Report inputs: every file that the report reads, so that its job waits for all of them. Imports no torch.

Not among them are vectors and indexes: the report says only how large they are, and `--all-temp` removes vectors; and
benchmarks, which Snakemake writes for the jobs before it.
"""

from led_pipeline.recipe import needs, scorers
from led_pipeline.recipe.needs import Files


def splits_made(files: Files) -> list[str]:
    """Return the splits whose queries and judgements some job prepares, in the order of the recipe."""
    recipe = files.recipe
    used = set(recipe.evaluation.splits) | ({"train"} if recipe.trained else set())
    if recipe.validation and any(recipe.validates(stage) for stage in recipe.trained):
        used.add(recipe.validation.split)
    return [split for split in recipe.dataset.splits if split in used]


def report_inputs(files: Files) -> dict[str, list[str]]:
    """Return the inputs of the report by name; its measures, times and models come first."""
    recipe, layout, splits = files.recipe, files.layout, splits_made(files)
    evaluated = needs.evaluated(recipe)
    judged = recipe.dataset.judged(recipe.evaluation.splits)
    return {
        "evaluations": files.evaluations(),
        "query_times": files.query_times(),
        "models": [layout.model(stage) for stage in recipe.stages],
        "per_query": [layout.measures_per_query(system, split) for system, split in evaluated if split in judged],
        "runs": [layout.run(system, split) for system, split in evaluated if split in judged],
        "rankings": [layout.ranking(system, split) for system, split in evaluated],
        "passages": [layout.passages],
        "queries": [layout.queries(split) for split in splits],
        "qrels": [layout.qrels(split) for split in splits],
        "notes": [layout.prepared_note(name) for name in ("passages", *splits)],
        "judges": [layout.dropped_note(stage) for stage in scorers.judged(recipe)],
        "source": [layout.source_note] if recipe.dataset.source == "docstrings" else [],
    }
