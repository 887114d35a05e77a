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
import yaml

from led_pipeline.columns import aligned
from led_pipeline.data.formats.judgements import load_qrels, read_run, write_qrels, write_run
from led_pipeline.data.tables import Ragged, Ranking, write_ranking, write_strings
from led_pipeline.evaluation.evaluate import write_per_query
from led_pipeline.evaluation.measures import measure
from led_pipeline.evaluation.published import Published, beside_ours, load_published, published_about
from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.load import load_recipe
from led_pipeline.recipe.measures import MEASURES
from led_pipeline.report import data, examples, graph
from led_pipeline.report.colours import BM25, PALETTE, colours
from led_pipeline.report.comparisons import Answer, read_tables
from led_pipeline.report.contents import Report, first_queries
from led_pipeline.report.examples import choose, snippet
from led_pipeline.report.log import read_train_log
from led_pipeline.report.page import render
from led_pipeline.report.rows import best_values, bytes_in_words, duration, kilowatt_hours, title_variant
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


def test_boxes_do_not_overlap_and_every_line_ends_at_its_boxes():
    recipe = load_recipe(config())
    drawing = graph.draw(recipe)
    assert {box.name for box in drawing.boxes} == {"bm25", *STAGES} and set(drawing.lines) == set(graph.links(recipe))
    for one, other in combinations(drawing.boxes, 2):
        assert abs(one.x - other.x) >= graph.WIDTH or abs(one.y - other.y) >= graph.HEIGHT
    box = {each.name: each for each in drawing.boxes}
    for link, points in drawing.lines.items():
        assert box[link.source].x + graph.WIDTH <= box[link.target].x, "what a stage takes comes from its left"
        for (x, y), name, edge in ((points[0], link.source, graph.WIDTH), (points[-1], link.target, -7)):
            assert x == box[name].x + edge and box[name].y < y < box[name].y + graph.HEIGHT
        assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert all(0 <= x <= drawing.width and 0 <= y <= drawing.height for p in drawing.lines.values() for x, y in p)
    assert all(each.x + graph.WIDTH <= drawing.width for each in drawing.boxes)


def test_no_line_runs_through_a_box():
    drawing = graph.draw(load_recipe(config()))
    for points in drawing.lines.values():
        for (x0, y0), (x1, y1) in pairwise(points):
            for t in np.linspace(0, 1, 40):
                x, y = x0 + t * (x1 - x0), y0 + t * (y1 - y0)
                inside = [
                    b.name
                    for b in drawing.boxes
                    if b.x + 1 < x < b.x + graph.WIDTH - 1 and b.y + 1 < y < b.y + graph.HEIGHT - 1
                ]
                assert not inside


def test_lines_that_meet_at_a_box_have_ports_of_their_own():
    lines = graph.draw(load_recipe(config())).lines.values()
    for end in (0, -1):
        assert len({points[end] for points in lines}) == len(lines)


# --- training logs and curves


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


@pytest.mark.parametrize("line", ['{"step": 2', "[1]", '{"loss": 1.0}'])
def test_error_names_a_broken_log_line(tmp_path, line):
    with pytest.raises(InputError, match=r"train\.jsonl:2: "):
        log_of(tmp_path, '{"step": 1, "loss": 1.0}', line)


# --- published numbers


def splits_with(**systems):
    measures = dict.fromkeys(MEASURES, 0.0)
    return {"dev": {"systems": {n: {"measures": measures | v} if v else None for n, v in systems.items()}}}


OURS = {"dev": "dev"}


def rows_of(splits, ours=OURS, depth=1000):
    (published,) = load_published(PUBLISHED)
    return {row["system"]: row for row in beside_ours(published, splits, ours, depth)}


def test_published_numbers_belong_to_a_dataset_by_its_content_whatever_its_name():
    sections = load_published(PUBLISHED)
    _, ours = published_about(sections, 8_841_823, {"dev": 6_980, "mine": 43, "other": 44})
    assert ours == {"dev": "dev", "dl2019": "mine"}
    assert published_about(sections, 8_841_823, {"dev": 1_000}) is None, "a part of the queries"
    assert published_about(sections, 12_000, {"dev": 6_980}) is None, "another collection"
    assert published_about(sections, None, {"dev": 6_980}) is None
    twins = published_about(sections, 8_841_823, {"first": 6_980, "dev": 6_980})[1]
    assert twins == {"dev": "dev"}, "of two splits of this size, the one of the same name"
    splits = splits_with(led={"MRR@10": 0.39})
    row = rows_of({"mine": splits["dev"]}, {"dev": "mine"})["LED"]
    assert row["values"]["mine"]["MRR@10"]["published"] == 39.6


def test_a_measure_deeper_than_the_rankings_is_not_compared():
    splits = splits_with(led={"recall@1000": 0.99, "recall@50": 0.87})
    deep, shallow = (rows_of(splits, depth=depth)["LED"]["values"]["dev"] for depth in (1000, 100))
    assert deep["R@1k"]["difference"] is not None
    assert (shallow["R@1k"]["ours"], shallow["R@1k"]["verdict"]) == ({}, None)
    assert shallow["R@50"]["ours"]["recall@50"] == pytest.approx(87)


def test_a_better_result_has_a_verdict_of_its_own():
    verdicts = [
        rows_of(splits_with(led={"MRR@10": v}))["LED"]["values"]["dev"]["MRR@10"]["verdict"] for v in (0.45, 0.396, 0.3)
    ]
    assert verdicts == ["above", "within", "below"]


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
        "content": {"passages": 1, "queries": {"dev": 1}},
        "measures": {"MRR@10": {"ours": ["MRR@10"], "tolerance": 1}},
        "sources": {},
        "systems": [{"system": "X", "verified": "verified", "values": {"dev": {"MRR@10": 1.0}}}],
    }
    with pytest.raises(ValueError, match="must be marked unverified"):
        Published.model_validate(section)


def test_a_broken_list_of_published_numbers_is_an_error(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("x:\n  content: {passages: 1, queries: {}}\n  systems: []\n  measures: {}\n  source: {}\n")
    with pytest.raises(InputError, match=r"p\.yaml: x\.source"):
        load_published(path)


def test_every_published_measure_is_one_of_ours():
    (published,) = load_published(PUBLISHED)
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


def test_amounts_have_the_largest_unit_and_missing_ones_are_dashes():
    amounts = ["–", "12 bytes", "3.4 kB", "250 MB", "141 GB"]
    assert [bytes_in_words(v) for v in (None, 12, 3_400, 250e6, 141e9)] == amounts
    assert (kilowatt_hours(None), kilowatt_hours(3.6e6)) == ("–", "1.00 kWh")


def test_a_system_has_one_colour_and_the_answer_the_first_ones():
    systems = ["bm25", *(f"s{i}" for i in range(9)), "led"]
    palette = colours(systems, Answer("led", "s4"))
    assert set(palette) == set(systems) and len(set(palette.values())) == len(systems)
    assert (palette["led"], palette["s4"], palette["bm25"]) == (*PALETTE[:2], BM25)


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
        self.scripts = []  # (id, type, content)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.loads += [value for key in ("src", "srcset", "data") if (value := values.get(key))]
        self.links += [values["href"]] if tag == "a" and not values["href"].startswith("#") else []
        self.loads += [values.get("href")] if tag in ("link", "use", "image") else []
        self.loads += [tag] if tag in ("iframe", "object", "base") else []
        self.scripts += [(values.get("id"), values.get("type"), "")] if tag == "script" else []
        self.classes += (values.get("class") or "").split()
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            name, kind, content = self.scripts.pop()
            self.scripts.append((name, kind, content + data))
        elif self.open[-1:] != ["style"]:
            self.text.append(data)

    def data(self, name):
        """Return the JSON that the page carries under an id."""
        return next(json.loads(content) for each, _, content in self.scripts if each == name)


HOSTILE = "</script><!--<script>document.title='x'</script> \u2028 {{ 7 * 7 }} \"'"


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """Write a small run, four queries with only BM25 and LED evaluated, and its report; return its folder."""
    folder = tmp_path_factory.mktemp("run")
    results = folder / "results"
    prepared = results / "prepared"
    pids = [f"p{i}" for i in range(6)]
    texts = [f"text {i} <script>alert(1)</script> & more {HOSTILE}" for i in range(6)]
    write_strings(
        prepared / "passages.parquet", [{"id": pids, "title": ["T & t"] * 6, "text": texts}], ["id", "title", "text"]
    )
    qids = ["10", "20", "30", "40"]
    questions = [f"what <i> text {HOSTILE}", "b", "c", "d"]
    write_strings(prepared / "dev.queries.parquet", [{"id": qids, "text": questions}], ["id", "text"])
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
    judged_led = {"led": STAGES["led"] | {"judge": {"stage": "ranker"}}}
    write_json(folder / "config.json", config(evaluation=evaluation, stages=STAGES | judged_led))
    dropped = {"dropped": 1234, "candidates": 20000, "dropped_per_query": {"mean": 3.14159}}
    write_json(results / "trainsets" / "led.candidates" / "dropped.json", dropped)
    outputs = [f"--out-{kind}={folder}/out.{kind}" for kind in ("html", "text", "json")]
    command = [
        sys.executable,
        "-m",
        "led_pipeline.report.page",
        f"--config={folder}/config.json",
        f"--results={results}",
    ]
    numbers = yaml.safe_load(PUBLISHED.read_text())
    numbers["msmarco"]["content"]["queries"] = {"dev": 4}  # this run's
    (folder / "published.yaml").write_text(yaml.safe_dump(numbers))
    published = f"--published={folder}/published.yaml"
    done = subprocess.run([*command, published, *outputs], capture_output=True, text=True)
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
    style = "".join(re.findall(r"<style>(.*?)</style>", page.content, re.S))
    assert not re.search(r"""@import|url\((?!["']?(#|data:))""", style)
    assert "default-src 'none'" in page.content and "unsafe-eval" not in page.content


def test_texts_of_the_collection_are_escaped(page):
    kinds = [(name, kind) for name, kind, _ in page.scripts]
    data = [("data-charts", "application/json"), ("data-queries", "application/json"), ("data-tables", "text/plain")]
    assert kinds == [*data, (None, None), (None, None)], "no text opens or ends a script"
    assert "text 0 <script>alert(1)</script> & more" in "".join(page.text)
    queries = page.data("data-queries")
    assert queries["rows"][0][queries["columns"].index("t")] == f"what <i> text {HOSTILE}"


def test_the_page_carries_the_ranks_and_the_measures_of_every_query(page):
    queries = page.data("data-queries")
    assert (queries["systems"], queries["measure"]) == (["bm25", "led"], "MRR@10")
    rows = [dict(zip(queries["columns"], row, strict=True)) for row in queries["rows"]]
    assert [(row["q"], row["r0"], row["r1"]) for row in rows] == [
        ("10", 2, 1),
        ("20", 1, 2),
        ("30", 3, 1),
        ("40", None, 2),
    ]
    assert [(row["v0"], row["v1"]) for row in rows] == [(0.5, 1), (1, 0.5), (0.3333, 1), (0, 0.5)]


def test_the_page_shows_every_section_of_a_finished_run(page):
    for name in (
        "answer",
        "results",
        "where",
        "queries",
        "published",
        "costs",
        "training",
        "examples",
        "recipe",
        "provenance",
    ):
        assert f'<section id="{name}">' in page.content
    assert set(page.data("data-charts")) >= {
        "systems",
        "differences",
        "graph",
        "curve-0",
        "where-queries",
        "where-0",
        "where-2",
    }
    assert page.classes.count("query") == 3
    assert re.findall(r'<span class="dim">query (\d+),', page.content) == ["40", "20", "30"]
    assert page.classes.count("relevant") == 5  # of query 40 led alone finds it, of 20 and 30 both do
    assert "not finished" in page.content


def test_the_page_says_how_many_negatives_a_judge_dropped(finished_run, page):
    assert "ranker dropped 1,234 of 20,000 candidates, 3.1 of a query" in page.content
    assert json.loads((finished_run / "out.json").read_text())["judged"]["led"]["dropped"] == 1234


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
    tables = read_tables(recipe, results)
    metrics = data.gather(recipe, results, load_published(PUBLISHED), {}, tables)
    assert metrics["measures"] == names and [t["measure"] for t in metrics["comparisons"]] == names
    content = render(Report(recipe, results, metrics, {}, first_queries(recipe, results, tables)))
    for part in (
        "<th>P@1</th><th>MAP</th>",
        "P@1, dev, against",
        "P@1 0.500 dev",
        "P@1 1.000; first relevant at rank 1",
        "0.125",
    ):
        assert part in content, part
    assert "MRR@10" not in content and "recall@50" not in content
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
    metrics = data.gather(recipe, folder, [], {}, read_tables(recipe, folder))
    entry = metrics["splits"]["new"]
    assert (entry["judged"], entry["queries"], set(entry["systems"].values())) == (False, 2, {None})
    lines = text_report(metrics).splitlines()
    assert lines[0] == "msmarco new: 2 queries, no judgements"
    rows = dict(line.split() for line in lines[2:] if len(line.split()) == 2)
    assert rows["bm25"] == f"{folder}/runs/bm25.new.trec" and rows["led"] == "–"
    checker = Checker()
    checker.feed(render(Report(recipe, folder, metrics, {}, None)))
    text = " ".join("".join(checker.text).split())
    assert "new 2 queries, no judgements" in text and "0.500" not in text
    assert checker.links == ["../runs/bm25.new.trec"] and (folder / "report" / checker.links[0]).resolve().exists()
