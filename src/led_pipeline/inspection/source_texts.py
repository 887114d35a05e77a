"""Read the files of a dataset and count what matters for a recipe; large collections are read in part."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.formats.judgements import read_qrels
from led_pipeline.data.formats.lines import DEFECTS, NOTES, Problems
from led_pipeline.data.formats.sources import TextFormat
from led_pipeline.data.formats.streams import beginning
from led_pipeline.data.formats.texts import Side, Text
from led_pipeline.files.errors import InputError
from led_pipeline.inspection.source_folder import SourceFolder, SplitFiles

READ = 200_000  # passages that are read
MANY = 2_000_000  # queries or judgements that are read
# Scripts by the first word of a character's Unicode name -> the language whose analyser fits.
SCRIPTS = {
    "CYRILLIC": "ru", "ARABIC": "ar", "DEVANAGARI": "hi", "BENGALI": "bn", "TELUGU": "te", "HANGUL": "ko",
    "HIRAGANA": "ja", "KATAKANA": "ja", "CJK": "zh", "THAI": "bigrams", "LAO": "bigrams", "KHMER": "bigrams",
    "MYANMAR": "bigrams", "GREEK": "none", "HEBREW": "none", "GEORGIAN": "none", "ARMENIAN": "none", "TAMIL": "none",
}  # fmt: skip
# Frequent words that few other languages have.
WORDS = {
    "en": "the and of is was for with that",
    "de": "der die und das ist nicht eine von",
    "fr": "les des une est dans pour qui sur",
    "es": "los las una por con para del como",
    "it": "che della una con per sono gli dei",
    "pt": "uma com para não dos por mais ao",
    "nl": "het een van dat niet zijn voor met",
    "sv": "och att det som inte för är med",
    "da": "og det ikke til som blev har af",
    "fi": "ja oli että hän myös joka tai sen",
    "tr": "ve bir bu için ile olarak olan da",
    "id": "yang dan di dengan untuk ini dari pada",
    "hu": "és egy hogy nem az volt meg azt",
    "no": "og det ikke til som ble jeg av",
}


@dataclass(frozen=True)
class Texts:
    """What the texts of a file are like."""

    read: int
    total: int
    """Rows of the file; an estimate if it was not read to its end."""
    complete: bool
    lengths: NDArray[np.int64]
    """Ascending numbers of words of those that were read; of characters where a script has no blanks."""
    with_title: float
    """Share of the texts with a title of their own."""
    language: str
    """The value of bm25.language that the script or the words suggest."""

    def at_most(self, share: float) -> int:
        """Return the number of words that this share of the texts does not exceed."""
        return int(np.quantile(self.lengths, share))

    def longer(self, words: float) -> float:
        """Return the share of the texts with more words."""
        return float(1 - np.searchsorted(self.lengths, words, side="right") / len(self.lengths))


@dataclass(frozen=True)
class Split:
    """What a split has."""

    files: SplitFiles
    queries: int
    judged: int
    """Queries with at least one judgement above 0 of a passage that is there, as far as that was checked."""
    judgements: int
    grades: list[int]


@dataclass
class Source:
    """Everything that was read of a dataset."""

    files: SourceFolder
    passages: Texts
    splits: list[Split]
    skip: list[str] = field(default_factory=list)
    """Defects that the recipe has to skip."""
    faults: list[str] = field(default_factory=list)
    """What would stop a run."""
    doubts: list[str] = field(default_factory=list)
    queries_are_passages: bool = False
    query_words: int = 0
    """Words of all but the longest 5 % of the queries."""


def read_source_folder(files: SourceFolder) -> Source:
    """Read a dataset's files.

    Raises:
        InputError: a file is damaged, is no text, or holds nothing that can be read.
    """
    problems = Problems(DEFECTS)
    passages, ids = _passages(files, problems)
    source = Source(files, passages, [], doubts=list(files.doubts))
    texts: dict[str, dict[str, str]] = {}
    for split in files.splits:
        if split.queries not in texts:
            path = files.path(split.queries)
            texts[split.queries] = {q: text for _, q, _, text in islice(texts_of(files, "query", path, problems), MANY)}
        source.splits.append(_split(source, split, texts[split.queries], ids, problems))
    lengths = [length(text) for queries in texts.values() for text in queries.values()]
    source.query_words = int(np.quantile(lengths, 0.95)) if lengths else 0
    qids = {qid for queries in texts.values() for qid in queries}
    source.queries_are_passages = passages.complete and len(qids & ids) > len(qids) / 2 and _same_texts(files, texts)
    _problems(source, problems)
    return source


def texts_of(files: SourceFolder, side: Side, path: Path, problems: Problems) -> Iterator[Text]:
    """Return the texts of a file, as a run would read them."""
    columns = files.columns if side == "passage" else None
    return TextFormat(files.format, side, columns=columns).read(path, problems)


def _passages(files: SourceFolder, problems: Problems) -> tuple[Texts, set[str]]:
    """Return what the collection is like, and the ids that were read."""
    path, ids = files.path(files.collection), set()
    lengths: list[int] = []
    sample: list[str] = []
    titles = characters = 0
    reader = texts_of(files, "passage", path, problems)
    for line, pid, title, text in islice(reader, READ):
        if pid in ids:
            problems.add("duplicate_id", path, line, f"id '{pid}' is on an earlier line too")
        ids.add(pid)
        lengths.append(length(text))
        titles += bool(title)
        characters += len(text.encode())
        if len(sample) < 2_000:
            sample.append(text)
    if not lengths:
        problems.check()
        raise InputError(f"{path}: no passage in it, expected at least one; is this the collection?")
    complete = len(lengths) < READ
    total = len(lengths) if complete else round(beginning(path, 1 << 20)[1] / (characters / len(lengths) + 12))
    ascending = np.sort(np.array(lengths))
    return Texts(len(lengths), total, complete, ascending, titles / len(lengths), language_of(sample)), ids


def _split(source: Source, files: SplitFiles, queries: dict[str, str], ids: set[str], problems: Problems) -> Split:
    """Return the counts of a split, and report judgements of queries or passages that are not there."""
    path, grades, judged = source.files.path(files.qrels), Counter[int](), set()
    strangers, lost, count = 0, 0, 0
    for _, qid, pid, grade in islice(read_qrels(path, problems), MANY):
        count += 1
        grades[grade] += 1
        there_is_one = pid in ids or not source.passages.complete
        strangers += qid not in queries
        lost += not there_is_one
        if grade > 0 and qid in queries and there_is_one:
            judged.add(qid)
    if not count:
        problems.check()
        raise InputError(f"{path}: no judgement in it, expected lines of qid, 0, pid, grade, or BEIR's three columns")
    for kind, number, word in (("query", strangers, "queries"), ("passage", lost, "passages")):
        if number:
            source.skip.append(f"qrel_without_{kind}")
            source.doubts.append(f"{files.qrels}: {number:,} of {count:,} judgements are of {word} that are not there")
    unjudged = len(queries.keys() - judged)
    shared = sum(other.queries == files.queries for other in source.files.splits) > 1
    if unjudged and not shared:
        source.doubts.append(f"{files.queries}: {unjudged:,} of {len(queries):,} queries have no relevant passage")
    if not judged:
        source.faults.append(f"{files.qrels}: none of its judgements has a query and a passage that are there")
    return Split(files, len(queries), len(judged), count, sorted(grades))


def _problems(source: Source, problems: Problems) -> None:
    """Turn what the readers counted into doubts, faults and defects to skip."""
    for path, kinds in problems.skipped.items():
        for kind, count in kinds.items():
            source.skip.append(kind)
            source.doubts.append(f"{Path(path).name}: {count:,} line(s) with the defect {kind}")
    for path, kinds in problems.noted.items():
        source.doubts += [f"{Path(path).name}: {count:,} {NOTES[kind]}" for kind, count in kinds.items()]
    source.skip = sorted(set(source.skip))
    if source.files.titles and source.passages.with_title:
        source.doubts.append(f"{source.files.titles}: the passages have titles already")
    try:
        problems.check()
    except InputError as error:
        source.faults.append(str(error))


def _same_texts(files: SourceFolder, texts: dict[str, dict[str, str]]) -> bool:
    """Return whether most queries whose id is a passage's have the text of this passage."""
    queries = {qid: text for each in texts.values() for qid, text in each.items()}
    same = other = 0
    for _, pid, _, text in islice(texts_of(files, "passage", files.path(files.collection), Problems(DEFECTS)), READ):
        if pid in queries:
            same += queries[pid].split() == text.split()
            other += queries[pid].split() != text.split()
    return same > other


def length(text: str) -> int:
    """Return the number of words; in a script without blanks, of characters."""
    words = len(text.split())
    return words if len(text) < 20 * max(words, 1) else len(text)


def language_of(sample: Sequence[str]) -> str:
    """Return the value of bm25.language that the scripts, or the words, of some texts suggest; English in doubt."""
    text = " ".join(sample)[:200_000]
    scripts = Counter(unicodedata.name(c, "?").split()[0].partition("-")[0] for c in text if c.isalpha())
    letters = max(sum(scripts.values()), 1)
    if scripts["HIRAGANA"] + scripts["KATAKANA"] > 0.1 * letters:
        return "ja"
    script, count = next(iter(scripts.most_common(1)), ("LATIN", 0))
    if script in SCRIPTS and count > 0.3 * letters:
        return SCRIPTS[script]
    if script != "LATIN":
        return "none" if count else "en"
    counts = Counter(re.findall(r"\w+", text.casefold()))
    hits = {language: sum(counts[word] for word in words.split()) for language, words in WORDS.items()}
    best = max(hits, key=lambda language: hits[language])
    return best if hits[best] > 1.5 * hits["en"] and hits[best] > 0.02 * sum(counts.values()) else "en"
