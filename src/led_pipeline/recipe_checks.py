"""What the schema of a recipe cannot see: names that lead nowhere, cycles, sizes that do not fit together.

Every check yields sentences that name the key.
"""

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

from led_pipeline.recipe_errors import nearest
from led_pipeline.recipe_schema import JUDGED
from led_pipeline.recipe_stages import Pretrain, Ranker, Trained

if TYPE_CHECKING:
    from led_pipeline.recipe import Recipe

DOCSTRING_SPLITS = ("train", "dev")
NODE_HITS = 10_000  # OpenSearch returns no more per query unless its index says otherwise
GPU_HITS = 2_047  # FAISS finds one more per query on a GPU, which the search needs to see ties


def faults(recipe: "Recipe") -> list[str]:
    """Return one sentence per fault; sizes are looked at once all names are right."""
    found = [*_dataset(recipe), *_names(recipe)] or [*_cycle(recipe), *_depths(recipe)]
    if not found:
        for name, stage in recipe.stages.items():
            if isinstance(stage, Pretrain):
                found += _pretrain_sizes(name, stage)
            elif stage.train:
                found += _training_sizes(recipe, name, stage)
    return found


def _unknown(key: str, name: str, known: Iterable[str], what: str) -> Iterator[str]:
    known = list(known)
    if name not in known:
        yield f"{key}: no {what} '{name}'{nearest(name, known)}"


def _dataset(recipe: "Recipe") -> Iterator[str]:
    dataset = recipe.dataset
    if dataset.source == "folder" and not dataset.folder:
        yield "dataset.folder: source 'folder' needs the path of a folder"
    for split in dataset.splits:
        if split == "passages":
            yield "dataset.splits.passages: this name is taken by the collection, choose another one"
        if dataset.source == "docstrings" and split not in DOCSTRING_SPLITS:
            yield f"dataset.splits.{split}: source 'docstrings' makes the splits {' and '.join(DOCSTRING_SPLITS)} only"
    for name in ("bm25", *recipe.stages):
        if name in dataset.negatives:
            yield f"dataset.negatives.{name}: this name is taken by a system of the recipe, choose another one"
    for name, owner in {"bm25": "BM25 itself", JUDGED: "the judged passages (validation.system)"}.items():
        if name in recipe.stages:
            yield f"stages.{name}: this name is taken by {owner}, choose another one"
    trained = any(isinstance(stage, Trained) and stage.train for stage in recipe.stages.values())
    if trained and "train" not in dataset.splits:
        yield "dataset.splits: the stages learn from a split 'train', and there is none"


def _names(recipe: "Recipe") -> Iterator[str]:
    """Check every name of a stage, a system or a split."""
    systems = ["bm25", *(n for n, stage in recipe.stages.items() if isinstance(stage, Trained))]
    evaluation = recipe.evaluation
    for split in evaluation.splits:
        yield from _unknown("evaluation.splits", split, recipe.dataset.splits, "split")
    for system in [s for pair in evaluation.compare for s in pair]:
        yield from _unknown("evaluation.compare", system, systems, "system")
    for system in evaluation.side_by_side or []:
        yield from _unknown("evaluation.side_by_side", system, systems, "system")
    if recipe.validation and any(map(recipe.validates, recipe.stages)):
        yield from _unknown("validation.split", recipe.validation.split, recipe.dataset.splits, "split")
        yield from _unknown("validation.system", recipe.validation.system, [*systems, JUDGED], "system")
    yield from _misspelt_stage("tokenizer", recipe.tokenizer, recipe.stages)
    for name, stage in recipe.stages.items():
        if isinstance(stage, Trained):
            yield from _stage_names(recipe, name, stage, systems)


def _stage_names(recipe: "Recipe", name: str, stage: Trained, systems: list[str]) -> Iterator[str]:
    key = f"stages.{name}"
    yield from _misspelt_stage(f"{key}.init", stage.init, recipe.stages)
    if stage.tokenizer:
        yield from _misspelt_stage(f"{key}.tokenizer", stage.tokenizer, recipe.stages)
    for i, system in enumerate(stage.negatives):
        known = ["bm25", *recipe.retrievers, *recipe.dataset.negatives]
        yield from _unknown(f"{key}.negatives[{i}]", system, known, "system to take negatives from")
    for i, teacher in enumerate(stage.teachers):
        if isinstance(recipe.stages.get(teacher.stage), Pretrain):
            yield f"{key}.teachers[{i}].stage: '{teacher.stage}' gives no scores, name a stage of another family"
        else:
            yield from _unknown(f"{key}.teachers[{i}].stage", teacher.stage, systems[1:], "stage")
        if teacher.loss == "margin_mse" and not teacher.with_positive:
            yield f"{key}.teachers[{i}].with_positive: margin_mse compares with the positive, so it cannot be left out"
    if isinstance(stage, Ranker):
        yield from _unknown(f"{key}.rerank.system", stage.rerank.system, systems, "system")
    if stage.train and not stage.negatives:
        yield f"{key}.negatives: a stage that is trained needs at least one system (bm25, or a stage)"


def _misspelt_stage(key: str, name: str, stages: Iterable[str]) -> Iterator[str]:
    """Check a name that may also be a hub id or a path: it is at fault where a stage has nearly this name."""
    similar = nearest(name, stages)
    if "/" not in name and name not in stages and similar:
        yield f"{key}: no stage '{name}'{similar}"


def _cycle(recipe: "Recipe") -> Iterator[str]:
    try:
        TopologicalSorter({name: recipe.parents(name) for name in recipe.stages}).prepare()
    except CycleError as error:
        yield f"stages: {' needs '.join(error.args[1][::-1])}: a stage cannot need itself, change one of these edges"


def _depths(recipe: "Recipe") -> Iterator[str]:
    """Check that as many passages are ranked as are used."""
    ranked, hits = recipe.evaluation.depth, recipe.mining.hits
    validated = recipe.validation if any(map(recipe.validates_by_search, recipe.stages)) else None
    reranks = {n: s.rerank for n, s in recipe.stages.items() if isinstance(s, Ranker)}
    if recipe.mining.depth > hits:
        yield f"mining.depth: {recipe.mining.depth} is more than mining.hits ({hits}), which is all that is searched"
    if "train" in recipe.evaluation.splits and ranked > hits:
        yield f"evaluation.depth: {ranked} is more than mining.hits ({hits}), which is all that is searched on 'train'"
    depths = {"mining.hits": hits, "evaluation.depth": ranked}
    depths |= {"validation.depth": validated.depth} if validated else {}
    for key, count in depths.items():
        if recipe.search.backend == "opensearch" and count > NODE_HITS:
            yield f"{key}: {count} is more than OpenSearch returns for a query ({NODE_HITS}); ask for fewer"
    if recipe.resources.search.gpu and recipe.names("dense"):
        for key, count in depths.items():
            if count > GPU_HITS:
                yield (
                    f"{key}: {count} is more than FAISS finds on a GPU ({GPU_HITS}); ask for fewer, or search on the"
                    " processor with resources.search.gpu: 0"
                )
    used = {
        f"stages.{name}.rerank.depth": (rerank.depth, "evaluation.depth", ranked) for name, rerank in reranks.items()
    }
    if validated and validated.system in reranks:
        most = reranks[validated.system].depth
        used["validation.depth"] = validated.depth, f"stages.{validated.system}.rerank.depth", most
    for key, (depth, bound, most) in used.items():
        if depth > most:
            yield f"{key}: {depth} is more than {bound} ({most}), which is all that is ranked"


def _pretrain_sizes(name: str, stage: Pretrain) -> Iterator[str]:
    if stage.hidden % stage.heads:
        yield f"stages.{name}.heads: hidden size {stage.hidden} cannot be split evenly over {stage.heads} heads"


def _training_sizes(recipe: "Recipe", name: str, stage: Trained) -> Iterator[str]:
    key = f"stages.{name}"
    processes = recipe.processes(name)
    if stage.batch_size % processes:
        down = stage.batch_size - stage.batch_size % processes
        sizes = ", ".join(str(size) for size in (down, down + processes) if size)
        yield (
            f"{key}.batch_size: {stage.batch_size} queries cannot be split evenly over {processes} processes"
            f" (resources.train: nodes x gpu); nearest sizes: {sizes}"
        )
    if stage.passage_length > recipe.dataset.max_tokens:
        limit = recipe.dataset.max_tokens
        yield f"{key}.passage_length: {stage.passage_length} is more than dataset.max_tokens ({limit})"
    start = recipe.stages[name]
    while isinstance(start, Trained) and start.init in recipe.stages:
        start = recipe.stages[start.init]
    lengths = (stage.query_length, stage.passage_length)
    longest = sum(lengths) - 1 if isinstance(stage, Ranker) else max(lengths)  # the passage loses its [CLS]
    if isinstance(start, Pretrain) and longest > start.positions:
        yield f"{key}: {longest} tokens do not fit into the {start.positions} positions of the model it starts from"
