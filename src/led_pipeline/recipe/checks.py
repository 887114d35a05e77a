"""What the schema of a recipe cannot see: names that lead nowhere, cycles, sizes that do not fit together.

Every check yields sentences that name the key.
"""

from collections.abc import Collection, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

from led_pipeline import user_code
from led_pipeline.recipe import accelerate_file, head_checks, languages, needs, teacher_checks
from led_pipeline.recipe.dataset import Dataset
from led_pipeline.recipe.errors import nearest
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.schema import JUDGED
from led_pipeline.recipe.stages import AnyStage, Dense, Lexicon, Pretrain, Ranker, Trained
from led_pipeline.recipe.values import LABELS

DOCSTRING_SPLITS = ("train", "dev")
NODE_HITS = 10_000  # OpenSearch returns no more per query unless its index says otherwise
GPU_HITS = 2_047  # FAISS finds one more per query on a GPU, which the search needs to see ties


def faults(recipe: Recipe, trained: Collection[str] = ()) -> list[str]:
    """Return one sentence per fault; sizes are looked at once all names are right.

    Args:
        trained: stages whose models are there already, so that the code that they learned with is not looked for.
    """
    found = [
        *_dataset(recipe),
        *_case(recipe),
        *_names(recipe),
        *languages.faults(recipe.bm25.language, recipe.search.backend),
    ] or [
        *_cycle(recipe),
        *_depths(recipe),
    ]
    if not found:
        found += [*accelerate_file.faults(recipe), *head_checks.faults(recipe)]
        for name, stage in recipe.stages.items():
            if name not in trained:
                found += _code(name, stage)
            if isinstance(stage, Pretrain):
                found += _pretrain_sizes(name, stage)
            else:
                found += [*_lengths(recipe, name, stage), *_representation(f"stages.{name}", stage)]
                if stage.train:
                    found += [*_batch(recipe, name, stage), *_nothing_to_learn(f"stages.{name}", stage)]
    return found


def _unknown(key: str, name: str, known: Iterable[str], what: str) -> Iterator[str]:
    known = list(known)
    if name not in known:
        yield f"{key}: no {what} '{name}'{nearest(name, known)}"


def _dataset(recipe: Recipe) -> Iterator[str]:
    dataset = recipe.dataset
    if dataset.source == "folder" and not dataset.folder:
        yield "dataset.folder: source 'folder' needs the path of a folder"
    for split in dataset.splits:
        if split == "passages":
            yield "dataset.splits.passages: this name is taken by the collection, choose another one"
        yield from _sampled(dataset, split)
        made = dataset.splits[split].sample_of is None
        if dataset.source == "docstrings" and split not in DOCSTRING_SPLITS and made:
            yield f"dataset.splits.{split}: source 'docstrings' makes the splits {' and '.join(DOCSTRING_SPLITS)} only"
    for name in ("bm25", *recipe.stages):
        if name in dataset.negatives:
            yield f"dataset.negatives.{name}: this name is taken by a system of the recipe, choose another one"
    for name in ("bm25", LABELS, *recipe.stages, *dataset.negatives):
        if name in dataset.scores:
            yield f"dataset.scores.{name}: this name is taken by a system of the recipe, choose another one"
    if "bm25" in recipe.stages:
        yield "stages.bm25: this name is taken by BM25 itself, choose another one"
    if LABELS in recipe.stages:
        yield f"stages.{LABELS}: this name is taken by the judgements' grades, choose another one"
    if JUDGED in recipe.stages:
        yield f"stages.{JUDGED}: this name is taken by the judged passages (validation.system), choose another one"
    trained = any(isinstance(stage, Trained) and stage.train for stage in recipe.stages.values())
    if trained and "train" not in dataset.splits:
        yield "dataset.splits: the stages learn from a split 'train', and there is none"


def _case(recipe: Recipe) -> Iterator[str]:
    """Check that names of one kind differ in more than capital letters: not every file system tells those apart."""
    dataset = recipe.dataset
    systems = {f"stages.{name}": name for name in recipe.stages}
    systems |= {f"dataset.negatives.{name}": name for name in dataset.negatives}
    systems |= {f"dataset.scores.{name}": name for name in dataset.scores}
    for names, taken in (
        (systems, ("bm25", LABELS, JUDGED)),
        ({f"dataset.splits.{name}": name for name in dataset.splits}, ("passages",)),
    ):
        first = {name.casefold(): (name, f"'{name}', a name of ours") for name in taken}
        for key, name in names.items():
            other, where = first.setdefault(name.casefold(), (name, key))
            if other != name:
                yield f"{key}: differs from {where} in capital letters alone, which share a file; rename one"


def _code(name: str, stage: AnyStage) -> Iterator[str]:
    """Check the losses from files of the user's."""
    if isinstance(stage, Trained):
        named = {f"teachers[{i}].loss": teacher.loss for i, teacher in enumerate(stage.teachers)}
        for key, loss in (named | {"extra_loss": stage.extra_loss}).items():
            if user_code.is_reference(loss) and (reason := user_code.fault(loss)):
                yield f"stages.{name}.{key}: {reason}"


def _sampled(dataset: Dataset, name: str) -> Iterator[str]:
    """Check a split that takes its queries out of another one."""
    split, key = dataset.splits[name], f"dataset.splits.{name}"
    if split.sample_of is None:
        return
    others = [other for other, s in dataset.splits.items() if s.sample_of is None]
    yield from _unknown(f"{key}.sample_of", split.sample_of, others, "split with files of its own")
    if split.limit is None:
        yield f"{key}.limit: a sample of '{split.sample_of}' needs its number of queries"
    for file in ("queries", "qrels"):
        if getattr(split, file):
            yield f"{key}.{file}: the files are those of '{split.sample_of}'; remove this key, or sample_of"


def _names(recipe: Recipe) -> Iterator[str]:
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


def _stage_names(recipe: Recipe, name: str, stage: Trained, systems: list[str]) -> Iterator[str]:
    key = f"stages.{name}"
    for start in ("init", "query_init"):
        if getattr(stage, start, None):
            yield from _misspelt_stage(f"{key}.{start}", getattr(stage, start), recipe.stages)
    if stage.tokenizer:
        yield from _misspelt_stage(f"{key}.tokenizer", stage.tokenizer, recipe.stages)
    if stage.more_positives:
        yield from _unknown(f"{key}.more_positives.scores", stage.more_positives.scores, recipe.dataset.scores, "file")
    for i, source in enumerate(stage.negatives):
        if not isinstance(source, str) and sum(map(bool, (source.first, source.last, source.random))) > 1:
            yield f"{key}.negatives[{i}]: first, last and random exclude one another, keep one of them"
    for i, system in enumerate(stage.negative_systems):
        known = ["bm25", *recipe.retrievers, *recipe.dataset.negatives, *recipe.dataset.scores, LABELS]
        yield from _unknown(f"{key}.negatives[{i}]", system, known, "system to take negatives from")
    yield from teacher_checks.faults(recipe, name, stage, [*systems[1:], *recipe.dataset.scores, LABELS])
    if isinstance(stage, Ranker):
        yield from _unknown(f"{key}.rerank.system", stage.rerank.system, systems, "system")
    if stage.train and not stage.negatives:
        yield f"{key}.negatives: a stage that is trained needs at least one system (bm25, or a stage)"


def _misspelt_stage(key: str, name: str, stages: Iterable[str]) -> Iterator[str]:
    """Check a name that may also be a hub id or a path: it is at fault where a stage has nearly this name."""
    similar = nearest(name, stages)
    if "/" not in name and name not in stages and similar:
        yield f"{key}: no stage '{name}'{similar}"


def _cycle(recipe: Recipe) -> Iterator[str]:
    try:
        TopologicalSorter({name: sorted(needs.parents(recipe, name)) for name in recipe.stages}).prepare()
    except CycleError as error:
        yield f"stages: {' needs '.join(error.args[1][::-1])}: a stage cannot need itself, change one of these edges"


def _depths(recipe: Recipe) -> Iterator[str]:
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


def _representation(key: str, stage: Trained) -> Iterator[str]:
    """Check that what a stage says about its model goes together."""
    if stage.load_in and not stage.train:
        yield f"{key}.load_in: train: false takes a model as it is, and what is written is float32; leave this key out"
    elif stage.load_in and not stage.lora:
        yield f"{key}.load_in: weights in {stage.load_in} cannot be trained; add lora, whose adapters can"
    if isinstance(stage, Dense | Lexicon) and stage.query_init and not stage.untied:
        yield f"{key}.query_init: queries have an encoder of their own only with untied: true"
    if isinstance(stage, Dense):
        if stage.encoder_decoder == "first_decoder_token" and stage.pooling != "cls":
            yield f"{key}.pooling: first_decoder_token is one vector, so nothing is pooled; leave this key out"
        if stage.encoder and (stage.head or stage.pooling != "cls" or stage.normalize):
            yield f"{key}.encoder: an own encoder pools, projects and normalises itself; leave those keys out"
    if isinstance(stage, Lexicon):
        yield from _query_table(key, stage)
    if isinstance(stage, Ranker) and stage.scoring == "true_false":
        query, passage = stage.template.find("{query}"), stage.template.find("{passage}")
        if not 0 <= query < passage:
            yield f"{key}.template: expected {{query}} and then {{passage}} in it, got {stage.template!r}"
        if stage.true_word == stage.false_word:
            yield f"{key}.false_word: '{stage.false_word}' is true_word, too, so that every passage would score 0"


def _nothing_to_learn(key: str, stage: Trained) -> Iterator[str]:
    extra = stage.extra_loss_weight if stage.extra_loss else 0.0
    if not (stage.contrastive_weight or extra or any(teacher.weight for teacher in stage.teachers)):
        yield f"{key}.contrastive_weight: with 0 here and no teacher or extra_loss, there is nothing to learn from"
    for i, source in enumerate(stage.negatives):
        limits = () if isinstance(source, str) else (source.min_score, source.max_score)
        if limits and None not in limits and limits[0] >= limits[1]:
            yield f"{key}.negatives[{i}].max_score: no score is below {limits[1]} and at least {limits[0]}"


def _query_table(key: str, stage: Lexicon) -> Iterator[str]:
    if stage.untied and stage.query_encoder != "model":
        yield f"{key}.untied: queries cannot have both an encoder and query_encoder: {stage.query_encoder}"
    for name in ("idf", "idf_trained", "idf_learning_rate"):
        if getattr(stage, name) and stage.query_encoder != "idf":
            yield f"{key}.{name}: a table of weights is used only with query_encoder: idf"
    if stage.idf_learning_rate and not stage.idf_trained:
        yield f"{key}.idf_learning_rate: the table learns only with idf_trained: true"
    if stage.train and stage.query_encoder != "model" and stage.flops_queries:
        yield f"{key}.flops_queries: queries are not encoded by a model that could be made sparser; set it to 0"


def _batch(recipe: Recipe, name: str, stage: Trained) -> Iterator[str]:
    key = f"stages.{name}"
    processes = recipe.processes(name)
    if stage.batch_size % processes:
        down = stage.batch_size - stage.batch_size % processes
        sizes = ", ".join(str(size) for size in (down, down + processes) if size)
        yield (
            f"{key}.batch_size: {stage.batch_size} queries cannot be split evenly over {processes} processes"
            f" (resources.train: nodes x gpu); nearest sizes: {sizes}"
        )


def _lengths(recipe: Recipe, name: str, stage: Trained) -> Iterator[str]:
    """Check that texts of the stage's lengths fit, and that they hold more than a prefix and special tokens."""
    key = f"stages.{name}"
    for side, special in (("query", 2), ("passage", 3)):
        length, prefix = getattr(stage, f"{side}_length"), getattr(stage, f"{side}_prefix")
        if prefix and length <= len(prefix.split()) + special:  # a word is one token at least
            yield (
                f"{key}.{side}_length: {length} tokens leave no room for a text behind {side}_prefix,"
                f" {len(prefix.split())} words, and {special} special tokens; raise it or shorten the prefix"
            )
        if length > recipe.dataset.max_tokens:
            limit = recipe.dataset.max_tokens
            yield f"{key}.{side}_length: {length} is more than dataset.max_tokens ({limit}), which is all that is kept"
    start = recipe.stages[name]
    while isinstance(start, Trained) and start.init in recipe.stages:
        start = recipe.stages[start.init]
    lengths = (stage.query_length, stage.passage_length)
    longest = sum(lengths) - 1 if isinstance(stage, Ranker) else max(lengths)  # the passage loses its [CLS]
    if isinstance(start, Pretrain) and longest > start.positions:
        yield f"{key}: {longest} tokens do not fit into the {start.positions} positions of the model it starts from"
