"""`led search`: its output for people, pipes and programs, runs from files of queries, and its errors."""

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest
import small_run
from small_run import QUERIES
from typer.testing import CliRunner

from led_pipeline.cli import app
from led_pipeline.data.formats.judgements import read_run
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.dataset import Dataset
from led_pipeline.use.queries import read_queries, typed
from led_pipeline.use.records import Answer, Hit, Passage
from led_pipeline.use.shown import Shown, one_line


def led_search(results: Path, *arguments: object, typed_lines: str = "") -> str:
    """Run the command in this process and return its output; an `InputError` comes through."""
    answer = CliRunner().invoke(
        app, ["search", "--results", str(results), *map(str, arguments)], input=typed_lines, catch_exceptions=False
    )
    assert answer.exit_code == 0, answer.output
    return answer.stdout


def test_one_query_gives_ranks_scores_titles_ids_and_texts(results, session):
    lines = led_search(results, QUERIES[0], "-s", "den", "-k", 3).splitlines()
    hits = session.search(QUERIES[0], "den", 3).hits
    assert lines[0].startswith("den: 3 passages in ") and lines[0].endswith(" ms")
    assert len(lines) == 7
    for rank, hit in enumerate(hits, start=1):
        head, text = lines[2 * rank - 1 : 2 * rank + 1]
        title = small_run.TITLES[hit.row]
        assert head.split() == [str(rank), f"{hit.score:.4f}", *title.split(), hit.id]
        assert text.strip() == small_run.TEXTS[hit.row]


def test_the_default_is_the_last_stage_and_several_systems_answer_in_the_order_named(results):
    assert led_search(results, "a b").startswith("judge: 7 passages")
    output = led_search(results, "a b", "-s", "lex", "-s", "den", "-s", "lex", "-k", 1)
    assert [line.partition(":")[0] for line in output.splitlines() if " passage in " in line] == ["lex", "den"]


def test_json_has_every_value(results, session):
    (line,) = led_search(results, QUERIES[1], "-s", "lex", "-k", 4, "--json").splitlines()
    record = json.loads(line)
    assert record["milliseconds"] > 0
    assert (record["query"], record["system"]) == (QUERIES[1], "lex")
    expected = [
        {
            "rank": rank,
            "id": hit.id,
            "score": hit.score,
            "title": small_run.TITLES[hit.row],
            "text": small_run.TEXTS[hit.row],
        }
        for rank, hit in enumerate(session.search(QUERIES[1], "lex", 4).hits, start=1)
    ]
    assert record["hits"] == expected


def test_the_lines_of_a_pipe_are_queries_and_a_bad_one_does_not_stop_the_others(results):
    lines = f"{QUERIES[0]}\n\n  \n{'a' * 65_537}\r\n{QUERIES[1]}\n"
    command = ["search", "--results", str(results), "-s", "den", "-k", "1", "--json"]
    answer = CliRunner().invoke(app, command, input=lines, catch_exceptions=False)
    assert [json.loads(line)["query"] for line in answer.stdout.splitlines()] == QUERIES[:2]
    assert answer.stderr == "error: query: 65,537 characters, expected at most 65,536; shorten it\n"
    assert answer.exit_code == 2


def test_a_file_of_queries_becomes_one_run_per_system(results, session, tmp_path):
    visible = [(f"q{row}", " ".join(query.split())) for row, query in enumerate(QUERIES)]
    (tmp_path / "queries.tsv").write_text("".join(f"{qid}\t{text}\n" for qid, text in visible))
    out = tmp_path / "{system}.trec"
    command = ("-s", "den", "-s", "lex", "--queries", tmp_path / "queries.tsv", "--out")
    assert led_search(results, *command, out, "-k", 7) == ""
    for system in ("den", "lex"):
        for (qid, pids, scores), (expected, text) in zip(read_run(tmp_path / f"{system}.trec"), visible, strict=True):
            hits = session.search(text, system, 7).hits
            assert (qid, pids) == (expected, [hit.id for hit in hits])
            assert scores == pytest.approx([hit.score for hit in hits], rel=1e-5)
    led_search(results, "-s", "den", "--queries", tmp_path / "queries.tsv", "--out", tmp_path / "run")
    assert {len(pids) for _, pids, _ in read_run(tmp_path / "run")} == {20}, "evaluation.depth of the recipe"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "--queries", "{tmp}/q.tsv"], "--queries: a query and a file of queries are named"),
        (["--out", "{tmp}/run"], "--out: a run needs a file of queries with ids, name one with --queries"),
        (
            ["--queries", "{tmp}/q.tsv", "-s", "den", "-s", "lex", "--out", "{tmp}/run"],
            r"--out: 2 systems need 2 files, write \{system\} into the name",
        ),
        (["--queries", "{tmp}/none.tsv", "--out", "{tmp}/run"], r"none\.tsv: no such file, expected queries in lines"),
        (["--queries", "{tmp}/q.tsv", "--out", "{tmp}/run"], r"q\.tsv:2: 1 column\(s\), expected 2: id TAB text"),
        (
            ["a", "-s", "juge"],
            r"no system 'juge' \(did you mean judge\?\); there are den, untied, lex, bag, judge, bm25",
        ),
        (["a", "-k", "20000", "-s", "den"], "depth: expected 1 to 10,000 passages, got 20000"),
    ],
)
def test_what_cannot_be_asked_is_an_error_and_leaves_no_run(results, tmp_path, arguments, message):
    (tmp_path / "q.tsv").write_text("q1\ta b\nq2 without a tab\n")
    with pytest.raises(InputError, match=message):
        led_search(results, *(argument.format(tmp=tmp_path, system="{system}") for argument in arguments))
    assert [path.name for path in tmp_path.iterdir()] == ["q.tsv"]


def dataset(**changes: object) -> Dataset:
    return Dataset(name="d", source="folder", folder=".", splits={"train": {}}, **changes)


def test_files_of_queries_are_read_as_those_of_a_split(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"_id": "1", "text": "caf\u00c3\u00a9", "who": "x"}\n{"_id": 2, "text": "b"}\n')
    path = tmp_path / "q.jsonl"
    assert read_queries(path, dataset()) == (["1", "2"], ["caf\u00c3\u00a9", "b"])
    assert read_queries(path, dataset(repair_encoding=True)) == (["1", "2"], ["caf\u00e9", "b"])
    templates = {"query": "{who}: {text}", "missing": "empty"}
    assert read_queries(path, dataset(templates=templates))[1] == ["x: caf\u00c3\u00a9", ": b"]
    (tmp_path / "q.tsv").write_text("1\ta\n1\tb\n2\t \n")
    with pytest.raises(InputError, match=r"q\.tsv:2: id '1' is on an earlier line too"):
        read_queries(tmp_path / "q.tsv", dataset())
    assert read_queries(tmp_path / "q.tsv", dataset(skip=["duplicate_id", "empty_text"])) == (["1"], ["a"])
    (tmp_path / "q.tsv").write_text("")
    with pytest.raises(InputError, match=r"q\.tsv: no query in it"):
        read_queries(tmp_path / "q.tsv", dataset())


def test_a_typed_query_is_rendered_by_a_template_of_the_text_alone():
    assert typed("a {b}", dataset()) == "a {b}"
    assert typed("a {b}", dataset(templates={"query": "find: {text}"})) == "find: a {b}"
    assert typed("a", dataset(templates={"query": "{title} {text}"})) == "a"
    assert typed(" ", dataset(templates={"query": "find: {text}"})) == " "


def test_a_passage_cannot_control_the_terminal_and_fits_into_its_width():
    text = "\x1b[2Jred\x1b]0;title\x07 \u6f22\u5b57 line\r\nbreak\u202e " + "word " * 40
    passages = [Passage(0, "id\x1b[1m", "T\u00eftle\x00", text), Passage(1, "p1", "", "\u6f22" * 60)]
    view = Shown(Answer("led", "line breaks", [Hit(0, "id", 12.5), Hit(1, "p1", 3.0)], 4.2), passages)
    lines = list(view.lines(40))
    assert [line.plain for line in lines[:3]] == [
        "led: 2 passages in 4 ms",
        "1  12.5000  T\u00eftle  id[1m",
        "            [2Jred]0;title \u6f22\u5b57 line br\u2026",
    ]
    assert all(line.cell_len <= 40 for line in lines)
    assert [line.plain for line in view.lines(None)][2].endswith("word word")
    assert one_line("a\x00\u200bb\n\tc") == "ab c"
    assert Shown(Answer("led", "", [], 0.1), []).heading == "led: no passage in 0 ms"


def command(results: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "led_pipeline.cli", "search", "--results", str(results), *arguments]


@pytest.mark.pipeline
def test_a_closed_pipe_ends_the_command_without_a_word(results):
    reader, writer = os.pipe()
    os.close(reader)
    answer = subprocess.run(command(results, "a b", "-s", "den"), stdout=writer, stderr=subprocess.PIPE, timeout=300)
    os.close(writer)
    assert answer.stderr == b""
    assert answer.returncode != 0


class Terminal:
    """A command at a terminal of 60 columns."""

    def __init__(self, arguments: list[str]):
        self.leader, follower = pty.openpty()
        environment = os.environ | {"TERM": "xterm", "COLUMNS": "60"}
        ends = {"stdin": follower, "stdout": follower, "stderr": follower}

        def begin() -> None:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # the shell of the tests may ignore it

        control = {"start_new_session": True, "preexec_fn": begin}
        self.process = subprocess.Popen(arguments, env=environment, **ends, **control)
        os.close(follower)

    def expect(self, text: bytes) -> bytes:
        """Return what is printed up to a text."""
        output = b""
        while not output.endswith(text):
            output += os.read(self.leader, 1)
        return output

    def type(self, keys: bytes) -> None:
        os.write(self.leader, keys)


@pytest.mark.pipeline
@pytest.mark.parametrize(("end", "status"), [(b"\x04", 0), (b"\x03", 130)])
def test_the_prompt_edits_lines_has_a_history_and_ends_with_ctrl_d_or_ctrl_c(results, end, status):
    terminal = Terminal(command(results, "-s", "den", "-k", "5"))
    terminal.expect(b"query> ")
    terminal.type(b"a x\x7fb\n")  # backspace
    first = terminal.expect(b"query> ").split(b"\r\n")[1:]
    assert b"den: 5 passages in " in first[0]
    assert b"\x1b[1m" in b"".join(first), "a title in bold"
    terminal.type(b"\x1b[A\n")  # arrow up: the last query
    assert terminal.expect(b"query> ").split(b"\r\n")[-len(first[1:]) :] == first[1:]
    # A key that arrives between the prompt and Python's wait for keys is noticed with the next one.
    for _ in range(5):
        terminal.type(end)
        with suppress(subprocess.TimeoutExpired):
            terminal.process.wait(timeout=20)
            break
    assert terminal.process.returncode == status
    os.close(terminal.leader)
