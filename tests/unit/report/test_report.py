"""The report: its drawing, its tables, its comparison with published numbers, and the page as a whole."""

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from led_pipeline.columns import aligned
from led_pipeline.data.formats.judgements import load_qrels, read_run, write_qrels, write_run
from led_pipeline.data.tables import Ragged, Ranking, write_ranking, write_strings
from led_pipeline.evaluation.evaluate import write_per_query
from led_pipeline.evaluation.measures import measure
from led_pipeline.evaluation.published import Published, beside_ours, load_published
from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.load import load_recipe
from led_pipeline.recipe.measures import MEASURES
from led_pipeline.report import data, examples, graph
from led_pipeline.report.curves import averaged, chart, entered, short
from led_pipeline.report.examples import choose, snippet
from led_pipeline.report.layers import crossings, lay_out, spread
from led_pipeline.report.log import read_train_log
from led_pipeline.report.page import best_values, duration, render, title_variant
from led_pipeline.report.text import number, p_value, signed, text_report
from led_pipeline.versions import installed

PUBLISHED = Path(__file__).parents[3] / "config" / "published.yaml"

STAGES = {
    "den_warmup": {"family": "dense", "init": "some/encoder", "negatives": ["bm25"]},
    "lex_warmup": {"family": "lexicon", "init": "some/masked-lm", "negatives": ["bm25"]},
    "den_continue": {"family": "dense", "init": "den_warmup", "negatives": ["den_warmup"]},
    "lex_continue": {"family": "lexicon", "init": "lex_warmup", "negatives": ["lex_warmup"]},
    "ranker": {"family": "ranker", "init": "some/cross-encoder", "train": False},
    "led": {
        "family": "dense",
        "init": "den_warmup",
        "negatives": ["den_warmup", "lex_warmup", "lex_continue"],
        "teachers": [{"stage": "lex_continue", "loss": "rank"}],
    },
    "led_rt": {
        "family": "dense",
        "init": "den_warmup",
        "negatives": ["den_warmup", "lex_warmup", "lex_continue"],
        "teachers": [{"stage": "lex_continue", "loss": "rank"}, {"stage": "ranker", "loss": "kl", "weight": 1.5}],
    },
}


def config(**changes):
    dataset = {"name": "msmarco", "source": "folder", "folder": "x", "splits": {"train": {}, "dev": {}}}
    return {"dataset": dataset, "stages": STAGES, **changes}


# --- the picture of the stages


def test_a_node_is_drawn_right_of_its_inputs():
    layout = lay_out("abcd", [("a", "b"), ("b", "c"), ("a", "c"), ("a", "d")], dict.fromkeys("abcd", 10.0), 4, 2)
    assert layout.layer == {"a": 0, "b": 1, "c": 2, "d": 1}
    assert layout.routes["a", "c"] == ["a", ("a", "c", 1), "c"]


def test_an_avoidable_crossing_is_avoided():
    edges = [("a", "z"), ("b", "y"), ("a", "x")]
    layout = lay_out(["a", "b", "y", "x", "z"], edges, dict.fromkeys("abxyz", 10.0), 4, 2)
    columns = [sorted((n for n in "abxyz" if layout.layer[n] == i), key=layout.y.get) for i in (0, 1)]
    assert crossings(columns, edges) == 0
    assert crossings([["a", "b"], ["y", "x", "z"]], edges) == 2


def test_places_are_the_nearest_that_keep_their_distance():
    assert spread([0.0, 10.0], [0.0, 4.0]) == [0.0, 10.0]
    assert spread([5.0, 5.0], [0.0, 4.0]) == [3.0, 7.0]
    assert spread([5.0, 1.0, 0.0], [0.0, 4.0, 8.0]) == pytest.approx([-2.0, 2.0, 6.0])  # mean of 5, -3, -8


def test_inputs_from_other_stages_are_edges_and_hub_models_are_not():
    edges = {(e.source, e.target, e.kind) for e in graph.links(load_recipe(config()))}
    assert {edge for edge in edges if edge[1] == "led"} == {
        ("den_warmup", "led", "init"),
        ("den_warmup", "led", "negatives"),
        ("lex_warmup", "led", "negatives"),
        ("lex_continue", "led", "negatives"),
        ("lex_continue", "led", "teacher"),
    }
    assert {edge for edge in edges if edge[1] == "ranker"} == {("bm25", "ranker", "candidates")}
    assert not any("/" in source for source, _, _ in edges)


def bezier(path):
    """Return points along an SVG path of one M and cubic segments, and the path's end."""
    numbers = [float(n) for n in re.findall(r"-?[\d.]+", path)]
    points = list(zip(numbers[::2], numbers[1::2], strict=True))
    for i in range(0, len(points) - 1, 3):
        for t in np.linspace(0, 1, 60):
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3)
            yield tuple(sum(w * p[axis] for w, p in zip(weights, points[i : i + 4], strict=True)) for axis in (0, 1))


def test_boxes_do_not_overlap_and_no_line_runs_through_a_box():
    recipe = load_recipe(config())
    drawing = str(graph.draw(recipe, {"led": "MRR@10 0.396 dev"}))
    pattern = r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="(\d+)"'
    boxes = [tuple(map(float, box)) for box in re.findall(pattern, drawing)]
    lines = re.findall(r'<path d="([^"]+)" fill="none"', drawing)
    assert (len(boxes), len(lines)) == (8, len(graph.links(recipe)))
    for (x, y, width, height), (u, v, _, _) in combinations(boxes, 2):
        assert abs(x - u) >= width or abs(y - v) >= height
    for line in lines:
        for x, y in bezier(line):
            assert not any(u + 1 < x < u + w - 1 and v + 1 < y < v + h - 1 for u, v, w, h in boxes), line
    right, bottom = map(float, re.search(r'viewBox="0 0 (\d+) (\d+)"', drawing).groups())
    assert all(x + width <= right and y + height <= bottom for x, y, width, height in boxes)


def test_lines_that_meet_at_a_box_have_ports_of_their_own():
    drawing = str(graph.draw(load_recipe(config()), {}))
    ends = [list(bezier(line))[-1] for line in re.findall(r'<path d="([^"]+)" fill="none"', drawing)]
    starts = [next(bezier(line)) for line in re.findall(r'<path d="([^"]+)" fill="none"', drawing)]
    assert len(set(ends)) == len(ends)
    assert len(set(starts)) == len(starts)


# --- training logs and curves


def test_a_long_title_is_shortened_and_complete_in_the_tooltip():
    drawn = chart("kl_dense_teacher_sparse_teacher_batch", {1: 2.0, 2: 1.5}, 2)
    assert "<title>kl_dense_teacher_sparse_teacher_batch</title>" in drawn
    assert ">kl_dense_teacher_sparse…<" in drawn and ">kl_dense_teacher_sparse_teacher_batch</text>" not in drawn
    assert ">kl_lex_continue</text>" in chart("kl_lex_continue", {1: 2.0}, 2)


def log_of(tmp_path, *lines):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return read_train_log(path)


def test_a_step_logged_again_after_a_resume_counts_once_and_the_later_line_wins(tmp_path):
    log = log_of(
        tmp_path,
        {"step": 1, "rank": 0.5, "loss": 3.0, "learning_rate": 1e-5, "seconds": 1.0},
        {"step": 2, "rank": 0.4, "loss": 9.0, "learning_rate": 1e-5, "seconds": 2.0},
        {"step": 2, "rank": 0.4, "loss": 2.0, "learning_rate": 1e-5, "seconds": 2.0},
        {"step": 2, "validation": {"MRR@10": 0.25}},
        {"step": 1, "validation": {"MRR@10": 0.5}},
        {"finished": True, "steps": 2, "best_step": 1, "seconds": 2.5},
    )
    assert log.terms == {"loss": {1: 3.0, 2: 2.0}, "rank": {1: 0.5, 2: 0.4}}
    assert list(log.terms) == ["loss", "rank"]
    assert list(log.validation["MRR@10"]) == [1, 2]
    assert log.summary() == {
        "finished": True,
        "steps": 2,
        "best_step": 1,
        "seconds": 2.5,
        "last": {"loss": 2.0, "rank": 0.4},
        "best_validation": {"MRR@10": 0.5},
    }


def test_a_loss_that_is_not_a_number_is_missing_and_not_zero(tmp_path):
    log = log_of(tmp_path, '{"step": 1, "loss": 1.0}', '{"step": 2, "loss": NaN}')
    assert log.summary()["last"] == {"loss": None}
    assert "nan" not in str(chart("loss", log.terms["loss"], 2, smooth=True)).lower()


@pytest.mark.parametrize("line", ['{"step": 2', "[1]", '{"loss": 1.0}'])
def test_error_names_a_broken_log_line(tmp_path, line):
    with pytest.raises(InputError, match=r"train\.jsonl:2: "):
        log_of(tmp_path, '{"step": 1, "loss": 1.0}', line)


def test_the_moving_average_keeps_a_constant_and_the_mean_of_a_window():
    assert averaged([(i, 2.0) for i in range(200)]) == [(i, 2.0) for i in range(200)]
    line = averaged([(i, float(i)) for i in range(120)])  # two points on either side
    assert line[50] == (50, 50.0)
    assert line[119] == (119, 118.0)
    assert line[0] == (0, 1.0)


def test_a_curve_is_drawn_from_where_it_enters_the_range():
    assert entered([(1, 9.0), (2, 5.0), (3, 1.0), (4, 7.0)], 0.0, 2.0) == [(2, 5.0), (3, 1.0), (4, 7.0)]
    assert entered([(1, 9.0)], 0.0, 2.0) == [(1, 9.0)]


def test_every_point_of_a_chart_is_inside_its_frame():
    drawing = str(chart("loss", {step: 1e6 / step**3 for step in range(1, 300)}, 299, smooth=True))
    height = float(re.search(r'viewBox="0 0 \d+ (\d+)"', drawing).group(1))
    points = [
        tuple(map(float, p.split(","))) for line in re.findall(r'points="([^"]+)"', drawing) for p in line.split()
    ]
    assert all(20 < y < height - 20 for _, y in points)
    assert all(before[0] <= after[0] for before, after in pairwise(points[: len(points) // 2]))


def test_short_numbers_keep_three_digits():
    assert [short(v) for v in (0, 0.12345, 1.234, 12.34, 123.4, 0.000012, 54321.0)] == [
        "0", "0.123", "1.23", "12.3", "123", "1e-5", "5e4",
    ]  # fmt: skip


# --- published numbers


def splits_with(**systems):
    measures = dict.fromkeys(MEASURES, 0.0)
    return {"dev": {"systems": {n: {"measures": measures | v} if v else None for n, v in systems.items()}}}


def rows_of(splits):
    published = load_published(PUBLISHED, "msmarco")
    return {row["system"]: row for row in beside_ours(published, splits)}


def test_our_value_is_compared_in_the_printed_units():
    cell = rows_of(splits_with(led={"MRR@10": 0.3935}))["LED"]["values"]["dev"]["MRR@10"]
    assert cell["published"] == 39.6
    assert cell["ours"]["MRR@10"] == pytest.approx(39.35)
    assert cell["difference"] == pytest.approx(-0.25)
    assert cell["within"] is True
    assert rows_of(splits_with(led={"MRR@10": 0.30}))["LED"]["values"]["dev"]["MRR@10"]["within"] is False


def test_a_published_recall_is_compared_with_the_nearer_of_recall_and_hit():
    cell = rows_of(splits_with(led={"recall@50": 0.85, "hit@50": 0.869}))["LED"]["values"]["dev"]["R@50"]
    assert cell["difference"] == pytest.approx(0.3)
    assert cell["within"] is True


def test_unverified_numbers_are_marked_and_not_compared():
    row = rows_of(splits_with(led_rt={"MRR@10": 0.402}))["LED (w/ RT)"]
    assert (row["verified"], row["source"]) == ("unverified", None)
    assert [cell["within"] for cell in row["values"]["dev"].values()] == [None] * 3


def test_a_related_system_is_compared_without_verdict_and_a_missing_one_has_no_value():
    rows = rows_of(splits_with(den_continue={"MRR@10": 0.382}, led=None))
    near = rows["coCondenser"]["values"]["dev"]["MRR@10"]
    assert near["difference"] == pytest.approx(0.0)
    assert near["within"] is None
    missing = rows["LED"]["values"]["dev"]["MRR@10"]
    assert (missing["ours"], missing["difference"], missing["within"]) == ({}, None, None)


def test_a_published_row_without_a_source_must_say_that_it_is_unverified():
    section = {
        "measures": {"MRR@10": {"ours": ["MRR@10"], "tolerance": 1}},
        "sources": {},
        "systems": [{"system": "X", "verified": "verified", "values": {"dev": {"MRR@10": 1.0}}}],
    }
    with pytest.raises(ValueError, match="must be marked unverified"):
        Published.model_validate(section)


def test_other_datasets_have_no_published_numbers_and_a_broken_file_is_an_error(tmp_path):
    assert load_published(PUBLISHED, "docstrings") is None
    path = tmp_path / "p.yaml"
    path.write_text("x:\n  systems: []\n  measures: {}\n  source: {}\n")
    with pytest.raises(InputError, match=r"p\.yaml: x\.source"):
        load_published(path, "x")


def test_every_published_measure_is_one_of_ours():
    published = load_published(PUBLISHED, "msmarco")
    assert {name for entry in published.measures.values() for name in entry.ours} <= set(MEASURES)
    led = next(row for row in published.systems if row.system == "LED")
    assert led.values["dev"] == {"MRR@10": 39.6, "R@50": 86.6, "R@1k": 98.3}
    assert led.verified == "second-hand"


# --- numbers and text


@pytest.mark.parametrize(
    ("passages", "expected"),
    [
        ({"titles": {"path": "results/msmarco/source/titles.tsv", "bytes": 1, "sha256": "0"}}, "titles.tsv"),
        ({"titles": None}, "no title file"),
        (None, "no title file"),
    ],
)
def test_the_page_says_which_titles_the_passages_have(passages, expected):
    assert title_variant({"provenance": {"prepared": {"passages": passages}}}) == expected


def test_a_missing_number_is_a_dash():
    assert (number(None), signed(None), p_value(None), duration(None)) == ("–", "–", "–", "–")
    assert (number(0.39649), number(0.0)) == ("0.396", "0.000")


def test_differences_carry_their_sign_unless_they_round_to_zero():
    assert [signed(v) for v in (0.0123, -0.0126, 0.0001, -0.0001)] == ["+0.012", "−0.013", "0.000", "0.000"]


def test_small_p_values_are_given_as_a_bound():
    assert [p_value(v) for v in (0.00005, 0.001, 0.0499, 1.0)] == ["<0.001", "0.001", "0.050", "1.000"]


def test_durations_show_two_units():
    assert [duration(s) for s in (7.4, 75, 3_600 * 14 + 61)] == ["7 s", "1 min 15 s", "14 h 1 min"]


def test_columns_are_aligned():
    assert aligned([["a", "b"], ["long", "1"]]) == "a     b\n-------\nlong  1"


def test_the_best_value_ignores_systems_that_were_not_evaluated():
    entry = {"systems": {"a": {"measures": {"m": 0.2}}, "b": None, "c": {"measures": {"m": 0.3}}}}
    assert best_values({"splits": {"dev": entry, "x": {"systems": {"a": None}}}, "measures": ["m"]}) == {
        "dev": {"m": 0.3},
        "x": {},
    }


# --- queries side by side


def test_queries_are_chosen_by_turns_from_both_sides():
    a = {q: {"nDCG@10": v} for q, v in {"q1": 1.0, "q2": 0.9, "q3": 0.0, "q4": 0.5, "q5": 0.8, "q6": 1.0}.items()}
    b = {q: {"nDCG@10": v} for q, v in {"q1": 0.0, "q2": 0.0, "q3": 0.4, "q4": 0.5, "q5": 0.0, "q6": 0.0}.items()}
    assert choose(a, b, 4) == ["q1", "q3", "q6", "q2"]
    assert choose(a, b, 10) == ["q1", "q3", "q6", "q2", "q5"]


def test_a_snippet_ends_between_words():
    assert snippet("one  two\nthree", 100) == "one two three"
    assert snippet("one two three", 9) == "one two …"
    assert snippet("one two three", 7) == "one two …"
    assert snippet("x" * 20, 10) == "x" * 10 + " …"


# --- the page


class Checker(HTMLParser):
    """Collects what a page would load, and checks that its tags nest."""

    VOID = ("meta", "br", "link", "img", "input", "hr")

    def __init__(self):
        super().__init__()
        self.open, self.loads, self.classes, self.text, self.links = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.loads += [value for key in ("src", "srcset", "data") if (value := values.get(key))]
        self.links += [values["href"]] if tag == "a" and not values["href"].startswith("#") else []
        self.loads += [values.get("href")] if tag in ("link", "use", "image") else []
        self.loads += [tag] if tag in ("script", "iframe", "object") else []
        self.classes += (values.get("class") or "").split()
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """Write a small run, four queries with only BM25 and LED evaluated, and its report; return its folder."""
    folder = tmp_path_factory.mktemp("run")
    results = folder / "results"
    prepared = results / "prepared"
    pids = [f"p{i}" for i in range(6)]
    texts = [f"text {i} <script>alert(1)</script> & more" for i in range(6)]
    write_strings(
        prepared / "passages.parquet", [{"id": pids, "title": ["T & t"] * 6, "text": texts}], ["id", "title", "text"]
    )
    qids = ["10", "20", "30", "40"]
    write_strings(prepared / "dev.queries.parquet", [{"id": qids, "text": ["what <i>", "b", "c", "d"]}], ["id", "text"])
    write_qrels(prepared / "dev.qrels", [("10", "p0", 1), ("20", "p1", 1), ("30", "p2", 1), ("40", "p3", 1)])
    write_json(prepared / "passages.json", {"counts": {"passages": 8841823}, "skipped": {}})
    orders = {"bm25": [[1, 0], [1, 0], [0, 1, 2], [4]], "led": [[0, 1], [0, 1], [2], [4, 3]]}
    grades = {qid: {f"p{i}": 1} for i, qid in enumerate(qids)}
    for system, rows in orders.items():
        scores = [np.arange(len(row), 0, -1) for row in rows]
        lists = Ragged.from_rows([np.array(row) for row in rows], np.int32), Ragged.from_rows(scores, np.float32)
        write_ranking(results / "rankings" / f"{system}.dev.parquet", Ranking(np.arange(4), *lists))
        run = [(qid, [f"p{i}" for i in row], s.tolist()) for qid, row, s in zip(qids, rows, scores, strict=True)]
        write_run(results / "runs" / f"{system}.dev.trec", run, system)
        measured = measure(run, grades)
        write_per_query(results / "eval" / f"{system}.dev.per_query.tsv", measured.per_query)
        write_json(results / "eval" / f"{system}.dev.json", {"queries": 4, "measures": measured.means()})
    lexicon = {"query_terms": 21.26, "passage_terms": 181.04, "flops": 1.2346}
    values = {"queries": 4, "measures": dict.fromkeys(MEASURES, 0.1), "sparsity": lexicon}
    write_json(results / "eval" / "lex_warmup.dev.json", values)
    (results / "models" / "led").mkdir(parents=True)
    (results / "models" / "led" / "train.jsonl").write_text('{"step": 1, "loss": 1.5, "rank": 0.5}\n')
    evaluation = {"compare": [["led", "bm25"], ["led_rt", "led"]], "side_by_side": ["led", "bm25"], "examples": 3}
    write_json(folder / "config.json", config(evaluation=evaluation))
    outputs = [f"--out-{kind}={folder}/out.{kind}" for kind in ("html", "text", "json")]
    command = [
        sys.executable,
        "-m",
        "led_pipeline.report.page",
        f"--config={folder}/config.json",
        f"--results={results}",
    ]
    done = subprocess.run([*command, f"--published={PUBLISHED}", *outputs], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (folder / "out.text").read_text().strip()
    return folder


@pytest.fixture(scope="module")
def page(finished_run):
    checker = Checker()
    content = (finished_run / "out.html").read_text(encoding="utf-8")
    checker.feed(content)
    checker.content = content
    return checker


def test_the_page_loads_nothing_and_its_tags_nest(page):
    assert page.loads == []
    assert page.open == []
    assert not re.search(r"@import|url\((?!#)", page.content)


def test_texts_of_the_collection_are_escaped(page):
    assert "<script" not in page.content
    assert "text 0 <script>alert(1)</script> & more" in "".join(page.text)


def test_the_page_shows_every_section_of_a_finished_run(page):
    for name in ("recipe", "results", "published", "comparisons", "training", "examples", "provenance"):
        assert f'<section id="{name}">' in page.content
    assert page.classes.count("query") == 3
    assert re.findall(r'<span class="dim">query (\d+),', page.content) == ["40", "20", "30"]
    assert page.classes.count("relevant") == 5  # of query 40 led alone finds it, of 20 and 30 both do
    assert "not finished" in page.content


def test_the_page_follows_the_measures_of_the_recipe(finished_run, tmp_path):
    """Tables, tiles, picture, comparisons and examples, and a published number whose measure is missing."""
    results, names = tmp_path / "results", ["P@1", "MAP"]
    shutil.copytree(finished_run / "results", results)
    judgements = load_qrels(results / "prepared" / "dev.qrels")
    for system in ("bm25", "led"):
        measured = measure(read_run(results / "runs" / f"{system}.dev.trec"), judgements, 1, names)
        write_per_query(results / "eval" / f"{system}.dev.per_query.tsv", measured.per_query)
        write_json(results / "eval" / f"{system}.dev.json", {"queries": 4, "measures": measured.means()})
    write_json(results / "eval" / "lex_warmup.dev.json", {"queries": 4, "measures": {"P@1": 0.125, "MAP": 0.5}})
    evaluation = {"compare": [["led", "bm25"]], "side_by_side": ["led", "bm25"], "examples": 3, "measures": names}
    recipe = load_recipe(config(evaluation=evaluation))
    metrics = data.gather(recipe, results, load_published(PUBLISHED, "msmarco"), {})
    assert metrics["measures"] == names and [t["measure"] for t in metrics["comparisons"]] == names
    content = render(recipe, results, metrics, {})
    for part in (
        "<th>P@1</th><th>MAP</th>",
        "P@1, dev",
        "P@1 0.500 dev",
        "P@1 1.000; first relevant at rank 1",
        "0.125",
    ):
        assert part in content, part
    assert "MRR@10, dev" not in content and "recall@50" not in content
    lines = text_report(metrics).splitlines()
    assert lines[2].split() == ["system", "P@1", "MAP"]


def test_side_by_side_shows_the_passages_of_the_run_files(finished_run):
    """Queries are passages here: runs leave out the passage with the query's id."""
    results, evaluation = finished_run / "results", {"depth": 1, "side_by_side": ["led", "bm25"]}
    excluded = config(evaluation=evaluation)
    excluded["dataset"]["exclude_query_id"] = True
    excluded["stages"] = STAGES | {"ranker": STAGES["ranker"] | {"rerank": {"depth": 1}}}
    queries = results / "prepared/dev.queries.parquet"
    renamed = {"id": ["p0", "20", "30", "p4"], "text": ["a", "b", "c", "d"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(examples, "read_column", lambda path, name: renamed[name] if path == queries else 1 / 0)
        patch.setattr(examples, "choose", lambda *_: ["p0", "20", "p4"])
        values = {qid: {"nDCG@10": 0.5} for qid in renamed["id"]}
        patch.setattr(examples, "read_per_query", lambda path: values)
        patch.setattr(examples, "load_qrels", lambda path: {qid: {"p1": 1} for qid in renamed["id"]})
        entries = examples.examples(load_recipe(excluded), results)
    rankings = {
        e["qid"]: [([p["pid"] for p in s["passages"]], s["first_relevant"]) for s in e["sides"]] for e in entries
    }
    assert rankings["p0"] == [(["p1"], 1), (["p1"], 1)]
    assert rankings["20"] == [(["p0"], None), (["p1"], 1)]
    assert rankings["p4"] == [(["p3"], None), ([], None)]


def test_stages_trained_with_other_versions_are_listed(finished_run):
    results, recipe = finished_run / "results", load_recipe(config())
    folder = results / "models" / "led_rt"
    folder.mkdir(parents=True)
    write_json(folder / "software.json", installed() | {"torch": "1.13.1"})
    assert data.software(recipe, results)["trained"] == {"led_rt": {"torch": "1.13.1"}}
    assert set(data.software(recipe, results)["packages"]) >= {"torch", "transformers", "numpy", "pyserini"}


def test_numbers_come_from_the_evaluation_and_missing_ones_are_none(finished_run):
    metrics = json.loads((finished_run / "out.json").read_text())
    systems = metrics["splits"]["dev"]["systems"]
    assert list(systems) == ["bm25", *STAGES]
    assert systems["led"]["measures"]["MRR@10"] == pytest.approx((1 + 1 / 2 + 1 + 1 / 2) / 4)
    assert systems["bm25"]["measures"]["MRR@10"] == pytest.approx((1 / 2 + 1 + 1 / 3 + 0) / 4)
    assert systems["led_rt"] is None
    assert (metrics["passages"], metrics["splits"]["dev"]["queries"]) == (6, 4)
    tested = {(test["a"], test["b"]) for test in metrics["comparisons"]}
    assert tested == {("led", "bm25")}  # led_rt was not evaluated
    first = next(test for test in metrics["comparisons"] if test["measure"] == "MRR@10")
    assert (first["wins"], first["losses"], first["ties"]) == (3, 1, 0)
    assert metrics["settings"]["led"]["learning_rate"] == 1e-5
    assert metrics["settings"]["led"]["tokenizer"] == "bert-base-uncased"


def test_the_text_table_lists_systems_in_order_with_dashes_and_ends_with_the_comparisons(finished_run):
    text = (finished_run / "out.text").read_text()
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("system"))
    table = [line.split() for line in lines[start + 2 : start + 10]]
    assert [cells[0] for cells in table] == ["bm25", *STAGES]
    assert table[6][:2] == ["led", "0.750"]
    assert table[7] == ["led_rt", *"––––––––"]
    assert text.index("LED (w/ RT)") < text.index("led − bm25")
    assert re.search(r"LED \(w/ RT\).*unverified", text)
    assert max(map(len, lines)) <= 120


def test_the_page_marks_the_unverified_row(page):
    rows = re.findall(r"<tr[^>]*>(?:(?!</tr>).)*LED \(w/ RT\).*?</tr>", page.content, re.S)
    assert len(rows) == 1
    assert rows[0].startswith('<tr class="unverified">')
    assert "Do not quote them" in rows[0]


def test_the_page_shows_the_terms_and_the_flops_of_lexicon_stages(page):
    text = " ".join("".join(page.text).split())
    assert "FLOPS of a pair lex_warmup21.3181.01.235" in text


def test_a_missing_results_folder_is_an_error(tmp_path):
    write_json(tmp_path / "config.json", config())
    outputs = [f"--out-{kind}={tmp_path}/out.{kind}" for kind in ("html", "text", "json")]
    command = [
        sys.executable,
        "-m",
        "led_pipeline.report.page",
        f"--config={tmp_path}/config.json",
        "--results=nowhere",
    ]
    done = subprocess.run([*command, *outputs], capture_output=True, text=True)
    assert done.returncode == 2
    assert "no such folder" in done.stderr


# --- a split without judgements


@pytest.fixture
def unjudged(tmp_path):
    """Write a run of BM25 on a split without judgements; return its folder and recipe."""
    recipe = config(evaluation={"splits": ["new"], "compare": []})
    recipe["dataset"]["splits"]["new"] = {"qrels": "none"}
    write_strings(
        tmp_path / "prepared" / "new.queries.parquet", [{"id": ["7", "8"], "text": ["a", "b"]}], ["id", "text"]
    )
    write_run(tmp_path / "runs" / "bm25.new.trec", [("7", ["p1"], [1.0])], "bm25")
    stale = {"queries": 2, "measures": dict.fromkeys(MEASURES, 0.5)}  # measured before the recipe said `none`
    write_json(tmp_path / "eval" / "bm25.new.json", stale)
    return tmp_path, load_recipe(recipe)


def test_a_split_without_judgements_is_shown_with_its_runs_and_without_numbers(unjudged):
    folder, recipe = unjudged
    metrics = data.gather(recipe, folder, None, {})
    entry = metrics["splits"]["new"]
    assert (entry["judged"], entry["queries"], set(entry["systems"].values())) == (False, 2, {None})
    lines = text_report(metrics).splitlines()
    assert lines[0] == "msmarco new: 2 queries, no judgements"
    rows = dict(line.split() for line in lines[2:] if len(line.split()) == 2)
    assert rows["bm25"] == f"{folder}/runs/bm25.new.trec" and rows["led"] == "–"
    checker = Checker()
    checker.feed(render(recipe, folder, metrics, {}))
    text = " ".join("".join(checker.text).split())
    assert "new 2 queries, no judgements" in text and "0.500" not in text
    assert checker.links == ["../runs/bm25.new.trec"] and (folder / "report" / checker.links[0]).resolve().exists()
