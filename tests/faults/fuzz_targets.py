"""Targets of the fuzzer: valid files of every format, our reader of each, and a second reader, as simple as possible.

The second reader gets the same bytes when ours accepts them. It does not use our code and detects no faults except
duplicate JSON keys: it returns the plain content, so a difference is a file that we silently misread.
"""

import gzip
import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from led_pipeline.data.formats.examples import read_example_passages
from led_pipeline.data.formats.judgements import load_qrels, read_negatives, read_run
from led_pipeline.data.formats.lines import Problems
from led_pipeline.data.formats.score_files import read_scores
from led_pipeline.data.formats.templates import Template
from led_pipeline.data.formats.texts import read_corpus, read_queries, read_titles, read_tsv
from led_pipeline.evaluation import published as report_published
from led_pipeline.evaluation.evaluate import read_per_query
from led_pipeline.evaluation.measures import measure
from led_pipeline.fetch.sources import read_source
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.plan.workload import lines as estimated_lines
from led_pipeline.recipe import accelerate_file
from led_pipeline.recipe.load import load_recipe, read_recipe
from led_pipeline.report.log import read_train_log

CONFIG = Path(__file__).parents[2] / "config"


@dataclass(frozen=True)
class Target:
    """One kind of file."""

    name: str  # of the file
    content: bytes
    read: Callable[[Path], Any]
    simply: Callable[[bytes], Any]
    binary: bool = False  # mutated mostly by bytes


def checked(reader: Callable[..., Any], *more: Any) -> Callable[[Path], list]:
    """Return a reader that reports to its own Problems, like a command."""

    def read(path: Path) -> list:
        problems = Problems()
        rows = list(reader(path, problems, *more))
        problems.check()
        estimated_lines(path)  # the reader of `led plan`
        return rows

    return read


# --- the second readers


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), "a key comes twice"
    return dict(pairs)


def plain(text: str | bytes) -> Any:
    return json.loads(text, object_pairs_hook=once)


def lines(content: bytes) -> list[tuple[int, str]]:
    rows = content.split(b"\n")
    rows = [row.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r").decode() for row in rows]
    while rows and not rows[-1]:
        rows.pop()
    return list(enumerate(rows, start=1))


def columns(content: bytes, separator: str | None = "\t") -> list[list[str]]:
    return [row.split(separator) for _, row in lines(content)]


def tsv(content: bytes) -> list:
    return [(number, row.split("\t")[0], "", row.split("\t")[1]) for number, row in lines(content)]


def titles(content: bytes) -> list:
    return [(number, row.split("\t")[0], row.split("\t")[1]) for number, row in lines(content)]


def json_texts(content: bytes) -> list:
    rows = [(number, plain(row)) for number, row in lines(content)]
    return [(number, name(row), row.get("title") or "", row["text"]) for number, row in rows]


def name(row: dict) -> str:
    return str(next(row[key] for key in ("_id", "docid", "id") if key in row))


def json_titles(content: bytes) -> list:
    rows = [(number, plain(row)) for number, row in lines(content)]
    return [(number, name(row), row.get("title") or "") for number, row in rows]


def templated(content: bytes) -> list:
    rows = [(number, plain(row)) for number, row in lines(content)]
    return [(number, name(row), "", f"{row['title']}: {row['text']}".strip()) for number, row in rows]


def qrels(content: bytes) -> dict:
    rows, grades = columns(content, None), {}
    beir = rows[:1] == [["query-id", "corpus-id", "score"]]
    for row in columns(content)[1:] if beir else rows:
        grades.setdefault(row[0], {})[row[-2]] = int(row[-1])
    return grades


def grouped(rows: list[tuple[str, str, float]]) -> list:
    lists: dict[str, tuple[list, list]] = {}
    for query, passage, score in rows:
        ids, scores = lists.setdefault(query, ([], []))
        ids.append(passage)
        scores.append(score)
    return [(query, *both) for query, both in lists.items()]


def run(content: bytes) -> list:
    return grouped([(row[0], row[2], float(row[4])) for row in columns(content, None)])


def three(content: bytes) -> list:
    return grouped([(row[0], row[1], float(row[2])) for row in columns(content)])


def joined(lists: Iterable[tuple[str, list[str]]]) -> list:
    """Join the lists of a query that occurs several times, as the pools do."""
    ids_of: dict[str, dict] = {}
    for query, ids in lists:
        ids_of.setdefault(query, {}).update(dict.fromkeys(ids))
    return [(query, list(ids)) for query, ids in ids_of.items()]


def negatives(content: bytes) -> list:
    return joined((row[0], row[2:] if len(row) == 3 else row[1].split(",")) for row in columns(content))


def nested(scores: dict) -> list:
    return [(str(q), [str(p) for p in of_q], [float(s) for s in of_q.values()]) for q, of_q in scores.items()]


def nested_grades(content: bytes) -> dict:
    return {
        query: {p: int(grade) for p, grade in grades.items()} for query, grades in plain_json(content).items() if grades
    }


def nested_lists(content: Any) -> list:
    return joined((str(query), [str(each) for each in ids]) for query, ids in content.items())


def three_columns(content: bytes) -> list:
    return [(number, *row.split("\t")) for number, row in lines(content)]


def csv_texts(content: bytes) -> list:
    """Read a CSV letter by letter: a quote begins a quoted field, in which a doubled quote is one."""
    text = "\n".join(row for _, row in lines(content)) + "\n"
    rows, row, cell, first, quoted, number, i = [], [], "", 1, False, 1, 0
    while i < len(text):
        letter = text[i]
        number += letter == "\n"
        if quoted and text[i : i + 2] == '""':
            cell, i = cell + '"', i + 1
        elif letter == '"' and (quoted or not cell):
            quoted = not quoted
        elif quoted or letter not in ",\n":
            cell += letter
        else:
            row, cell = [*row, cell], ""
            if letter == "\n":
                rows.append((first, row))
                row, first = [], number
        i += 1
    names = rows[0][1]
    records = [(at, dict(zip(names, values, strict=True))) for at, values in rows[1:]]
    return [(at, name(record), record.get("title", ""), record["text"]) for at, record in records]


def example_texts(content: bytes) -> list:
    rows = [(number, plain(row)) for number, row in lines(content)]
    parts = ((n, part) for n, row in rows for key in ("pos", "negs", "docs") for part in as_list(row.get(key)))
    return [(n, hashlib.blake2b(text.encode(), digest_size=16).hexdigest(), "", text) for n, text in parts]


def as_list(value: Any) -> list:
    return [] if value is None else value if isinstance(value, list) else [value]


class Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name}")


def parquet(content: bytes) -> list:
    table = pq.read_table(io.BytesIO(content), use_threads=False)
    return grouped([(str(row["query"]), str(row["passage"]), float(row["score"])) for row in table.to_pylist()])


def json_lists(content: bytes) -> list:
    rows, triples = [plain(row) for _, row in lines(content)], []
    for row in rows:
        query = next(row[key] for key in ("query", "qid", "query_id") if key in row)
        docs = next(row[key] for key in ("docs", "docid", "docids", "passages") if key in row)
        scores = next(row[key] for key in ("scores", "score") if key in row)
        triples += [(str(query), str(doc), float(score)) for doc, score in zip(docs, scores, strict=True)]
    return grouped(triples)


def plain_yaml(content: bytes) -> Any:
    return yaml.safe_load(content.decode())  # Snakemake's reader of a config; libyaml differs from it in odd files


def recipe(content: bytes) -> Any:
    return load_recipe(plain_yaml(content) or {})


def source(content: bytes) -> Any:
    files = plain_yaml(content)["files"]
    return [entry for entry in files if entry["name"] == "a"]


def log(content: bytes) -> Any:
    entries = [plain(row) for row in content.decode().splitlines()]
    return {
        e["step"]: float(e["loss"]) for e in entries if "loss" in e and not e.get("finished") and "validation" not in e
    }


def per_query(content: bytes) -> dict:
    header, *rows = [row.split("\t") for row in content.decode().replace("\r", "\n").split("\n") if row]
    return {row[0]: dict(zip(header[1:], map(float, row[1:]), strict=True)) for row in rows}


# --- measures by their definition


def measured(path: Path) -> dict:
    """Measure a file that contains the judgements and, after the line `# run`, the run."""
    judged, _, ranked = path.read_bytes().partition(b"# run\n")
    places = path.with_suffix(".qrels"), path.with_suffix(".trec")
    for place, content in zip(places, (judged, ranked), strict=True):
        place.write_bytes(content)
    grades = load_qrels(places[0])
    if not grades:
        raise InputError(f"{path}: no judgements, an error of the command too")
    per_query = measure(read_run(places[1]), grades, 1).per_query
    return {query: round(values["MRR@10"], 9) for query, values in per_query.items()}


def reciprocal_ranks(content: bytes) -> dict:
    judged, _, ranked = content.partition(b"# run\n")
    grades, reciprocals = qrels(judged), {}
    results = {query: (ids, scores) for query, ids, scores in run(ranked)}
    for query in grades:
        ids, scores = results.get(query, ([], []))
        narrow = pa.array(scores, pa.float64()).cast(pa.float32(), safe=False).to_pylist()
        order = sorted(zip(narrow, (p.encode() for p in ids), ids, strict=True), reverse=True)[:10]
        ranks = [rank for rank, (_, _, p) in enumerate(order, 1) if grades[query].get(p, 0) >= 1]
        reciprocals[query] = round(1 / ranks[0], 9) if ranks else 0.0
    return reciprocals


# --- valid files

IDS = [(f"q{i}", [f"p{j}" for j in range(i, i + 4)]) for i in range(5)]
SCORES = {q: {p: 3.5 - k + i for k, p in enumerate(ps)} for i, (q, ps) in enumerate(IDS)}
ROWS = [(q, p, s) for q, scores in SCORES.items() for p, s in scores.items()]
TSV = "".join(f"p{i}\tthe text of passage {i}, é\n" for i in range(8)).encode()
DOCUMENTS = [{"_id": f"p{i}", "title": f"t{i}", "text": f"é {i}", "metadata": {"a": [1, {"b": 2}]}} for i in range(6)]
CORPUS = "".join(json.dumps(document) + "\n" for document in DOCUMENTS).encode()
QRELS = "".join(f"{q} 0 {p} {k % 3}\n" for q, ps in IDS for k, p in enumerate(ps)).encode()
RUN = "".join(f"{q} Q0 {p} 1 {s} tag\n" for q, p, s in ROWS).encode()
LISTS = "".join(json.dumps({"query": q, "docs": list(s), "scores": list(s.values())}) + "\n" for q, s in SCORES.items())
CSV = "id,title,text\n" + "".join(f'p{i},t{i},"the ""text"", of\n\n{i} é"\n' for i in range(6))
TRIPLES = [{"query": f"q {i}", "pos": f"é {i}", "negs": [f"n {i}", "m"]} for i in range(4)]
TRIPLES += [{"query": f"q {i}", "docs": [f"d {i}", "m"], "scores": [3.5, 1]} for i in range(2)]
EXAMPLES = "".join(json.dumps(record) + "\n" for record in TRIPLES).encode()
RECIPE = (CONFIG.parent / "tests/pipeline/tiny.yaml").read_bytes()
ENTRY = b"""files:
  - name: a
    url: [https://host/a.gz, &b https://host/b.gz]
    headers: {X: "1"}
    bytes: 12
    md5: 0123456789abcdef0123456789abcdef
    verified: true
    licence: none
"""
PUBLISHED = (CONFIG / "published.yaml").read_bytes()[:6000].rpartition(b"\n    - ")[0] + b"\n"
LOG = b"""{"step": 1, "loss": 0.5, "health": {}}
{"step": 2, "loss": 0.25}
{"step": 2, "validation": {"MRR@10": 0.5}}
{"finished": true, "steps": 2}
"""
MEASURES = b"qid\tMRR@10\tnDCG@10\nq1\t1.0\t0.5\nq2\t0.25\t0.125\n"
FSDP = b"distributed_type: FSDP\nfsdp_config:\n  fsdp_version: 2\n  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP\n"


def in_parquet(kind: pa.DataType) -> bytes:
    sink = io.BytesIO()
    columns = {"query": [q for q, _, _ in ROWS], "passage": [p for _, p, _ in ROWS], "score": [s for _, _, s in ROWS]}
    pq.write_table(pa.table({**columns, "score": pa.array(columns["score"], kind)}), sink, write_page_checksum=True)
    return sink.getvalue()


def texts_in_arrow() -> bytes:
    table = pa.Table.from_pylist([{"_id": f"p{i}", "title": f"t{i}", "text": f"text {i}, é"} for i in range(9)])
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as file:
        file.write_table(table, max_chunksize=4)
    return sink.getvalue()


def arrow_texts(content: bytes) -> list:
    rows = pa.ipc.open_stream(io.BytesIO(content)).read_all().to_pylist()
    return [(i, name(row), row.get("title") or "", row["text"]) for i, row in enumerate(rows, start=1)]


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as file:
        file.write(content)
    return sink.getvalue().to_pybytes()


def zipped(content: bytes) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data/corpus.jsonl", content)
        archive.writestr("data/readme", b"x" * 20)
    return sink.getvalue()


def unzipped(content: bytes) -> list:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return json_texts(archive.read("data/corpus.jsonl"))


def unzstd(content: bytes) -> bytes:
    with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as file:
        return file.read()


def scores(path: Path) -> list:
    return list(read_scores(path))


def lists(path: Path) -> list:
    return joined(read_negatives(path))


def member(path: Path) -> list:
    return checked(read_corpus)(path / "corpus.jsonl")


def source_fields(path: Path) -> list:
    return [read_source(path, "a").model_dump(exclude_unset=True)]


def published(path: Path) -> None:
    report_published.load_published(path)


BEIR = b"query-id\tcorpus-id\tscore\n" + QRELS.replace(b" 0 p", b"\tp").replace(b" ", b"\t")
NEGATIVES = "".join(f"{query}\t{','.join(ids)}\n" for query, ids in IDS).encode()
THREE = "".join(f"{query}\t{passage}\t{score}\n" for query, passage, score in ROWS).encode()
IDF = json.dumps({f"w{i}": i / 8 for i in range(20)}).encode()


def plain_json(content: bytes) -> Any:
    return plain(content.decode("utf-8-sig"))


def unpickled(content: bytes) -> list:
    return nested(Plain(io.BytesIO(content)).load())


TARGETS = [
    Target("collection.tsv", TSV, checked(read_tsv), tsv),
    Target("titles.tsv", TSV, checked(read_titles), titles),
    Target("titles.jsonl", CORPUS, checked(read_titles), json_titles),
    Target("corpus.jsonl", CORPUS, checked(read_corpus), json_texts),
    Target("queries.jsonl", CORPUS, checked(read_queries), json_texts),
    Target("papers.jsonl", CORPUS, checked(read_corpus, Template("{title}: {text}")), templated),
    Target("corpus.csv", CSV.encode(), checked(read_corpus), csv_texts),
    Target("three.tsv", THREE, checked(read_corpus, None, ["id", "title", "text"], "tab"), three_columns),
    Target("corpus.arrow", texts_in_arrow(), checked(read_corpus), arrow_texts, binary=True),
    Target("examples.jsonl", EXAMPLES, checked(read_example_passages), example_texts),
    Target("dev.json", json.dumps({q: dict.fromkeys(ps, 1) for q, ps in IDS}).encode(), load_qrels, nested_grades),
    Target("dev.qrels", QRELS, load_qrels, qrels),
    Target("beir.tsv", BEIR, load_qrels, qrels),
    Target("bm25.trec", RUN, lambda path: list(read_run(path)), run),
    Target("lists.tsv", NEGATIVES, lambda path: joined(read_negatives(path)), negatives),
    Target("lists.json", json.dumps(dict(IDS)).encode(), lists, lambda content: nested_lists(plain_json(content))),
    Target("lists.pkl", pickle.dumps(dict(IDS)), lists, lambda c: nested_lists(Plain(io.BytesIO(c)).load()), True),
    Target("measured", QRELS + b"# run\n" + RUN, measured, reciprocal_ranks),
    Target("scores.trec", RUN, scores, run),
    Target("scores.tsv", THREE, scores, three),
    Target("scores.json", json.dumps(SCORES).encode(), scores, lambda content: nested(plain_json(content))),
    Target("scores.jsonl", LISTS.encode(), scores, json_lists),
    *(Target(f"scores{n}.pkl", pickle.dumps(SCORES, n), scores, unpickled, binary=True) for n in (0, 2, 4)),
    *(Target(f"{kind}.parquet", in_parquet(kind), scores, parquet, True) for kind in (pa.float32(), pa.float64())),
    Target("a.tsv.gz", gzip.compress(TSV, mtime=0), checked(read_tsv), lambda file: tsv(gzip.decompress(file)), True),
    Target("a.tsv.zst", zstd(TSV), checked(read_tsv), lambda content: tsv(unzstd(content)), binary=True),
    Target(
        "scores.pkl.gz",
        gzip.compress(pickle.dumps(SCORES), mtime=0),
        scores,
        lambda content: unpickled(gzip.decompress(content)),
        binary=True,
    ),
    Target("archive.zip", zipped(CORPUS), member, unzipped, binary=True),
    Target("recipe.yaml", RECIPE, lambda path: read_recipe(path, path.parent), recipe),
    Target("sources.yaml", ENTRY, source_fields, source),
    Target("published.yaml", PUBLISHED, published, lambda content: None),
    Target("fsdp.yaml", FSDP, lambda path: accelerate_file.read(str(path)), plain_yaml),
    Target("idf.json", IDF, read_json, plain),
    Target("train.jsonl", LOG, lambda path: read_train_log(path).terms.get("loss", {}), log),
    Target("dev.per_query.tsv", MEASURES, read_per_query, per_query),
]
