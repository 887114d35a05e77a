"""Build a demonstration dataset from the docstrings of the installed Python packages.

A docstring becomes one query with one relevant passage: the query is the first sentence of its summary, the passage is
everything after it, the title is the qualified name in words. Source files are parsed with `ast` and never imported.
The list of packages is fixed, so equal pins give equal data whatever else is installed.

Run as `python -m led_pipeline.demo.docstrings --passages 12000 --dev-queries 1000 --seed 17 --out DIR`. It writes the
published MS MARCO layout (collection.tsv, titles.tsv, queries.SPLIT.tsv, qrels.SPLIT.tsv) and source.json, which lists
the packages read and counts the dropped docstrings by reason.
"""

import argparse
import hashlib
import os
import platform
import re
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from led_pipeline.demo.python_source import Root, installed_roots, read_source, source_files
from led_pipeline.files.atomic import atomic, write_json
from led_pipeline.files.errors import InputError
from led_pipeline.jobs import processes
from led_pipeline.jobs.command import run_main

QUERY_WORDS = range(4, 41)
PASSAGE_WORDS_MIN = 12
PASSAGE_WORDS_MAX = 150  # a paragraph or two, as in MS MARCO; longer docstrings are truncated
SHINGLE_WORDS = 6

# A line that ends the summary paragraph although no blank line does: list item, field, doctest, section title.
SECTION = re.compile(
    r"\s*(?:[-*+•] |\.\. |>>> |[:@](?:param|type|arg|return|rais|keyword|ivar|var|cvar)"
    r"|(?:Args?|Arguments?|Parameters?|Params|Returns?|Raises?|Yields?|Examples?|Notes?|Usage|Attributes?|See [Aa]lso"
    r"|Keyword [Aa]rguments|Inputs?|Outputs?|References|Shape|Warnings?)\s*:{0,2}\s*$)"
)
RULE = re.compile(r"\s*[-=~^*+#_|\s:`'.]{3,}$")  # underlines and table borders
ROLE = re.compile(r":[a-zA-Z][\w:+.-]*:`[~!]?([^`<]+?)(?:\s*<[^`>]*>)?`")  # reStructuredText :func:`~name`
BOLD = re.compile(r"\*\*(\w[^*]*?)\*\*")
DIRECTIVE = re.compile(r"\.\. ([\w-]+)::")
EMPTY_SECTIONS = re.compile(r"(?:(?:^|\s+)(?:Examples?|Notes?|References|See [Aa]lso|Usage)\s?:{0,2})+$")
SENTENCE_END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!etc)(?<!cf)(?<!vs)(?<!\sv)[.!?]\s+(?=[A-Z(\"'\[])")
TEMPLATE = re.compile(r"%\(\w+\)s|\{\{|<<\w+>>")  # filled in at import, which never happens here
NAME_PART = re.compile(r"[A-Z0-9]+(?=[A-Z][a-z])|[A-Z]?[a-z0-9]+|[A-Z0-9]+")


class Pair(NamedTuple):
    """A query and its one relevant passage; `name` is the dotted name that the docstring belongs to."""

    distribution: str
    name: str
    query: str
    passage: str


@dataclass(frozen=True)
class SourceFile:
    """The pairs of one source file, and the counts of dropped docstrings; `unusable` is why it could not be read."""

    distribution: str
    module: str
    docstrings: int
    pairs: Sequence[Pair]
    dropped: Counter[str]
    unusable: str | None


def without_markup(text: str) -> str:
    """Collapse white space and drop reStructuredText marks, keeping the words they mark."""
    text = BOLD.sub(r"\1", ROLE.sub(r"\1", text).replace("`", ""))
    return " ".join(DIRECTIVE.sub(r"\1", text).split())


def without_code(lines: Iterable[str]) -> Iterator[str]:
    """Drop doctests with their output (up to the next blank line) and lines of punctuation."""
    doctest = False
    for line in lines:
        doctest = bool(line.strip()) and (doctest or line.lstrip().startswith(">>>"))
        if not doctest and not RULE.match(line):
            yield line


def split_docstring(text: str) -> tuple[str, str]:
    """Return (query, passage): the first sentence of the summary paragraph, and the rest of the docstring."""
    lines = text.strip().splitlines()
    end = 0
    while end < len(lines) and lines[end].strip():
        titled = end + 1 < len(lines) and lines[end + 1].strip() and RULE.match(lines[end + 1])
        if titled or (end and SECTION.match(lines[end])):
            break
        end += 1
    summary, rest = without_markup("\n".join(lines[:end])), "\n".join(without_code(lines[end:]))
    # A first sentence of a word or two ("Deprecated.") is no query by itself.
    ends = (m.end() for m in SENTENCE_END.finditer(summary))
    cut = next((end for end in ends if len(summary[:end].split()) >= QUERY_WORDS.start), len(summary))
    passage = EMPTY_SECTIONS.sub("", f"{summary[cut:]} {without_markup(rest)}".strip())
    return summary[:cut].strip(), " ".join(passage.split()[:PASSAGE_WORDS_MAX])


def normalised(text: str) -> str:
    """Return the letters and digits of a text in lower case; all other characters become single spaces."""
    return " ".join(re.findall(r"[^\W_]+", text.lower()))


def plain_words(text: str) -> int:
    """Count the words that consist of letters, apart from punctuation around them."""
    return sum(word.strip(".,:;!?()[]'\"-").isalpha() for word in text.split())


def defect(query: str, passage: str) -> str | None:
    """Return why a query and passage are unusable as training data, or None."""
    words = len(query.split())
    if words < QUERY_WORDS.start:
        return "summary too short"
    if plain_words(passage) < PASSAGE_WORDS_MIN:
        return "rest too short"
    if words not in QUERY_WORDS:
        return "summary too long"
    letters = sum(character.isalpha() or character == " " for character in query)
    if not query[0].isalpha() or plain_words(query) < 0.75 * words or letters < 0.85 * len(query):
        return "summary is not prose"
    if TEMPLATE.search(query) or TEMPLATE.search(passage):
        return "template"
    if not (query + passage).isprintable():
        return "control characters"
    if f" {normalised(query)} " in f" {normalised(passage)} ":
        return "rest repeats the summary"
    return None


def read_file(distribution: str, module: str, path: Path) -> SourceFile:
    """Read the pairs of one source file; a file that cannot be read or parsed has none, and the reason is kept."""
    texts, unusable = read_source(path, module)
    pairs, dropped = [], Counter[str]()
    for name, text in texts:
        query, passage = split_docstring(text)
        if reason := defect(query, passage):
            dropped[reason] += 1
        else:
            pairs.append(Pair(distribution, name, query, passage))
    return SourceFile(distribution, module, len(texts), pairs, dropped, unusable)


def read_roots(roots: Sequence[Root], workers: int = 1) -> list[SourceFile]:
    """Read all source files of the roots; the number of processes does not change the result."""
    jobs = [(root.distribution, module, path) for root in roots for module, path in source_files(root)]
    if workers == 1:
        return [read_file(*job) for job in jobs]
    with ProcessPoolExecutor(workers, initializer=processes.end_with, initargs=(os.getpid(),)) as pool:
        return list(pool.map(read_file, *zip(*jobs, strict=True), chunksize=32))


def distinct(pairs: Iterable[Pair], dropped: Counter[str]) -> list[Pair]:
    """Drop pairs so that no name and no query occurs twice and no passage repeats an earlier one.

    Of several, the one with the most public and then the shortest name is kept. A passage repeats earlier ones if half
    of its runs of `SHINGLE_WORDS` words occur in passages already kept: most of it is then boilerplate, and other
    passages would answer its query as well.
    """

    def prominence(pair: Pair) -> tuple[int, int, str]:
        parts = pair.name.split(".")
        return sum(part.startswith("_") for part in parts), len(parts), pair.name

    unique: list[Pair] = []
    names: set[str] = set()
    queries: set[str] = set()
    shingles: set[int] = set()
    for pair in sorted(pairs, key=prominence):
        query, words = normalised(pair.query), normalised(pair.passage).encode().split()
        runs = range(max(1, len(words) - SHINGLE_WORDS + 1))
        hashes = {zlib.crc32(b" ".join(words[start : start + SHINGLE_WORDS])) for start in runs}
        if pair.name in names:
            dropped["name occurs twice"] += 1
        elif query in queries:
            dropped["same summary"] += 1
        elif 2 * len(hashes & shingles) >= len(hashes):
            dropped["same or similar rest"] += 1
        else:
            unique.append(pair)
            names.add(pair.name)
            queries.add(query)
            shingles |= hashes
    return unique


def sample(pairs: Sequence[Pair], passages: int, dev_queries: int, seed: int) -> tuple[list[Pair], set[str]]:
    """Return the drawn pairs, sorted by name, and the names of those in the dev split.

    The draw hashes names, so it does not depend on the version of Python, and a changed package affects only its own
    pairs.

    Raises:
        InputError: there are fewer usable pairs than `passages`, or the dev split would leave nothing to train on.
    """
    if passages > len(pairs):
        raise InputError(
            f"--passages {passages}: only {len(pairs)} docstrings are usable here; ask for at most that many"
        )
    if not 0 < dev_queries < passages:
        raise InputError(f"--dev-queries {dev_queries}: expected 1 to {passages - 1}, fewer than --passages")
    drawn = sorted(pairs, key=lambda pair: hashlib.sha256(f"{seed} {pair.name}".encode()).digest())[:passages]
    return sorted(drawn, key=lambda pair: pair.name), {pair.name for pair in drawn[:dev_queries]}


def title(name: str) -> str:
    """Return the words of a dotted name: `torch.nn.LayerNorm` becomes "torch nn layer norm"."""
    words = [part.lower() for part in NAME_PART.findall(name)]
    return " ".join(word for word, before in zip(words, ["", *words], strict=False) if word != before)


def write_tsv(path: Path, rows: Iterable[tuple[str, ...]]) -> None:
    """Write rows as tab-separated lines, atomically; the texts hold no tabs and no line ends by construction."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines("\t".join(row) + "\n" for row in rows)


def write_dataset(pairs: Sequence[Pair], dev: Collection[str], out: Path) -> None:
    """Write drawn pairs in the MS MARCO layout: the n-th passage answers query `qn`."""
    write_tsv(out / "collection.tsv", ((pair.name, pair.passage) for pair in pairs))
    write_tsv(out / "titles.tsv", ((pair.name, title(pair.name)) for pair in pairs))
    numbered = [(f"q{number}", pair) for number, pair in enumerate(pairs, start=1)]
    for split in ("train", "dev"):
        chosen = [(qid, pair) for qid, pair in numbered if (pair.name in dev) == (split == "dev")]
        write_tsv(out / f"queries.{split}.tsv", ((qid, pair.query) for qid, pair in chosen))
        write_tsv(out / f"qrels.{split}.tsv", ((qid, "0", pair.name, "1") for qid, pair in chosen))


def provenance(roots: Sequence[Root], files: Sequence[SourceFile], candidates: Sequence[Pair]) -> dict[str, Any]:
    """Describe the sources: per distribution the version and counts, and the files that could not be read."""
    read = Counter(file.distribution for file in files if not file.unusable)
    docstrings = Counter[str]()
    for file in files:
        docstrings[file.distribution] += file.docstrings
    usable = Counter(pair.distribution for pair in candidates)
    return {
        "python": platform.python_version(),
        "files_read": read.total(),
        "files_skipped": {f"{file.distribution}: {file.module}": file.unusable for file in files if file.unusable},
        "docstrings": docstrings.total(),
        "candidates": len(candidates),
        "distributions": {
            root.distribution: {
                "version": root.version,
                "files": read[root.distribution],
                "docstrings": docstrings[root.distribution],
                "candidates": usable[root.distribution],
            }
            for root in roots
        },
    }


def build(roots: Sequence[Root], passages: int, dev_queries: int, seed: int, out: Path, workers: int = 1) -> None:
    """Write the dataset of the docstrings under some roots, and source.json last."""
    files = read_roots(roots, workers)
    dropped = sum((file.dropped for file in files), Counter[str]())
    candidates = distinct((pair for file in files for pair in file.pairs), dropped)
    drawn, dev = sample(candidates, passages, dev_queries, seed)
    write_dataset(drawn, dev, out)
    settings = {"passages": passages, "dev_queries": dev_queries, "seed": seed}
    counts = provenance(roots, files, candidates)
    write_json(out / "source.json", {**settings, **counts, "dropped": dict(dropped.most_common())})


def main() -> None:
    parser = argparse.ArgumentParser(description="Make retrieval data from installed docstrings.")
    parser.add_argument("--passages", type=int, required=True, help="passages to draw, each with one query")
    parser.add_argument("--dev-queries", type=int, required=True, help="queries kept for the dev split")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the files")
    args = parser.parse_args()
    build(installed_roots(), args.passages, args.dev_queries, args.seed, args.out, workers=min(2, os.cpu_count() or 1))


if __name__ == "__main__":
    run_main(main)
