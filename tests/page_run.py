"""A hand-made results folder of a few passages, and a session that searches it by common words, to test the page."""

import re
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from led_pipeline.data.examples import Trainset
from led_pipeline.data.formats.judgements import write_qrels
from led_pipeline.data.same_text import with_contents
from led_pipeline.data.tables import CONTENT, Ragged, write_matrix, write_strings
from led_pipeline.evaluation.evaluate import write_per_query
from led_pipeline.evaluation.measures import MEASURES
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import load_recipe
from led_pipeline.use.records import Answer, Hit, Match, Passage

TEXTS = [
    ("p0", "heap queue", "A heap queue gives the smallest item first."),
    ("p1", "queue", "A queue gives items in the order in which they came."),
    ("p2", "<b>bold</b> & co", "Mind <script>window.broken = 1</script> & <img src=x onerror=alert(1)> in a queue."),
    ("p3", "", "A text without a title, about trees."),
    ("p4", "heap", "The heap of a process is memory."),
    ("p5", "stack", "A stack gives the newest item first."),
]
TEXTS += [(f"p{i}", f"filler {i}", f"Filler text number {i} mentions the queue once.") for i in range(6, 40)]
SYSTEMS = ["bm25", "twin", "more", "den", "lex"]
CONFIG: dict[str, Any] = {
    "dataset": {
        "name": "small",
        "source": "folder",
        "folder": "x",
        "splits": {"train": {}, "dev": {"relevant_from": 2}},
    },
    "tokenizer": "t",
    "evaluation": {"splits": ["dev"], "depth": 100},
    "stages": {
        **{name: {"family": "dense", "init": "m", "negatives": ["bm25"]} for name in ("twin", "more", "den")},
        "lex": {"family": "lexicon", "init": "m", "negatives": ["bm25"]},
        "rank": {"family": "ranker", "init": "m", "train": False},
    },
}
# The tests of the page need no more of a run's files than this.
DEV = [("d0", "heap queue"), ("d1", "stack of items"), ("d2", "queue"), ("d3", "queue")]
DEV += [(f"d{i}", f"filler {i} of the list") for i in range(4, 124)]
DEV_QRELS = [("d0", "p0", 2), ("d0", "p1", 1), ("d0", "p4", 2), ("d1", "p5", 2), ("d3", "p1", 3)]
TRAIN = [("t0", "smallest item"), ("t1", "memory <i>of</i> a process"), ("t2", "newest item")]
TRAIN_QRELS = [("t0", "p0", 1), ("t1", "p4", 1), ("t2", "p5", 1)]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def write_run(root: Path) -> Layout:
    """Write what a run with the recipe CONFIG leaves, as far as the page reads it."""
    layout = Layout(root)
    for folder in ("prepared", "eval", "models/lex", "vectors/den", "trainsets/den"):
        (root / folder).mkdir(parents=True)
    columns = dict(zip(("id", "title", "text"), map(list, zip(*TEXTS, strict=True)), strict=True))
    write_strings(layout.passages, [with_contents(columns)], ["id", "title", "text", CONTENT])
    for split, queries, qrels in (("dev", DEV, DEV_QRELS), ("train", TRAIN, TRAIN_QRELS)):
        ids, texts = map(list, zip(*queries, strict=True))
        write_strings(layout.queries(split), [{"id": ids, "text": texts}], ["id", "text"])
        write_qrels(layout.qrels(split), qrels)
    for system, values in MEASURED.items():
        per_query = {qid: dict.fromkeys(MEASURES, value) for (qid, _), value in zip(DEV, values, strict=True)}
        write_per_query(Path(layout.measures_per_query(system, "dev")), per_query)
    write_matrix(layout.passage_vectors("den", 0, "npy"), vectors())
    passages = Ragged.from_rows([np.array(row) for row in ([0, 1, 5], [4, 0, 1], [5, 2, 0], [0, 5, 1])], np.int32)
    Trainset(np.array([0, 1, 2, 0], dtype=np.int32), passages, 2).write(Path(layout.drawn("den")))
    write_tokenizer(Path(layout.model("lex")) / "tokenizer.json")
    return layout


# d0: den is much better; d1: bm25 is; d2: a little; the rest is equal.
MEASURED = {
    "bm25": [0.1, 0.9, 0.5, *[0.5] * 121],
    "den": [1.0, 0.2, 0.6, *[0.5] * 121],
    "lex": [0.1, 0.9, 0.5, *[0.5] * 121],
}


def vectors() -> np.ndarray:
    """Vectors of all passages; their lengths differ, as those of a stage without normalisation do."""
    return np.random.default_rng(5).normal(size=(len(TEXTS), 8)).astype(np.float16)


def write_tokenizer(path: Path) -> None:
    """Write a tokenizer of word pieces that knows some beginnings of words."""
    entries = ["[UNK]", "heap", "queue", "qu", "item", "##s", "##eue", "small", "##est", "first", "first", "a", "stack"]
    entries += [chr(code) for code in range(97, 123)] + [f"##{chr(code)}" for code in range(97, 123)]
    vocabulary = {entry: number for number, entry in enumerate(dict.fromkeys(entries))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.save(str(path))


class SmallSession:
    """Searches by common words; `den` prefers the last rows among equals and `lex` weighs its two terms."""

    def __init__(self, root: Path) -> None:
        self.layout = write_run(root)
        self.recipe = load_recipe(CONFIG)
        self.systems = list(SYSTEMS)
        self.unavailable = {"rank": "models/rank does not exist; train it first"}
        self.searched: list[tuple[str, str, int]] = []
        self.threads: set[int] = set()
        self.slow: dict[str, float] = {}  # system -> seconds of a search

    def search(self, query: str, system: str, depth: int = 10) -> Answer:
        self.searched.append((system, query, depth))
        self.threads.add(threading.get_ident())
        time.sleep(self.slow.get(system, 0))
        if query == "refused":
            raise InputError(f"{system}: the index is damaged; remove index/{system} and run again")
        if query == "crash":
            raise RuntimeError("a bug with <script>")
        order = [(-self._score(system, query, row), self._tie(system, row), row) for row in range(len(TEXTS))]
        rows = [(row, -score) for score, _, row in sorted(order) if score < 0]
        return Answer(system, query, [Hit(row, TEXTS[row][0], score) for row, score in rows[:depth]], 12.345)

    def _tie(self, system: str, row: int) -> int:
        return -row if system == "den" else row

    def _score(self, system: str, query: str, row: int) -> float:
        if system == "lex":
            return sum(match.query_weight * match.passage_weight for match in self.matches(system, query, row))
        passage = words(" ".join(TEXTS[row][1:]))
        return float(sum(word in passage for word in words(query)))

    def warm(self, system: str) -> None:
        self.search("a", system, 1)

    def passage(self, row: int) -> Passage:
        return Passage(row, *TEXTS[row])

    def row_of(self, pid: str) -> int | None:
        return next((row for row, text in enumerate(TEXTS) if text[0] == pid), None)

    def matches(self, system: str, query: str, row: int) -> list[Match]:
        if system != "lex":
            return []
        weights = {"queue": (1.5, 2.0), "heap": (2.0, 3.0), "small": (0.5, 0.1)}
        passage = words(" ".join(TEXTS[row][1:]))
        return [Match(term, *weights[term]) for term in weights if term in words(query) and term in passage]

    def score(self, system: str, query: str, row: int) -> float | None:
        return None if system == "bm25" else self._score(system, query, row)
