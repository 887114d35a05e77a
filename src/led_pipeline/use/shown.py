"""Shown: answers as lines for a terminal, as plain lines for a pipe, and as JSON."""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from led_pipeline.use.records import Answer, Passage

SHORTEST_WORD = 4  # letters of a query's word that is underlined in passages


@dataclass(frozen=True)
class Shown:
    """An answer with the passages of its hits."""

    answer: Answer
    passages: list[Passage]
    qid: str | None = None

    def as_json(self) -> str:
        """Return one line of JSON."""
        hits = [
            {"rank": rank, "id": hit.id, "score": hit.score, "title": passage.title, "text": passage.text}
            for rank, (hit, passage) in enumerate(zip(self.answer.hits, self.passages, strict=True), start=1)
        ]
        record = {"id": self.qid} if self.qid is not None else {}
        record |= {"query": self.answer.query, "system": self.answer.system}
        rest = {"milliseconds": round(self.answer.milliseconds, 2), "hits": hits}
        return json.dumps({**record, **rest}, ensure_ascii=False)

    @property
    def heading(self) -> str:
        count = len(self.answer.hits)
        passages = {0: "no passage", 1: "1 passage"}.get(count, f"{count:,} passages")
        return f"{self.answer.system}: {passages} in {self.answer.milliseconds:.0f} ms"

    def lines(self, width: int | None) -> Iterator[Text]:
        """Yield the lines of an answer; `width` is the number of columns, None: nothing is shortened."""
        yield Text(self.heading, style="dim")
        scores = [f"{hit.score:.4f}".rstrip("0").rstrip(".") for hit in self.answer.hits]
        if any("." in score for score in scores):
            scores = [f"{hit.score:.4f}" for hit in self.answer.hits]
        columns = len(str(len(scores))), max(map(len, scores), default=0)
        words = [word for word in re.findall(r"\w+", self.answer.query) if len(word) >= SHORTEST_WORD]
        for rank, (score, passage) in enumerate(zip(scores, self.passages, strict=True), start=1):
            front = f"{rank:>{columns[0]}}  {score:>{columns[1]}}  "
            title = one_line(passage.title)
            name = Text.assemble((title, "bold"), "  " if title else "", (one_line(passage.id), "cyan"))
            text = Text(one_line(passage.text))
            if words:
                text.highlight_regex(rf"(?i)\b(?:{'|'.join(map(re.escape, words))})\b", "underline")
            for before, line in ((front, name), (" " * len(front), text)):
                if width is not None:
                    line.truncate(max(10, width - len(front)), overflow="ellipsis")
                yield Text(before).append_text(line)

    def print(self) -> None:
        """Print an answer: styled and as wide as the terminal, or plain and in full length into a pipe or file."""
        console = Console(highlight=False)
        for line in self.lines(console.width if console.is_terminal else None):
            _print_line(console, line)


def show_query(qid: str | None, text: str) -> None:
    """Print a query above its answers."""
    _print_line(Console(highlight=False), Text(f"{qid}: {one_line(text)}" if qid else one_line(text), style="bold"))


def _print_line(console: Console, line: Text) -> None:
    if console.is_terminal:
        console.print(line, soft_wrap=True)
    else:  # rich would end the program by itself when the reader of a pipe is gone
        print(line.plain)


def one_line(text: str) -> str:
    """Return a text on one line without control characters, which a terminal would obey."""
    visible = ("" if unicodedata.category(each) in ("Cf", "Cc") and not each.isspace() else each for each in text)
    return " ".join("".join(visible).split())
