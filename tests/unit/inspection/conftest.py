"""A small finished run of the systems bm25, lex and led, on random data, without training anything."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from led_pipeline.data.candidates import Candidates
from led_pipeline.data.examples import Trainset
from led_pipeline.data.formats.judgements import write_qrels
from led_pipeline.data.pools import build_pool, judged_grades, left_out_of
from led_pipeline.data.ragged import Ragged
from led_pipeline.data.same_text import with_contents
from led_pipeline.data.tables import CONTENT, Ranking, read_ranking, write_ranking, write_strings
from led_pipeline.data.trainset import draw_trainset, positives
from led_pipeline.evaluation.evaluate import export_run, measure_run
from led_pipeline.files.atomic import write_json
from led_pipeline.inspection.runs import Run, open_run
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.load import load_recipe
from led_pipeline.recipe.step_settings import TrainsetSettings

PASSAGES, QUERIES, DEPTH = 60, {"train": 12, "dev": 20}, 30
CONFIG = {
    "dataset": {"name": "small", "source": "folder", "folder": "x", "splits": {"train": {}, "dev": {}}},
    "tokenizer": "pretrain",
    "evaluation": {"depth": DEPTH, "compare": [["led", "bm25"]]},
    "defaults": {"epochs": 2, "batch_size": 4, "negatives_per_query": 3},
    "stages": {
        "pretrain": {"family": "pretrain"},
        "lex": {"family": "lexicon", "init": "pretrain", "negatives": ["bm25"]},
        "led": {
            "family": "dense",
            "init": "pretrain",
            "negatives": ["bm25", "lex"],
            "teachers": [{"stage": "lex", "loss": "rank"}],
        },
    },
}


def random_ranking(seed: int, queries: int) -> Ranking:
    random = np.random.default_rng(seed)
    rows = [random.permutation(PASSAGES)[:DEPTH] for _ in range(queries)]
    scores = [np.sort(random.random(DEPTH))[::-1] for _ in range(queries)]
    lists = Ragged.from_rows(rows, np.int32), Ragged.from_rows(scores, np.float32)
    return Ranking(np.arange(queries, dtype=np.int32), *lists)


def write_prepared(layout: Layout) -> None:
    pids = [f"p{i}" for i in range(PASSAGES)]
    titles, texts = [f"Title {i}" for i in range(PASSAGES)], [f"text of {i}" for i in range(PASSAGES)]
    columns = with_contents({"id": pids, "title": titles, "text": texts})
    write_strings(layout.passages, [columns], ["id", "title", "text", CONTENT])
    source = {"path": "x/collection.tsv", "bytes": 1, "sha256": "0" * 64}
    record = {"inputs": [source], "counts": {"passages": PASSAGES}}
    write_json(layout.prepared_note("passages"), record | {"template": None, "repair_encoding": None})
    for split, count in QUERIES.items():
        qids = [f"{split}{i}" for i in range(count)]
        write_strings(layout.queries(split), [{"id": qids, "text": [f"question {q}" for q in qids]}], ["id", "text"])
        write_qrels(layout.qrels(split), [(qid, f"p{i}", 1) for i, qid in enumerate(qids)])


def write_run_folder(folder: Path, seed: int = 0) -> Run:
    """Write the files of a finished run whose systems rank at random."""
    layout = Layout(folder)
    for name in ("prepared", "rankings", "pools", "trainsets/led", "runs", "eval", "report"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_json(layout.resolved_recipe, load_recipe(CONFIG).model_dump(mode="json", exclude={"resources", "defaults"}))
    write_prepared(layout)
    passages, split = Path(layout.passages), (Path(layout.qrels("train")), Path(layout.queries("train")))
    left_out = left_out_of(judged_grades(*split, passages), passages)
    for number, system in enumerate(("bm25", "lex", "led")):
        for part, count in QUERIES.items():
            write_ranking(layout.ranking(system, part), random_ranking(seed * 10 + number, count))
        build_pool(read_ranking(layout.ranking(system, "train")), left_out, 15, Path(layout.pool(system)))
        files = [Path(layout.ranking(system, "dev")), Path(layout.queries("dev")), passages]
        run, table = Path(layout.run(system, "dev")), Path(layout.measures_per_query(system, "dev"))
        export_run(*files, system, DEPTH, False, run)
        write_json(layout.measures(system, "dev"), measure_run(run, Path(layout.qrels("dev")), 1, table))
    write_trainset(layout, positives(*split, passages))
    return open_run(folder)


def write_trainset(layout: Layout, pairs: np.ndarray) -> None:
    """Draw the trainset of led from both pools; its teacher gives each passage its row number as the score."""
    settings = TrainsetSettings(negatives=["bm25", "lex"], negatives_per_query=3, epochs=2, batch_size=4, seed=1)
    candidates = Candidates([Path(layout.pool(name)) for name in ("bm25", "lex")], settings.negatives_depth)
    draw_trainset(pairs, candidates, settings, Path(layout.drawn("led")))
    drawn = Trainset.read(Path(layout.drawn("led")))
    scores = Ragged(drawn.passages.values.astype(np.float32), drawn.passages.offsets)
    drawn.with_scores({"lex": scores}).write(Path(layout.trainset("led")))


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return write_run_folder(tmp_path_factory.mktemp("results") / "small")


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Return a function that writes another run, with another seed."""
    return lambda seed, name="small": write_run_folder(tmp_path_factory.mktemp("results") / name, seed)
