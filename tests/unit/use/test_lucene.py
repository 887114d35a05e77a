"""Lucene within the process against Anserini's command line, which makes the rankings of a run."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from small_run import QUANTISATION, QUERIES, SHARDS

from led_pipeline.data.tables import write_strings
from led_pipeline.files.errors import InputError
from led_pipeline.search.anserini import bm25_index, bm25_search, impact_index, impact_search
from led_pipeline.use.lucene import LuceneIndex
from led_pipeline.use.session import Session

pytestmark = pytest.mark.java

WORDS = {
    "en": "the queues of running heaps and a heap's runner in the Queue",
    "none": "the queues of running heaps and a heap's runner in the Queue",
    "de": "die Warteschlangen der laufenden H\u00e4user und ein Haus in der Schlange",
    "bigrams": "\u6f22\u5b57\u304b\u306a\u4ea4\u3058\u308a\u6587 queue \u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 heap",
}
TRAPS = [
    "",
    "the of",
    "?!",
    "heap\theap\r\n\x00heap",
    'heap AND (queue OR "',
    "unknownword",
    "heap*~2^5 queue:x",
    "\u2028",
]


def as_lists(ranking) -> list[tuple[list[int], list[float]]]:
    return [(rows.tolist(), scores.tolist()) for part in ranking for _, rows, scores in part]


@pytest.mark.parametrize("language", WORDS)
def test_bm25_answers_are_those_of_the_command_line(tmp_path, language):
    random = np.random.default_rng(3)
    words = WORDS[language].split()
    texts = [" ".join(random.choice(words, random.integers(1, 9))) for _ in range(80)]
    passages, queries = tmp_path / "passages.parquet", tmp_path / "queries.parquet"
    ids = [str(row) for row in range(80)]
    write_strings(passages, [{"id": ids, "title": ["t"] * 80, "text": texts}], ["id", "title", "text"])
    topics = [*words, WORDS[language], " ".join(random.choice(words, 40)), "heap " * 2_000, *TRAPS]
    write_strings(queries, [{"id": ids[: len(topics)], "text": topics}], ["id", "text"])
    bm25_index(passages, tmp_path / "index", 1, language)
    expected = as_lists(bm25_search(tmp_path / "index", queries, passages, 1.2, 0.6, 12, 1, language))
    index = LuceneIndex(tmp_path / "index", language, (1.2, 0.6))
    answers = [index.search(query, 12) for query in topics]
    assert [rows.tolist() for rows, _ in answers] == [rows for rows, _ in expected]
    for (_, scores), (_, same) in zip(answers, expected, strict=True):
        np.testing.assert_allclose(scores, same, atol=1e-4)  # the command line prints six digits
    assert any(len(rows) == 12 for rows, _ in expected)


@pytest.fixture(scope="module")
def indexed(results, tmp_path_factory) -> Path:
    """The run with an index of a lexicon stage, and without its vectors."""
    copy = tmp_path_factory.mktemp("indexed") / "results" / "small"
    shutil.copytree(results, copy)
    vectors = [copy / "vectors" / "lex" / f"passages.{shard}.arrow" for shard in range(SHARDS)]
    impact_index(vectors, copy / "prepared" / "passages.parquet", QUANTISATION, copy / "index" / "lex", 1)
    return copy


def test_an_index_and_the_vectors_give_the_same_answers(session, indexed):
    with Session.open(indexed) as other:
        for query in QUERIES:
            assert other.search(query, "lex", 25).hits == session.search(query, "lex", 25).hits
            assert other.matches("lex", query, 3) == session.matches("lex", query, 3)
    queries, passages = indexed / "vectors" / "lex" / "dev.arrow", indexed / "prepared" / "passages.parquet"
    run = as_lists(impact_search(indexed / "index" / "lex", queries, QUANTISATION, passages, 25, 1))
    rows = [[hit.row for hit in session.search(query, "lex", 25).hits] for query in QUERIES]
    assert rows == [rows for rows, _ in run]


def test_an_index_alone_is_enough(indexed, tmp_path):
    copy = tmp_path / "results" / "small"
    shutil.copytree(indexed, copy)
    shutil.rmtree(copy / "vectors" / "lex")
    with Session.open(copy) as session:
        hits = session.search(QUERIES[0], "lex").hits
        assert hits
        assert session.matches("lex", QUERIES[0], hits[0].row) == []
        assert session.score("lex", QUERIES[0], hits[0].row) is None


def test_a_damaged_index_is_an_error_that_names_it(indexed, tmp_path):
    copy = tmp_path / "results" / "small"
    shutil.copytree(indexed, copy)
    for path in (copy / "index" / "lex").glob("segments_*"):
        path.write_bytes(b"damaged")
    message = r"index/lex: Lucene cannot search this index \(.*\); make it with `snakemake"
    with Session.open(copy) as session, pytest.raises(InputError, match=message):
        session.search(QUERIES[0], "lex")
    (copy / "index" / "lex" / "note.json").write_text('{"kind": "impact", "passages": 7}')
    with Session.open(copy) as session:
        assert "its quantisation is None, this search expects 50" in session.unavailable["lex"]


def run_python(code: str, *arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    # A shell that runs the tests in the background makes its children deaf to Ctrl-C; these must hear it.
    hearing = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **hearing, **options)


def test_java_leaves_ctrl_c_to_python_and_prints_nothing(indexed):
    code = """
        import os, signal, sys, threading, time
        from pathlib import Path
        from led_pipeline.use.session import Session
        session = Session.open(Path(sys.argv[1]))
        session.search("a b", "lex")
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            print("interrupted", len(session.search("a b", "lex").hits))
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    """
    answer = run_python(code, indexed)
    assert (answer.stdout, answer.stderr) == ("interrupted 10\n", "")
    assert answer.returncode == -signal.SIGTERM


def test_java_torch_and_faiss_share_a_process_in_any_order(indexed):
    code = """
        import sys
        from concurrent.futures import ThreadPoolExecutor
        from pathlib import Path
        from led_pipeline.use.session import Session
        session = Session.open(Path(sys.argv[1]), threads=2)
        systems = sys.argv[2:]
        jobs = [(query, system) for query in "abcdefgh" for system in systems] * 5
        with ThreadPoolExecutor(6) as pool:
            print(sum(len(answer.hits) for answer in pool.map(lambda job: session.search(*job), jobs)))
    """
    counts = set()
    for systems in (["lex", "den"], ["den", "lex"]):
        answer = run_python(code, indexed, *systems)
        assert (answer.returncode, answer.stderr) == (0, ""), answer
        counts.add(answer.stdout)
    assert len(counts) == 1


def test_an_index_in_a_folder_with_any_name_opens_in_any_locale(indexed, tmp_path):
    copy = tmp_path / "L\u00e4nge \u6f22 'x" / "results" / "small"
    shutil.copytree(indexed, copy)
    code = """
        import sys
        from pathlib import Path
        from led_pipeline.use.session import Session
        print(len(Session.open(Path(sys.argv[1])).search("a b", "lex").hits))
    """
    answer = run_python(code, copy, env=os.environ | {"LC_ALL": "C"})
    assert (answer.stdout, answer.stderr) == ("10\n", "")


def test_a_process_ends_well_while_java_releases_objects_of_python():
    code = textwrap.dedent("""
        from led_pipeline.use.jvm import java
        jpype = java()

        @jpype.JImplements("java.lang.Runnable")
        class Held:
            @jpype.JOverride
            def run(self): pass

        held = jpype.java.util.ArrayList()
        for _ in range(30_000):
            held.add(Held())
        held.clear()
        jpype.java.lang.System.gc()
    """)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, ""), "134: the interpreter ended under a thread of JPype"
