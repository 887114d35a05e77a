"""The whole pipeline, run for real on tiny models: raw text to report, stopped and killed on the way."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import yaml
from kill_campaign import processes
from workflow_copy import ROOT, Plan

from led_pipeline.data.formats.judgements import read_run
from led_pipeline.data.tables import read_arrow, read_column, read_ranking
from led_pipeline.recipe.measures import within
from led_pipeline.use.session import Session

pytestmark = [pytest.mark.pipeline, pytest.mark.java]

CONFIG = Path(__file__).with_name("tiny.yaml")
EXTRAS = Path(__file__).with_name("tiny_extras.yaml")
SYSTEMS = ["bm25", "den_warmup", "lex_warmup", "ranker", "same_ranker", "led", "led_rt"]
ALL = [*SYSTEMS, "hybrid", "led_int8"]
TEXT = {"LED_VIEW": "snakemake"}  # `Plan` reads it
PASSAGES = 600
# 100 queries with one relevant passage of 600 each: a random ranking has (1 + 1/2 + ... + 1/10) / 600 on average.
CHANCE = sum(1 / rank for rank in range(1, 11)) / PASSAGES


class Run:
    """The pipeline in its own folder, with the code of this checkout."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.results = folder / "results" / "tiny"

    def command(self, *arguments: str | Path) -> list[str]:
        fixed = ("--snakefile", ROOT / "Snakefile", "--directory", self.folder, "--configfile", CONFIG, EXTRAS)
        return [sys.executable, "-m", "snakemake", *map(str, (*arguments, *fixed))]

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return os.environ | {"PATH": path, "XDG_CACHE_HOME": str(self.folder / ".cache")} | TEXT

    def snakemake(self, *arguments: str | Path) -> subprocess.CompletedProcess:
        command = self.command(*arguments)
        answer = subprocess.run(command, env=self.environment(), capture_output=True, text=True)
        assert answer.returncode == 0, answer.stderr + "".join(self.logs())
        return answer

    def logs(self) -> list[str]:
        """Return the ends of the newest logs, to say why a run failed."""
        newest = sorted(self.folder.glob("logs/**/*.log"), key=lambda path: path.stat().st_mtime)[-3:]
        return [f"\n--- {path}\n{path.read_text()[-2000:]}" for path in newest]

    def plan(self, *arguments: str | Path) -> Plan:
        return Plan(self.snakemake(*arguments, "--dry-run").stdout)

    def interrupt_a_training(self) -> None:
        """Start a run and stop it as Ctrl-C does, once the first training has begun."""
        command = self.command("led_final", "--cores", "2")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        # A shell that runs the tests in the background makes its children deaf to Ctrl-C; these must hear it.
        hearing = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
        process = subprocess.Popen(command, env=self.environment(), process_group=0, **quiet, **hearing)
        while process.poll() is None and not any(self.folder.glob("logs/tiny/train/*.log")):
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(timeout=60) != 0

    def kill_snakemake_alone_in_a_training(self) -> None:
        """Start the run again and kill Snakemake, and nothing else, while a training's process works."""
        command = self.command("led_final", "--cores", "2", "--rerun-incomplete")
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, env=self.environment(), **quiet)
        while process.poll() is None and not any(each.rank for each in processes(self.folder).values()):
            time.sleep(0.1)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        end = time.monotonic() + 20
        while (left := processes(self.folder)) and time.monotonic() < end:
            time.sleep(0.1)
        assert not left, "no job outlives the run that started it"

    def evaluation(self, system: str) -> dict:
        return json.loads((self.results / "eval" / f"{system}.dev.json").read_text())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("tiny"))
    started = time.monotonic()
    run.interrupt_a_training()
    first = time.monotonic() - started
    assert (run.results / "models" / "pretrain" / "config.json").exists()
    assert not list(run.results.glob("models/den_warmup")), "what an interrupted job wrote is removed"
    if sys.platform == "linux":
        run.kill_snakemake_alone_in_a_training()
    again = Plan(run.snakemake("led_final", "--cores", "2", "--rerun-incomplete").stderr)
    assert not again.counts["docstrings"] and again.counts["train"] == 5
    print(f"interrupted after {first:.0f} s, finished after {time.monotonic() - started:.0f} s")
    return run


def test_every_artefact_exists_and_nothing_is_unfinished(run):
    expected = run.plan("led_final", "--forceall").outputs
    assert len(expected) > 100
    assert [file for file in sorted(expected) if not (run.results / file).exists()] == []
    assert list(run.folder.rglob("*.part")) == []


def test_a_second_run_has_nothing_to_do(run):
    answer = run.snakemake("led_final", "--cores", "2")
    assert "Nothing to be done" in answer.stdout + answer.stderr


def test_every_system_is_better_than_chance_and_bm25_by_far(run):
    """The initial model passes this too; unit/training/test_train.py tests that a training learns."""
    measured = {system: run.evaluation(system)["measures"]["MRR@10"] for system in ALL}
    assert measured["bm25"] > 0.5
    assert all(value > 5 * CHANCE for value in measured.values()), measured


def check_session(results: Path, systems: list[str], count: int) -> None:
    """Check that a session ranks the first queries of the split as the run does, but for the last bits of scores."""
    with Session.open(results) as session:
        queries = session.layout.queries("dev")
        text_of = dict(zip(read_column(queries, "id"), read_column(queries, "text"), strict=True))
        for system in systems:
            for qid, pids, scores in islice(read_run(session.layout.run(system, "dev")), count):
                hits = session.search(text_of[qid], system, len(pids)).hits
                np.testing.assert_allclose([hit.score for hit in hits], scores, rtol=5e-3, atol=1e-4)
                for hit, pid, score in zip(hits, pids, scores, strict=True):
                    # Passages change places only where the scores of both are the same up to rounding.
                    assert hit.id == pid or session.score(system, text_of[qid], session.row_of(pid)) == pytest.approx(
                        score, rel=5e-3, abs=1e-4
                    ), (system, qid)


def test_led_search_gives_the_rankings_of_the_run(run):
    check_session(run.results, SYSTEMS, 100)


def test_the_report_lists_every_system(run):
    table = (run.results / "report" / "table.txt").read_text()
    measured = table[table.index("\nsystem ") :].strip().split("\n\n")[0]
    rows = {name: values for name, *values in map(str.split, measured.splitlines())}
    page = (run.results / "report" / "index.html").read_text()
    numbers = json.loads((run.results / "report" / "metrics.json").read_text())
    assert list(numbers["splits"]["dev"]["systems"]) == ALL
    for system in ALL:
        measures = run.evaluation(system)["measures"]
        assert rows[system] == [f"{measures[name]:.3f}" for name in within(50)]
        assert f">{system}<" in page
    recipe = json.loads((run.results / "report" / "recipe.json").read_text())
    assert list(recipe["stages"]) == list(yaml.safe_load(CONFIG.read_text())["stages"])


def test_a_stage_keeps_its_best_validated_step(run):
    lines = [json.loads(line) for line in (run.results / "models" / "led" / "train.jsonl").read_text().splitlines()]
    validated = {line["step"]: line["validation"]["MRR@10"] for line in lines if "validation" in line}
    assert list(validated) == [2, 4]
    assert lines[-1]["finished"] and lines[-1]["best_step"] == max(validated, key=validated.get)
    assert {"contrastive", "rank_lex_warmup"} <= lines[0].keys()


# --- rankings and scores against plain numpy


def sparse(path: Path) -> np.ndarray:
    """Return the vectors of a file as a dense float64 matrix over a vocabulary of 1,000 word pieces."""
    columns, _ = read_arrow(path)
    matrix = np.zeros((len(columns["terms"]), 1000))
    for row, (terms, weights) in enumerate(zip(columns["terms"], columns["weights"], strict=True)):
        matrix[row, terms] = weights
    return matrix


def vectors(run: Run, stage: str, name: str) -> np.ndarray:
    """Return a stage's vectors of the passages, or of a split's queries, in float64."""
    paths = sorted((run.results / "vectors" / stage).glob("passages.*" if name == "passages" else f"{name}.*"))
    assert len(paths) == (2 if name == "passages" else 1)
    return np.concatenate([sparse(p) if p.suffix == ".arrow" else np.load(p).astype(np.float64) for p in paths])


@pytest.mark.parametrize(("stage", "split", "hits"), [("lex_warmup", "dev", 50), ("lex_warmup", "train", 15)])
def test_the_impact_index_ranks_by_exact_products_of_impacts(run, stage, split, hits):
    queries, passages = (np.rint(100 * vectors(run, stage, name)) for name in (split, "passages"))
    scores = queries @ passages.T
    ranking = read_ranking(run.results / "rankings" / f"{stage}.{split}.parquet")
    assert len(ranking) == len(queries)
    for query, rows, row_scores in ranking:
        matching = np.flatnonzero(scores[query] > 0)
        best = matching[np.lexsort((matching, -scores[query, matching]))][:hits]
        np.testing.assert_array_equal(rows, best)
        np.testing.assert_array_equal(row_scores, scores[query, best])


def test_exact_lexicon_search_gives_the_same_rankings_without_lucene(run, tmp_path):
    copy = Run(tmp_path / "copy")
    shutil.copytree(run.folder, copy.folder, symlinks=True)
    names = ["lex_warmup.dev.parquet", "lex_warmup.train.0.parquet", "lex_warmup.train.1.parquet"]
    files = [f"results/tiny/rankings/{name}" for name in names]
    exact = ("--config", 'search={"lexicon":"exact"}')
    answer = copy.snakemake(*files, "results/tiny/index/lex_warmup", "--cores", "2", "--force", *exact)
    counts = Plan(answer.stderr).counts
    assert counts["impact_index"] == 1 and counts["impact_search"] == 3 and not counts["encode_passages"]
    index = sorted(path.name for path in (copy.results / "index" / "lex_warmup").glob("[!.]*"))
    assert index == ["note.json", "postings.bin"]
    for file in files:
        lucene, ours = (list(read_ranking(each.folder / file)) for each in (run, copy))
        assert [(q, rows.tolist(), scores.tolist()) for q, rows, scores in ours] == [
            (q, rows.tolist(), scores.tolist()) for q, rows, scores in lucene
        ]


def test_negatives_that_a_ranker_scores_high_are_not_drawn(run, tmp_path):
    copy = Run(tmp_path / "copy")
    shutil.copytree(run.folder, copy.folder, symlinks=True)
    judge = {"stage": "ranker", "margin": 0.0, "kind": "absolute"}
    config = ("--config", f"stages={json.dumps({'led': {'judge': judge}})}")
    counts = Plan(copy.snakemake("results/tiny/trainsets/led/drawn.arrow", "--cores", "2", *config).stderr).counts
    jobs = {name: counts[name] for name in ("candidates", "score_with_ranker", "trainset", "judge", "draw", "train")}
    assert jobs == {"candidates": 1, "score_with_ranker": 2, "trainset": 1, "judge": 1, "draw": 1, "train": 0}

    folder = copy.results / "trainsets"
    scored = read_arrow(folder / "led.candidates" / "trainset.arrow")[0]
    dropped: dict[int, set[int]] = {}
    for query, passages, scores in zip(scored["query"], scored["passages"], scored["score_ranker"], strict=True):
        too_close = scores[1:] >= scores[0]  # every query has one positive
        dropped[int(query)] = set(passages[1:][too_close].tolist())
    note = json.loads((folder / "led.candidates" / "dropped.json").read_text())
    assert 0 < note["dropped"] == sum(map(len, dropped.values())) < note["candidates"]
    drawn = read_arrow(folder / "led" / "drawn.arrow")[0]
    before = read_arrow(run.results / "trainsets" / "led" / "drawn.arrow")[0]
    drawn_in = [
        sum(len(dropped[int(q)] & set(p[1:].tolist())) for q, p in zip(each["query"], each["passages"], strict=True))
        for each in (drawn, before)
    ]
    assert drawn_in[0] == 0 < drawn_in[1]


@pytest.mark.parametrize(("stage", "split", "hits"), [("led", "dev", 50), ("den_warmup", "train", 15)])
def test_faiss_ranks_by_exact_products(run, stage, split, hits):
    scores = vectors(run, stage, split) @ vectors(run, stage, "passages").T
    ranking = read_ranking(run.results / "rankings" / f"{stage}.{split}.parquet")
    assert len(ranking) == len(scores)
    for query, rows, row_scores in ranking:
        assert len(set(rows)) == hits
        np.testing.assert_allclose(row_scores, scores[query, rows], atol=1e-5)
        np.testing.assert_allclose(row_scores, np.sort(scores[query])[::-1][:hits], atol=1e-5)


@pytest.mark.parametrize("stage", ["led", "led_rt"])
def test_scores_of_the_lexicon_teacher_are_products_of_unquantised_weights(run, stage):
    queries, passages = (vectors(run, "lex_warmup", name) for name in ("train", "passages"))
    columns, _ = read_arrow(run.results / "trainsets" / stage / "trainset.arrow")
    for query, drawn, stored in zip(columns["query"], columns["passages"], columns["score_lex_warmup"], strict=True):
        np.testing.assert_allclose(stored, passages[drawn] @ queries[query], rtol=1e-5)
    assert ("score_same_ranker" in columns) == (stage == "led_rt")


def test_a_trainset_holds_a_judged_positive_and_then_pooled_negatives(run):
    columns, _ = read_arrow(run.results / "trainsets" / "led" / "trainset.arrow")
    qrels = [line.split() for line in (run.results / "prepared" / "train.qrels").read_text().splitlines()]
    assert len(columns["query"]) == len(qrels) == PASSAGES - 100
    pools = {query: set() for query in range(len(qrels))}
    for system in ("den_warmup", "lex_warmup"):
        for query, passages, _ in read_ranking(run.results / "pools" / f"{system}.parquet"):
            pools[query] |= set(passages[:10])
    for query, (positive, *negatives) in zip(columns["query"], columns["passages"], strict=True):
        assert len(negatives) == 3 and set(negatives) <= pools[query] and positive not in pools[query]


# --- going on from a finished run


def test_a_deleted_artefact_is_rebuilt_alone_with_the_same_bytes(run):
    path = run.results / "vectors" / "led" / "passages.1.npy"
    content = path.read_bytes()
    path.unlink()
    answer = run.snakemake(path.relative_to(run.folder), "--cores", "2")
    assert Plan(answer.stderr).counts == {"encode_passages": 1}
    assert path.read_bytes() == content
    assert run.plan("led_final").jobs == [], "its dependents stay valid"


def test_a_collection_in_beirs_format_is_prepared_from_a_folder(run):
    folder = run.folder / "beir"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": f"p{i}", "title": "", "text": f"passage number {i}"} for i in range(4)]
    queries = [{"_id": f"q{i}", "text": f"number {i}"} for i in range(3)]
    for name, lines in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "negatives.tsv").write_text("q0\tp0,p1,p3\nq1\tp0\n")
    for split, judged in (("train", "q0\tp1\t1\nq1\tp2\t1\n"), ("test", "q0\tp1\t1\nq2\tp3\t1\n")):
        (folder / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    config = yaml.safe_load(CONFIG.read_text())
    config["dataset"] = {
        "name": "own",
        "source": "folder",
        "format": "beir",
        "folder": "beir",
        "splits": {"train": {}, "test": {"limit": 1}},
        "negatives": {"published": "negatives.tsv"},
    }
    config["evaluation"]["splits"] = ["test"]
    del config["validation"]
    (run.folder / "own.yaml").write_text(yaml.safe_dump(config))
    results = run.folder / "results" / "own"
    command = run.command("results/own/pools/published.parquet", "results/own/prepared/test.qrels", "--cores", "2")
    command[command.index(str(CONFIG))] = str(run.folder / "own.yaml")
    answer = subprocess.run(command, env=run.environment(), capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr + "".join(run.logs())
    assert (results / "prepared" / "train.qrels").read_text().split() == ["q0", "0", "p1", "1", "q1", "0", "p2", "1"]
    assert (results / "prepared" / "test.qrels").read_text().split()[2] in ("p1", "p3")
    assert json.loads((results / "prepared" / "test.json").read_text())["counts"]["queries"] == 1
    pool = read_ranking(results / "pools" / "published.parquet")
    assert [(query, list(rows)) for query, rows, _ in pool] == [(0, [0, 3]), (1, [0])], "p1 is judged for q0"


def test_what_was_trained_is_searched_served_exported_opened_and_compared(run):
    command = [sys.executable, ROOT / "tests" / "use_results.py", run.results]
    answer = subprocess.run(list(map(str, command)), env=run.environment(), capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-5000:]
    for part in (
        "search: hybrid",
        "serve: ",
        "export: FAISS",
        "sentence-transformers: led_rt",
        "sentence-transformers: lex",
    ):
        assert part in answer.stdout
