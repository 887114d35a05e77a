"""Check the systems of a recipe: that names are unique, runs and fusions are complete, and rankings exist where used.

Every check yields sentences that name the key. Imports no torch.
"""

from collections.abc import Iterable, Iterator

from led_pipeline.recipe import needs, old_words
from led_pipeline.recipe.errors import nearest
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.schema import QRELS
from led_pipeline.recipe.stages import Model


def ranking_systems(recipe: Recipe) -> list[str]:
    """Return the names of everything that ranks: BM25, stages with a model, runs from elsewhere, fusions."""
    stages = [name for name in recipe.stages if name not in recipe.rankless]
    return ["bm25", *stages, *recipe.dataset.runs, *recipe.fusion]


def unknown(key: str, name: str, names: Iterable[str], kind: str) -> Iterator[str]:
    """Check that a name is one of some."""
    names = list(names)
    if name not in names:
        yield f"{key}: no {kind} '{name}'{nearest(name, names)}"


def faults(recipe: Recipe) -> Iterator[str]:
    """Check the names of systems, and what runs and fusions name."""
    yield from _unique(recipe)
    yield from _case(recipe)
    for name, files in recipe.dataset.runs.items():
        if not files:
            yield f"dataset.runs.{name}: no file is named; expected a mapping of splits to files"
        for split in files:
            yield from unknown(f"dataset.runs.{name}", split, recipe.dataset.splits, "split")
    for name in recipe.fusion:
        yield from _fusion(recipe, name)


def _places(recipe: Recipe) -> dict[str, Iterable[str]]:
    """Return the names of systems by the key that they are under."""
    dataset = recipe.dataset
    places: dict[str, Iterable[str]] = {"stages": recipe.stages, "dataset.negatives": dataset.negatives}
    return places | {"dataset.scores": dataset.scores, "dataset.runs": dataset.runs, "fusion": recipe.fusion}


def _unique(recipe: Recipe) -> Iterator[str]:
    """Check that no two systems have the same name."""
    names_before = {"bm25", QRELS, "labels"}
    for place, names in _places(recipe).items():
        for name in names if place != "stages" else ():
            if name in names_before:
                yield f"{place}.{name}: this name is taken by a system of the recipe, choose another one"
        names_before |= set(names)
    if "bm25" in recipe.stages:
        yield "stages.bm25: this name is taken by BM25 itself, choose another one"
    for name in (QRELS, *old_words.PLACES):
        if name in recipe.stages:
            yield f"stages.{name}: this name is taken by the judgements ('{QRELS}'), choose another one"


def _case(recipe: Recipe) -> Iterator[str]:
    """Check that names of one kind differ in more than case: some file systems do not distinguish it."""
    systems = {f"{place}.{name}": name for place, names in _places(recipe).items() for name in names}
    for names, reserved in (
        (systems, ("bm25", QRELS, *old_words.PLACES)),
        ({f"dataset.splits.{name}": name for name in recipe.dataset.splits}, ("passages",)),
    ):
        first = {name.casefold(): (name, f"'{name}', a reserved name") for name in reserved}
        for key, name in names.items():
            other, where = first.setdefault(name.casefold(), (name, key))
            if other != name:
                yield f"{key}: differs from {where} in capital letters alone, which share a file; rename one"


def _fusion(recipe: Recipe, name: str) -> Iterator[str]:
    """Check the keys of a fusion."""
    fusion, key = recipe.fusion[name], f"fusion.{name}"
    for i, system in enumerate(fusion.systems):
        yield from unknown(f"{key}.systems[{i}]", system, ranking_systems(recipe), "system")
        if system in fusion.systems[:i]:
            yield f"{key}.systems[{i}]: '{system}' is in the list already; give it a higher weight under 'weights'"
    if fusion.weights and len(fusion.weights) != len(fusion.systems):
        yield f"{key}.weights: {len(fusion.weights)} weights for the {len(fusion.systems)} systems under 'systems'"
    if fusion.method == "weighted" and fusion.k is not None:
        yield f"{key}.k: a weighted sum is of scores, not of ranks; remove this key, or set method: rrf"
    if fusion.method == "rrf" and fusion.normalise:
        yield f"{key}.normalise: rrf looks at ranks alone; remove this key, or set method: weighted"


# --- the checks below need right names, and a graph without cycles


def used(recipe: Recipe) -> Iterator[str]:
    """Check that systems rank the queries which others ask them about, and as deep."""
    for name, stage in recipe.stages.items():
        if isinstance(stage, Model) and stage.train:
            yield from _trained_on(recipe, f"stages.{name}", stage)
    validation, evaluation = recipe.validation, recipe.evaluation
    if validation and any(map(recipe.validates_by_search, recipe.stages)):
        yield from _missing(recipe, "validation.system", validation.system, validation.split)
    judged = recipe.dataset.judged(evaluation.splits)
    for i, pair in enumerate(evaluation.compare):
        if judged and not any(all(needs.ranks(recipe, system, split) for system in pair) for split in judged):
            both = " and ".join(pair)
            yield f"evaluation.compare[{i}]: no judged split ({', '.join(judged)}) is ranked by both {both}"
    for system in (evaluation.side_by_side or []) if judged and evaluation.examples else []:
        yield from _missing(recipe, "evaluation.side_by_side", system, judged[0])
    yield from _depths(recipe)


def _trained_on(recipe: Recipe, key: str, stage: Model) -> Iterator[str]:
    """Check that the systems which a stage learns from rank the training queries."""
    for i, system in enumerate(stage.negative_systems):
        if system in (*recipe.dataset.runs, *recipe.fusion):
            yield from _missing(recipe, f"{key}.negatives[{i}]", system, "train")
    scoring = {f"{key}.teachers[{i}]": teacher.systems for i, teacher in enumerate(stage.teachers)}
    scoring |= {f"{key}.judge": stage.judge.systems} if stage.judge else {}
    for place, systems in scoring.items():
        for system in systems:
            if system in recipe.fusion:
                yield from _missing(recipe, place, system, "train")


def _missing(recipe: Recipe, key: str, system: str, split: str) -> Iterator[str]:
    """Check that a system ranks a split; it does not where a run that it is made of has no file for it."""
    if needs.ranks(recipe, system, split):
        return
    run = system
    while run not in recipe.dataset.runs:
        run = next(
            edge.source
            for edge in needs.edges(recipe, run)
            if edge.kind in ("candidates", "fused") and not needs.ranks(recipe, edge.source, split)
        )
    through = "" if run == system else f", which '{system}' is made of,"
    yield f"{key}: the run '{run}'{through} has no file for the split '{split}'; name one as dataset.runs.{run}.{split}"


def _depths(recipe: Recipe) -> Iterator[str]:
    """Check that no fusion looks at more passages than are ranked."""
    trained = needs.sources(recipe, recipe.trained, "negatives", "judge", "teacher")
    for name, fusion in recipe.fusion.items():
        bounds = {"evaluation.depth": recipe.evaluation.depth} if recipe.evaluation.splits else {}
        bounds |= {"mining.hits": recipe.mining.hits} if name in trained else {}
        for bound, most in bounds.items():
            if fusion.depth and fusion.depth > most:
                yield f"fusion.{name}.depth: {fusion.depth} is more than {bound} ({most}), which is all that is ranked"
