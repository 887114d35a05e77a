"""A lexicon stage's vectors with real ids and real terms, the entries of its vocabulary, for other search engines.

Lucene's white-space analyser cuts an entry at white space, and after 255 characters. An entry with white space, and one
that would look like such an entry, is written with escapes: a space is `\\u0020`, a backslash `\\u005c`. Other entries
stay as they are, with quotes and non-ASCII letters. Names are distinct.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

from led_pipeline.data.tables import count_rows, read_rows
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.export.source import Source
from led_pipeline.files.errors import InputError
from led_pipeline.pretrained.tokenizer import load_tokenizer
from led_pipeline.search.impacts import quantise
from led_pipeline.search.indexes import read_shards

VECTORS = 4_096  # vectors that are converted to text at once
LONGEST = 255  # characters of a term of Lucene's white-space analyser
NO_TERM = "[no-term]"  # of a passage without terms, which Anserini would leave out
# White space for Java (which has some control characters that Python's \s lacks), and the mark of an escape.
_ESCAPED = re.compile(r"[\s\x00-\x20\x7f-\xa0]|\\u")


def name(entry: str, dots: bool = True) -> str:
    """Return the term that an entry of a vocabulary becomes; different entries become different terms.

    Args:
        dots: whether a dot may stay: Elasticsearch refuses it in the name of a feature.
    """
    if not _ESCAPED.search(entry) and (dots or "." not in entry):
        return entry
    special = r"[\s\x00-\x20\x7f-\xa0\\]" if dots else r"[\s\x00-\x20\x7f-\xa0\\.]"
    return re.sub(special, lambda match: f"\\u{ord(match[0]):04x}", entry)


@dataclass(frozen=True)
class Terms:
    """The terms of a vocabulary, by their number, and the placeholder of a passage without terms."""

    names: Sequence[str]
    placeholder: str

    @classmethod
    def read(cls, model: Path, size: int, dots: bool = True) -> "Terms":
        """Return the terms of a model's tokenizer; entries that it lacks up to `size` are `[entry-N]`.

        Raises:
            InputError: a term is longer than Lucene allows.
        """
        vocabulary = load_tokenizer(model).get_vocab()
        entries = {number: name(entry, dots) for entry, number in vocabulary.items()}
        used = set(entries.values())
        for number in range(max(size, max(entries, default=-1) + 1)):
            if number not in entries:  # embeddings beyond the tokenizer's entries
                entries[number] = _free(f"[entry-{number}]", used)
        for number, term in entries.items():
            if len(term) > LONGEST:
                raise InputError(
                    f"{model}: entry {number} of the vocabulary has {len(term)} characters, and a term at most"
                    f" {LONGEST}: {term[:40]}...; use the formats npz or onnx"
                )
        return cls([entries[number] for number in range(len(entries))], _free(NO_TERM, used))


def _free(term: str, used: set[str]) -> str:
    """Return a term that is not used, with as few additions as possible, and note its use."""
    while term in used:
        term += "+"
    used.add(term)
    return term


@dataclass(frozen=True)
class Passage:
    """One passage with its vector: term numbers and weights or impacts."""

    id: str
    title: str
    text: str
    terms: list[int]
    weights: list[float]


def passages(source: Source, quantised: bool) -> Iterator[Passage]:
    """Yield all passages with their vectors, in row order.

    Args:
        quantised: whether weights are impacts, the integers of the run's own index.
    """
    shards, _ = read_shards(source.passage_vectors, source.passages)
    vectors = chain.from_iterable(rows_of(shard, path, source.quantisation if quantised else None)
                                  for path, shard in shards)  # fmt: skip
    for batch in read_rows(source.passages, 0, count_rows(source.passages), ["id", "title", "text"]):
        for pid, title, text in zip(batch["id"], batch["title"], batch["text"], strict=True):
            yield Passage(pid, title, text, *next(vectors))


def rows_of(vectors: SparseVectors, path: Path, quantisation: int | None) -> Iterator[tuple[list[int], list[float]]]:
    """Yield term numbers and weights of every row; with `quantisation`, its impacts."""
    for first in range(0, len(vectors), VECTORS):
        stop = min(first + VECTORS, len(vectors))
        part = quantise(vectors, quantisation, first, stop, path) if quantisation else vectors.rows(first, stop)
        terms, weights = part.terms.values.tolist(), part.weights.values.tolist()
        for low, high in pairwise(part.terms.offsets.tolist()):
            yield terms[low:high], weights[low:high]


def json_lines(source: Source, terms: Terms, contents: bool) -> Iterator[str]:
    """Yield the documents of Anserini's JsonVectorCollection, one JSON object per passage.

    Args:
        contents: whether they have title and text.
    """
    keys = [json.dumps(term, ensure_ascii=False) for term in terms.names]
    placeholder = json.dumps(terms.placeholder, ensure_ascii=False)
    for each in passages(source, quantised=True):
        pairs = [f"{keys[term]}:{impact}" for term, impact in zip(each.terms, each.weights, strict=True)]
        text = f"{each.title} {each.text}".strip() if contents else ""
        vector = ",".join(pairs) or f"{placeholder}:1"
        yield (
            f'{{"id":{json.dumps(each.id, ensure_ascii=False)},"contents":{json.dumps(text, ensure_ascii=False)},'
            f'"vector":{{{vector}}}}}'
        )


def topics(source: Source, terms: Terms) -> Iterator[tuple[str, str]]:
    """Yield id and topic of each query of the split: every term repeated as often as its impact."""
    vectors = SparseVectors.read(source.query_vectors)
    if len(vectors) != len(source.query_ids):
        raise InputError(
            f"{source.query_vectors}: {len(vectors):,} vectors for {len(source.query_ids):,} queries; encode them again"
        )
    for qid, (numbers, impacts) in zip(
        source.query_ids, rows_of(vectors, source.query_vectors, source.quantisation), strict=True
    ):
        pairs = zip(numbers, impacts, strict=True)
        yield qid, " ".join(term for number, impact in pairs for term in [terms.names[number]] * int(impact))


def vocabulary_size(source: Source) -> int:
    """Return one more than the highest term number of any vector."""
    files = [*source.passage_vectors, source.query_vectors]
    return max((SparseVectors.read(path).vocabulary for path in files if path.exists()), default=0)
