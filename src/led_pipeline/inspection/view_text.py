"""A trainset, a pool, a model and their queries as text for a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from led_pipeline.columns import aligned
from led_pipeline.files.atomic import size
from led_pipeline.inspection.texts import Passage, Query
from led_pipeline.inspection.trainset_view import Example
from led_pipeline.report.examples import snippet
from led_pipeline.report.text import number

LENGTH = 160  # characters of a passage


def trainset_text(result: Mapping[str, Any]) -> str:
    """Return the overview of a trainset as text."""
    lines = [
        f"trainset of {result['stage']}: {result['examples']:,} examples ({_of(result['epochs'], 'epoch')},"
        f" {result['queries']:,} queries), each with {_of(result['negatives_per_example'], 'negative')}",
        f"distinct negatives: {result['distinct_negatives']:,}; examples with a negative twice:"
        f" {result['examples_with_a_negative_twice']:,}",
    ]
    manifest = result["manifest"] or {}
    if dropped := manifest.get("dropped_without_negatives"):
        lines.append(f"dropped: {dropped:,} pairs of a query and a positive, since the query has no negatives")
    if judged := result["judged"]:
        lines.append(
            f"judged: {judged['dropped']:,} of {judged['candidates']:,} candidates dropped for scoring nearly as high"
            f" as a positive, of {judged['queries_with_dropped']:,} of {judged['queries']:,} queries"
            f" ({judged['dropped_per_query']['mean']:.2f} per query)"
        )
    if pairs := manifest.get("negatives_in_batches"):
        wrong = manifest.get("positives_among_them", 0)
        lines.append(f"in-batch negatives: {pairs:,}, of which {wrong:,} are positives of the query")
    shares = dict(result["sources"])
    rows = [[name, f"{share:.1%}"] for name, share in shares.items() if name != "none"]
    rows += [["in no pool any more", f"{shares['none']:.1%}"]] if shares["none"] else []
    title = f"negatives by pool, {result['sampled_negatives']:,} of them looked up (several pools may have one)"
    blocks = ["\n".join(lines), f"{title}:\n{aligned([['pool', 'share'], *rows])}"]
    if result["teachers"]:
        names = ["positive_first", "gap_low", "gap_median", "gap_high"]
        head = ["teacher", "positive first", "gap, 10 %", "median", "90 %"]
        rows = [[t, f"{v[names[0]]:.1%}", *(number(v[n]) for n in names[1:])] for t, v in result["teachers"].items()]
        remark = "gap: the teacher's score of the positive minus that of the example's best negative"
        blocks.append(f"{aligned([head, *rows])}\n{remark}")
    some = [f"  --query {query['qid']}: {snippet(query['text'], 100)}" for query in result["some_queries"]]
    return "\n\n".join([*blocks, "\n".join(["some queries:", *some])])


def examples_text(query: Query, examples: Sequence[Example]) -> str:
    """Return a query and its examples, epoch by epoch."""
    return "\n".join([_title(query), *(line for example in examples for line in _example(example))])


def _title(query: Query) -> str:
    return f"query {query.qid} (row {query.row:,}): {' '.join(query.text.split())}"


def _example(example: Example) -> Iterator[str]:
    yield f"\nepoch {example.epoch}, example {example.row:,}:"
    for candidate in example.candidates:
        origin = ", ".join(f"{name} #{rank}" for name, rank in candidate.pools.items()) or "in no pool any more"
        scores = "".join(f"; {teacher} {score:.3f}" for teacher, score in candidate.scores.items())
        yield f"  {'positive' if candidate.positive else f'negative, {origin}'}{scores}"
        yield f"    [{candidate.passage.pid}] {candidate.passage.line(LENGTH)}"


def pool_text(result: Mapping[str, Any], query: Query | None, entries: Sequence[Mapping[str, Any]]) -> str:
    """Return the overview of a pool, and the first passages of a query."""
    of = f" of {result['training_queries']:,}" if result["training_queries"] is not None else ""
    spread = ", ".join(f"{name} {count}" for name, count in result["passages_per_query"].items())
    lines = [
        f"pool of {result['system']}: {result['passages']:,} passages for {result['queries']:,}{of} training queries",
        f"passages per query: {spread}",
    ]
    if result["manifest"]:
        lines.append("manifest: " + ", ".join(f"{k} {v:,}" for k, v in result["manifest"].items()))
    return "\n".join(lines) + (f"\n\n{pool_query_text(query, entries)}" if query else "")


def pool_query_text(query: Query, entries: Sequence[Mapping[str, Any]]) -> str:
    """Return a query and the first passages of its pool."""
    lines = [_title(query)]
    for entry in entries:
        passage = Passage(entry["row"], entry["pid"], entry["title"], entry["text"])
        lines.append(f"  {entry['rank']:>3}  {entry['score']:.3f}  [{passage.pid}] {passage.line(LENGTH)}")
    return "\n".join(lines)


def model_text(result: Mapping[str, Any]) -> str:
    """Return what a model folder records as text."""
    lines = [f"{result['folder']}: {result['family']}, {size(result['bytes'])}"]
    lines += [f"  {key}: {value}" for key, value in result["backbone"].items()]
    if result["settings"]:
        lines += ["", "how it reads texts (led.json):"]
        lines += [f"  {key}: {value}" for key, value in result["settings"].items()]
    if weights := result["weights"]:
        lines += ["", f"weights from {weights.get('source')}"]
        for key, text in (("new", "began at random"), ("unused", "of the source are not used")):
            if weights.get(key):
                lines.append(f"  {text}: {', '.join(weights[key])}")
    if training := result["training"]:
        state = "" if training["finished"] else " (its log has no last line)"
        seconds = "" if training["seconds"] is None else f" in {training['seconds']:,.0f} s"
        lines += ["", f"training{state}: {training['steps'] or 0:,} steps{seconds}"]
        lines += [f"  last {name}: {number(value)}" for name, value in training["last"].items()]
        lines += [f"  best {name}: {number(value)}" for name, value in training["best_validation"].items()]
    if result["sentence_transformers"]:
        lines += ["", f"opens with sentence-transformers: {result['sentence_transformers']}"]
    return "\n".join(lines)


def _of(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
