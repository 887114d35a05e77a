"""Format lucene: an index with real ids that Anserini and pyserini open, of impacts for lexicon stages and for BM25.

After the export, Anserini answers the split's queries from the new index, and the result is compared with the run's own
ranking. Lucene breaks ties by id, the run by the order of the collection, so passages with equal scores may change
places.
"""

import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from led_pipeline.data.tables import Ranking, count_rows, every_id, read_ranking
from led_pipeline.evaluation.evaluate import PassageIds
from led_pipeline.export.options import Options, Written
from led_pipeline.export.source import BM25, Source
from led_pipeline.export.terms import Terms, json_lines, topics, vocabulary_size
from led_pipeline.files.atomic import scratch
from led_pipeline.files.errors import InputError
from led_pipeline.search.anserini import (
    CHUNK_HITS,
    CHUNK_QUERIES,
    HEAP_MB,
    IMPACT_FLAGS,
    analysis,
    bm25_contents,
)
from led_pipeline.search.indexes import check_language, read_queries
from led_pipeline.search.java import JAR, held_log
from led_pipeline.search.lucene import answers, fill_index

INDEX = "index"
COMPARED = 1_000  # queries of the split, from its start, that are written and compared
Hits = dict[str, tuple[list[str], list[float]]]  # query id -> ids of passages, best first, and their scores

COMMAND = """```sh
java -cp {jar} io.anserini.search.SearchCollection -index lucene/index \\
  -topics lucene/{topics} -topicReader TsvString -hits {hits} {flags} \\
  -output run.{split}.trec
```
"""
IMPACT = """`lucene/index` is a Lucene index of impacts: weight x {quantisation}, rounded. Its terms are the entries of
the stage's vocabulary, its ids those of the passages. `lucene/{topics}` has the first queries of `{split}`, each term
repeated as often as its impact. With Anserini ({jar}, part of pyserini, and Java 21):

{command}
With pyserini, queries are a mapping of terms to impacts:

```python
from pyserini.search.lucene import LuceneImpactSearcher

class Encoder:
    def encode(self, text):  # weights of the stage's query encoder, such as those of the ONNX export
        return {{term: round(weight * {quantisation}) for term, weight in weights_of(text).items()}}

hits = LuceneImpactSearcher("lucene/index", Encoder()).search("a query", k=10)
```

Equal scores are in the order of ids. An entry of the vocabulary with white space is written with escapes, a space as
`\\u0020`; a passage without terms has the term `{placeholder}`.
"""
TEXT = """`lucene/index` is a Lucene index of title and text, with the ids of the passages. `lucene/{topics}` has the
first queries of `{split}`. With Anserini ({jar}, part of pyserini, and Java 21):

{command}
With pyserini:

```python
from pyserini.search.lucene import LuceneSearcher

searcher = LuceneSearcher("lucene/index")
searcher.set_bm25({k1}, {b})
hits = searcher.search("a query", k=10)
```

Equal scores are in the order of ids.{note}
"""


def write(source: Source, folder: Path, options: Options) -> Written:
    """Write the index and the queries, and compare Anserini's answers with the run's ranking."""
    with held_log():
        return _write(source, folder, options)


def _write(source: Source, folder: Path, options: Options) -> Written:
    if source.system == BM25:
        return _bm25(source, folder, options)
    terms = Terms.read(source.model, vocabulary_size(source))
    flags = ["-collection", "JsonVectorCollection", *IMPACT_FLAGS]
    _fill(source, folder, json_lines(source, terms, contents=False), flags, options)
    lines = _write_topics(source, folder, topics(source, terms))
    measured = _compared(source, folder, lines, IMPACT_FLAGS, options, tolerance=0.5)
    names = _names(source, IMPACT_FLAGS)
    readme = IMPACT.format(**names, quantisation=source.quantisation, placeholder=terms.placeholder)
    return Written(readme, {"quantisation": source.quantisation} | measured)


def _bm25(source: Source, folder: Path, options: Options) -> Written:
    bm25, rows = source.recipe.bm25, count_rows(source.passages)
    check_language(source.passages, bm25.language)
    texts = zip(every_id(source.passages), bm25_contents(source.passages, rows, bm25.language), strict=True)
    documents = (f'{{"id":{json.dumps(pid)},"contents":{json.dumps(text)}}}' for pid, text in texts)
    flags = analysis(bm25.language)
    _fill(source, folder, documents, ["-collection", "JsonCollection", "-storeContents", *flags], options)
    queries = read_queries(source.queries, 0, len(source.query_ids), bm25.language)
    words = (re.sub(r"[\x00-\x20]+", " ", text).strip(" ") for text in queries)
    lines = _write_topics(source, folder, zip(source.query_ids, words, strict=True))
    flags = ["-bm25", "-bm25.k1", str(bm25.k1), "-bm25.b", str(bm25.b), *flags]
    measured = _compared(source, folder, lines, flags, options, tolerance=1e-3)
    note = f" The texts were analysed for bm25.language: {bm25.language}." if bm25.language != "en" else ""
    readme = TEXT.format(**_names(source, flags), k1=bm25.k1, b=bm25.b, note=note)
    return Written(readme, {"language": bm25.language, "k1": bm25.k1, "b": bm25.b} | measured)


def _names(source: Source, flags: Sequence[str]) -> dict[str, Any]:
    names = {"jar": JAR, "topics": f"topics.{source.split}.tsv", "split": source.split}
    hits = source.recipe.evaluation.depth
    return names | {"command": COMMAND.format(**names, hits=hits, flags=" ".join(flags))}


def _fill(source: Source, folder: Path, documents: Iterable[str], flags: Sequence[str], options: Options) -> None:
    rows = count_rows(source.passages)
    fill_index(folder / INDEX, documents, rows, flags, options.threads, HEAP_MB, name=folder / INDEX)


def _write_topics(source: Source, folder: Path, queries: Iterable[tuple[str, str]]) -> list[str]:
    """Write the topics of the first queries, one per line, without empty ones, and return the lines."""
    lines = [f"{qid}\t{topic}\n" for qid, topic in islice(queries, COMPARED) if topic]
    (folder / f"topics.{source.split}.tsv").write_text("".join(lines), encoding="utf-8")
    return lines


def _compared(
    source: Source, folder: Path, lines: Sequence[str], flags: Sequence[str], options: Options, tolerance: float
) -> dict[str, Any]:
    """Search the index and compare the hits with the run's ranking.

    Raises:
        InputError: they differ by more than the order of equal scores.
    """
    search = source.recipe.search
    ranked_by = search.backend if source.system == BM25 else search.lexicon_engine
    if ranked_by == "opensearch" or not source.ranking.is_file():
        return {"compared_queries": 0}
    ranking, depth = read_ranking(source.ranking, 0, COMPARED), source.recipe.evaluation.depth
    hits = searched(folder / INDEX, lines, flags, depth, options.threads)
    ids = PassageIds.read(source.passages, np.unique(ranking.passages.values))
    different = [qid for qid, same in _same(source, ranking, ids, hits, tolerance) if not same]
    if different:
        raise InputError(
            f"{source.ranking}: Anserini ranks {len(different)} of {len(ranking)} queries differently with the exported"
            f" index, first '{different[0]}'; the run's files do not belong together, run snakemake again and export"
            " then"
        )
    return {"compared_queries": len(ranking), "equal_to_the_run": len(ranking)}


def _same(
    source: Source, ranking: Ranking, ids: PassageIds, hits: Hits, tolerance: float
) -> Iterator[tuple[str, bool]]:
    for query, rows, scores in ranking:
        qid = source.query_ids[query]
        yield qid, same_up_to_ties((ids.of(rows), scores.tolist()), hits.get(qid, ([], [])), tolerance)


def same_up_to_ties(
    one: tuple[Sequence[str], Sequence[float]], two: tuple[Sequence[str], Sequence[float]], tolerance: float
) -> bool:
    """Return whether two rankings have equal scores at every rank, and equal passages apart from those that tie.

    Args:
        tolerance: the largest difference of equal scores.
    """
    (ids, scores), (other_ids, other_scores) = one, two
    if len(ids) != len(other_ids):
        return False
    if any(abs(a - b) > tolerance for a, b in zip(scores, other_scores, strict=True)):
        return False
    of_one, of_two = dict(zip(ids, scores, strict=True)), dict(zip(other_ids, other_scores, strict=True))
    last = min(scores[-1], other_scores[-1]) if len(ids) else 0.0
    for first, second in ((of_one, of_two), (of_two, of_one)):
        for pid, score in first.items():
            missing = pid not in second and score > last + 2 * tolerance  # otherwise it may tie at the cut-off
            if missing or (pid in second and abs(second[pid] - score) > tolerance):
                return False
    return True


def searched(index: Path, lines: Sequence[str], flags: Sequence[str], hits: int, threads: int) -> Hits:
    """Return Anserini's hits for topics, lines `id TAB topic`."""
    results: Hits = {}
    most, rest = max(1, min(CHUNK_QUERIES, CHUNK_HITS // hits)), iter(lines)
    with scratch(index) as folder:
        while part := list(islice(rest, most)):
            arguments = ["-topicReader", "TsvString", *flags]
            results |= answers(index, folder, part, arguments, hits, threads, HEAP_MB, read_hits)
    return results


def read_hits(file: io.BufferedReader) -> Hits:
    """Return the hits of a TREC run with ids of any form."""
    results: Hits = {}
    if not file.peek(1):
        return results
    names = ["query", "q0", "passage", "rank", "score", "tag"]
    table = pyarrow.csv.read_csv(
        file,
        pyarrow.csv.ReadOptions(column_names=names),
        pyarrow.csv.ParseOptions(delimiter=" ", quote_char=False),
        pyarrow.csv.ConvertOptions(
            column_types={"query": pa.string(), "passage": pa.string(), "score": pa.float64()},
            include_columns=["query", "passage", "score"],
            strings_can_be_null=False,
        ),
    )
    columns = (table[name].to_pylist() for name in ("query", "passage", "score"))
    for query, passage, score in zip(*columns, strict=True):
        ids, scores = results.setdefault(query, ([], []))
        ids.append(passage)
        scores.append(score)
    return results
