"""Check a whole recipe for faults that its schema cannot find: unknown names, cycles, sizes that do not fit together.

Every check yields sentences that name the key.
"""

from collections.abc import Collection, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

from led_pipeline import user_code
from led_pipeline.recipe import (
    accelerate_file,
    engine_checks,
    head_checks,
    judgement_checks,
    masked_checks,
    measure_checks,
    needs,
    schedule_checks,
    system_checks,
    teacher_checks,
    vector_checks,
)
from led_pipeline.recipe.dataset import Dataset
from led_pipeline.recipe.errors import nearest
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.schema import QRELS
from led_pipeline.recipe.settings import Schedule
from led_pipeline.recipe.stages import AnyStage, Dense, Lexicon, MaskedLm, Model, Pretrain, Ranker, Started
from led_pipeline.recipe.system_checks import unknown

DOCSTRING_SPLITS = ("train", "dev")


def faults(recipe: Recipe, trained: Collection[str] = ()) -> list[str]:
    """Return one sentence per fault; sizes are checked only if all names are right.

    Args:
        trained: stages that have models already, so that their user code is not needed any more.
    """
    sentences = [
        *_dataset(recipe),
        *system_checks.faults(recipe),
        *_names(recipe),
        *engine_checks.faults(recipe),
    ] or [
        *_cycle(recipe),
        *_depths(recipe),
        *judgement_checks.faults(recipe),
        *measure_checks.faults(recipe),
    ]
    sentences = sentences or [*system_checks.used(recipe)]
    if not sentences:
        sentences += [*accelerate_file.faults(recipe), *head_checks.faults(recipe), *vector_checks.faults(recipe)]
        for name, stage in recipe.stages.items():
            if name not in trained:
                sentences += _code(name, stage)
            if isinstance(stage, Pretrain):
                sentences += _pretrain_sizes(name, stage)
            elif isinstance(stage, MaskedLm):
                sentences += [*masked_checks.faults(recipe, name), *_batch(recipe, name, stage, "passages")]
            else:
                sentences += [*_lengths(recipe, name, stage), *_representation(f"stages.{name}", stage)]
                if stage.train:
                    sentences += [*_batch(recipe, name, stage), *_nothing_to_learn(f"stages.{name}", stage)]
                    sentences += schedule_checks.faults(f"stages.{name}", stage, recipe.dataset)
    return sentences


def _dataset(recipe: Recipe) -> Iterator[str]:
    dataset = recipe.dataset
    if dataset.source == "folder" and not dataset.folder:
        yield "dataset.folder: source 'folder' needs the path of a folder"
    for split in dataset.splits:
        if split == "passages":
            yield "dataset.splits.passages: this name is taken by the collection, choose another one"
        yield from [*_sampled(dataset, split), *_union(dataset, split)]
        has_files = dataset.splits[split].sample_of is None and not dataset.splits[split].union_of
        if dataset.source == "docstrings" and split not in DOCSTRING_SPLITS and has_files:
            yield f"dataset.splits.{split}: source 'docstrings' has the splits {' and '.join(DOCSTRING_SPLITS)} only"
    trained = any(isinstance(stage, Model) and stage.train for stage in recipe.stages.values())
    if trained and "train" not in dataset.splits:
        yield "dataset.splits: the stages learn from a split 'train', and there is none"


def _code(name: str, stage: AnyStage) -> Iterator[str]:
    """Check the losses in the user's files."""
    if isinstance(stage, Model):
        losses: dict[str, str] = {f"teachers[{i}].loss": teacher.loss for i, teacher in enumerate(stage.teachers)}
        losses |= {"extra_loss": stage.extra_loss} if stage.extra_loss else {}
        for key, loss in losses.items():
            if user_code.is_reference(loss) and (reason := user_code.fault(loss)):
                yield f"stages.{name}.{key}: {reason}"


def _sampled(dataset: Dataset, name: str) -> Iterator[str]:
    """Check a split whose queries are a sample of another split."""
    split, key = dataset.splits[name], f"dataset.splits.{name}"
    if split.sample_of is None:
        return
    others = [other for other, s in dataset.splits.items() if s.sample_of is None and not s.union_of]
    yield from unknown(f"{key}.sample_of", split.sample_of, others, "split with files of its own")
    if split.limit is None and split.ids is None:
        yield f"{key}.limit: a sample of '{split.sample_of}' needs its number of queries, or a file of them as `ids`"
    for file in ("queries", "qrels"):
        if getattr(split, file):
            yield f"{key}.{file}: the files are those of '{split.sample_of}'; remove this key, or sample_of"


def _union(dataset: Dataset, name: str) -> Iterator[str]:
    """Check a split that joins others."""
    split, key = dataset.splits[name], f"dataset.splits.{name}"
    if not split.union_of:
        return
    if name != "train":
        yield f"{key}.union_of: only the split train, from which stages learn, joins others; remove this key"
    others = [other for other, s in dataset.splits.items() if not s.union_of]
    for part in split.union_of:
        yield from unknown(f"{key}.union_of", part, others, "split of its own")
    if len(set(split.union_of)) < max(2, len(split.union_of)):
        yield f"{key}.union_of: expected two splits or more, each once, got {', '.join(split.union_of)}"
    for other in ("queries", "qrels", "limit", "sample_of"):
        if getattr(split, other):
            yield f"{key}.{other}: the queries are those of {', '.join(split.union_of)}; set this key there"


def _names(recipe: Recipe) -> Iterator[str]:
    """Check every name of a stage, a system or a split."""
    systems = system_checks.ranking_systems(recipe)
    evaluation = recipe.evaluation
    for split in evaluation.splits:
        yield from unknown("evaluation.splits", split, recipe.dataset.splits, "split")
    ranking = [*systems, *recipe.variants]
    for system in [s for pair in evaluation.compare for s in pair]:
        yield from unknown("evaluation.compare", system, ranking, "system")
    for system in evaluation.side_by_side or []:
        yield from unknown("evaluation.side_by_side", system, ranking, "system")
    if recipe.validation and any(map(recipe.validates, recipe.stages)):
        yield from unknown("validation.split", recipe.validation.split, recipe.dataset.splits, "split")
        yield from unknown("validation.system", recipe.validation.system, [*systems, QRELS], "system")
    yield from _misspelt_stage("tokenizer", recipe.tokenizer, recipe.stages)
    for name, stage in recipe.stages.items():
        for key in ("init", "query_init", "tokenizer") if isinstance(stage, Started) else ():
            if getattr(stage, key, None):
                yield from _misspelt_stage(f"stages.{name}.{key}", getattr(stage, key), recipe.stages)
        if isinstance(stage, Model):
            yield from _stage_names(recipe, name, stage, systems)


def _stage_names(recipe: Recipe, name: str, stage: Model, systems: list[str]) -> Iterator[str]:
    key = f"stages.{name}"
    if stage.more_positives:
        yield from unknown(f"{key}.more_positives.scores", stage.more_positives.scores, recipe.dataset.scores, "file")
    for i, source in enumerate(stage.negatives):
        if not isinstance(source, str) and sum(map(bool, (source.first, source.last, source.random))) > 1:
            yield f"{key}.negatives[{i}]: first, last and random exclude one another, keep one of them"
    for i, system in enumerate(stage.negative_systems):
        dataset = recipe.dataset
        pools = ["bm25", *recipe.retrievers, *dataset.negatives, *dataset.scores, *dataset.runs, *recipe.fusion, QRELS]
        yield from unknown(f"{key}.negatives[{i}]", system, pools, "system to take negatives from")
    yield from teacher_checks.faults(recipe, name, stage, [*systems[1:], *recipe.dataset.scores, QRELS])
    yield from teacher_checks.judge_faults(recipe, name, stage, [*systems[1:], *recipe.dataset.scores])
    if isinstance(stage, Ranker):
        yield from unknown(f"{key}.rerank.system", stage.rerank.system, systems, "system")
    if stage.train and not stage.negatives:
        yield f"{key}.negatives: a stage that is trained needs at least one system (bm25, or a stage)"


def _misspelt_stage(key: str, name: str, stages: Iterable[str]) -> Iterator[str]:
    """Check a name that may also be a hub id or a path: it is a fault if a stage has nearly the same name."""
    similar = nearest(name, stages)
    if "/" not in name and name not in stages and similar:
        yield f"{key}: no stage '{name}'{similar}"


def _cycle(recipe: Recipe) -> Iterator[str]:
    names = (*recipe.stages, *recipe.fusion)
    try:
        TopologicalSorter({name: sorted(needs.parents(recipe, name)) for name in names}).prepare()
    except CycleError as error:
        path = error.args[1][::-1]
        kind = "stage" if recipe.stages.keys() & set(path) else "fusion"
        key = "stages" if kind == "stage" else "fusion"
        yield f"{key}: {' needs '.join(path)}: a {kind} cannot need itself, change one of these edges"


def _depths(recipe: Recipe) -> Iterator[str]:
    """Check that no step uses more passages than are ranked."""
    ranked, hits = recipe.evaluation.depth, recipe.mining.hits
    validated = recipe.validation if any(map(recipe.validates_by_search, recipe.stages)) else None
    reranks = {n: s.rerank for n, s in recipe.stages.items() if isinstance(s, Ranker)}
    if recipe.mining.depth > hits:
        yield f"mining.depth: {recipe.mining.depth} is more than mining.hits ({hits}), which is all that is searched"
    if "train" in recipe.evaluation.splits and ranked > hits:
        yield f"evaluation.depth: {ranked} is more than mining.hits ({hits}), which is all that is searched on 'train'"
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


def _representation(key: str, stage: Model) -> Iterator[str]:
    """Check that a stage's settings of its model are consistent."""
    if stage.load_in and not stage.train:
        yield f"{key}.load_in: train: false keeps the model as it is, in float32; leave this key out"
    elif stage.load_in and not stage.lora:
        yield f"{key}.load_in: weights in {stage.load_in} cannot be trained; add lora, whose adapters can"
    if stage.load_in and stage.compile:
        yield f"{key}.compile: layers whose weights are in {stage.load_in} are not compiled here; leave this key out"
    if isinstance(stage, Dense | Lexicon) and stage.query_init and not stage.untied:
        yield f"{key}.query_init: queries have a separate encoder only with untied: true"
    if isinstance(stage, Dense):
        if stage.encoder_decoder == "first_decoder_token" and stage.pooling != "cls":
            yield f"{key}.pooling: first_decoder_token is one vector, so nothing is pooled; leave this key out"
        if stage.encoder and (stage.head or stage.pooling != "cls" or stage.normalize):
            yield f"{key}.encoder: a user's encoder pools, projects and normalises itself; leave those keys out"
    if isinstance(stage, Lexicon):
        yield from _query_table(key, stage)
    if isinstance(stage, Ranker) and stage.scoring == "true_false":
        query, passage = stage.template.find("{query}"), stage.template.find("{passage}")
        if not 0 <= query < passage:
            yield f"{key}.template: expected {{query}} and then {{passage}} in it, got {stage.template!r}"
        if stage.true_word == stage.false_word:
            yield f"{key}.false_word: '{stage.false_word}' is true_word, too, so that every passage would score 0"


def _nothing_to_learn(key: str, stage: Model) -> Iterator[str]:
    extra = stage.extra_loss_weight if stage.extra_loss else 0.0
    contrastive = stage.contrastive_weight or stage.contrastive_weight_end
    if not (contrastive or extra or any(teacher.weight or teacher.weight_end for teacher in stage.teachers)):
        yield f"{key}.contrastive_weight: with 0 here and no teacher or extra_loss, there is nothing to learn from"
    if isinstance(stage, Ranker) and stage.label_smoothing and stage.ranking_loss not in ("softmax", "bce"):
        yield f"{key}.label_smoothing: ranking_loss: {stage.ranking_loss} has no labels; take softmax or bce"
    for i, source in enumerate(stage.negatives):
        low, high = (None, None) if isinstance(source, str) else (source.min_score, source.max_score)
        if low is not None and high is not None and low >= high:
            yield f"{key}.negatives[{i}].max_score: no score is below {high} and at least {low}"


def _query_table(key: str, stage: Lexicon) -> Iterator[str]:
    if stage.untied and stage.query_encoder != "model":
        yield f"{key}.untied: queries cannot have both a separate encoder and query_encoder: {stage.query_encoder}"
    for name in ("idf", "idf_trained", "idf_learning_rate"):
        if getattr(stage, name) and stage.query_encoder != "idf":
            yield f"{key}.{name}: a table of weights is used only with query_encoder: idf"
    if stage.idf_learning_rate and not stage.idf_trained:
        yield f"{key}.idf_learning_rate: the table learns only with idf_trained: true"
    if stage.train and stage.query_encoder != "model" and stage.flops_queries:
        yield f"{key}.flops_queries: queries are not encoded by a model that could be made sparser; set it to 0"


def _batch(recipe: Recipe, name: str, stage: Schedule, texts: str = "queries") -> Iterator[str]:
    key = f"stages.{name}"
    processes = recipe.processes(name)
    if stage.batch_size % processes:
        down = stage.batch_size - stage.batch_size % processes
        sizes = ", ".join(str(size) for size in (down, down + processes) if size)
        yield (
            f"{key}.batch_size: {stage.batch_size} {texts} cannot be split evenly over {processes} processes"
            f" (resources.train: nodes x gpu); nearest sizes: {sizes}"
        )


def _lengths(recipe: Recipe, name: str, stage: Model) -> Iterator[str]:
    """Check that the stage's lengths fit its model, and leave room for text after prefix and special tokens."""
    key = f"stages.{name}"
    for side, special in (("query", 2), ("passage", 3)):
        length, prefix = getattr(stage, f"{side}_length"), getattr(stage, f"{side}_prefix")
        if prefix and length <= len(prefix.split()) + special:  # a word is at least one token
            yield (
                f"{key}.{side}_length: {length} tokens leave no room for a text after {side}_prefix"
                f" ({len(prefix.split())} words) and {special} special tokens; raise it or shorten the prefix"
            )
        if length > recipe.dataset.max_tokens:
            limit = recipe.dataset.max_tokens
            yield f"{key}.{side}_length: {length} is more than dataset.max_tokens ({limit}), which is all that is kept"
    start = recipe.stages[name]
    while isinstance(start, Started) and start.init in recipe.stages:
        start = recipe.stages[start.init]
    lengths = (stage.query_length, stage.passage_length)
    longest = sum(lengths) - 1 if isinstance(stage, Ranker) else max(lengths)  # the passage loses its [CLS]
    if isinstance(start, Pretrain) and longest > start.positions:
        yield f"{key}: {longest} tokens do not fit into the {start.positions} positions of the model it starts from"
