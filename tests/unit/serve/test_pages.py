"""The pages as a browser gets them, on a small run."""

import asyncio
import re
import threading
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from configs import changed
from html_elements import every, read, text, texts
from page_run import CONFIG, DEV, SYSTEMS, TEXTS, SmallSession
from starlette.testclient import TestClient

from led_pipeline.data.formats.judgements import write_qrels
from led_pipeline.data.tables import write_strings
from led_pipeline.recipe.load import load_recipe
from led_pipeline.serve.app import make_app
from led_pipeline.serve.differences import PAGE
from led_pipeline.serve.site import Site
from led_pipeline.serve.view import LONGEST_QUERY


def client_of(session):
    return TestClient(make_app(Site(session)), base_url="http://localhost", raise_server_exceptions=False)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return SmallSession(tmp_path_factory.mktemp("run") / "small")


@pytest.fixture(scope="module")
def shared_client(shared):
    return client_of(shared)


@pytest.fixture
def session(shared):
    """A session for tests that change nothing."""
    shared.searched.clear()
    return shared


@pytest.fixture
def client(session, shared_client):
    return shared_client


@pytest.fixture
def fresh(tmp_path):
    """A session for tests that change it or its files."""
    return SmallSession(tmp_path / "small")


def get(client, path, status=200, **parameters):
    answer = client.get(path, params=parameters or None)
    assert answer.status_code == status, answer.text[:2000]
    page = read(answer.text)
    for body in every(page, "body"):  # the help has examples of every sign
        for dialog in list(every(body, "dialog")):
            body.remove(dialog)
    return page


def columns(page):
    return {text(next(every(column, "h2"))): column for column in every(page, "section.column")}


def ids(column):
    return [text(next(every(meta, "code"))) for meta in every(column, "p.meta")]


# --- search


def test_systems_are_side_by_side_in_the_order_of_their_scores(client, session):
    page = get(client, "/", q="heap queue", system=["bm25", "den"])
    assert list(columns(page)) == ["bm25", "den"]
    for system, column in columns(page).items():
        assert ids(column) == [hit.id for hit in session.search("heap queue", system).hits]
        assert "12 ms" in text(next(every(column, "p.facts")))


def test_movement_is_against_the_first_column(client, session):
    page = get(client, "/", q="heap queue", system=["bm25", "den"], depth=20)
    first = [hit.id for hit in session.search("heap queue", "bm25", 100).hits]
    moved = 0
    for hit in every(columns(page)["den"], "li.hit"):
        rank = int(text(next(every(hit, "span.number"))))
        gained = first.index(ids(hit)[0]) + 1 - rank
        expected = f"▲+{gained}" if gained > 0 else f"▼−{-gained}" if gained else "="
        assert texts(hit, "span.move") == [expected]
        moved += gained != 0
    assert moved > 10 and not texts(columns(page)["bm25"], "span.move")


def test_a_passage_that_the_first_column_lacks_is_new(client, session):
    page = get(client, "/", q="heap filler", system=["lex", "bm25"], first="lex")
    assert [ids(columns(page)["lex"])] == [["p0", "p4"]], "it weighs heap alone"
    assert texts(columns(page)["bm25"], "span.move") == ["=", "=", *["new"] * 8]


def test_the_first_column_can_be_chosen(client):
    page = get(client, "/", q="queue", system=["bm25", "den"], first="den")
    assert list(columns(page)) == ["den", "bm25"]
    link = next(every(columns(get(client, "/", q="queue", system=["bm25", "den"]))["den"], "a.make-first"))
    assert list(columns(get(client, link.get("href")))) == ["den", "bm25"]
    hidden = {e.get("name"): e.get("value") for e in every(page, "input") if e.get("type") == "hidden"}
    assert hidden["first"] == "den", "searching again keeps it"


def test_judged_passages_are_marked_from_the_grade_that_counts(client):
    page = get(client, "/", q="heap queue", system=["bm25"])
    marks = {ids(hit)[0]: texts(hit, "span.grade") for hit in every(page, "li.hit")}
    assert marks["p0"] == ["relevant · 2"] and marks["p4"] == ["relevant · 2"] and marks["p1"] == ["grade 1"]
    assert not any(marks[pid] for pid in marks.keys() - {"p0", "p1", "p4"})
    ranks = [i for i, hit in enumerate(every(page, "li.hit"), 1) if "relevant" in hit.get("class").split()]
    assert f"relevant at {ranks[0]}, {ranks[1]}" in text(next(every(page, "p.facts")))


def test_white_space_does_not_hide_that_a_query_is_judged_but_other_words_do(client):
    assert texts(get(client, "/", q="  heap   queue ", system="bm25"), "p.judged-note")
    assert not texts(get(client, "/", q="heap queues", system="bm25"), "p.judged-note")


def test_of_two_queries_with_one_text_the_chosen_one_counts(client):
    assert not texts(get(client, "/", q="queue", system="bm25"), "span.grade"), "d2 has no judgement"
    page = get(client, "/", q="queue", system="bm25", split="dev", qid="d3")
    assert texts(page, "span.grade") == ["relevant · 3"]
    page = get(client, "/", q="queue first", system="bm25", split="dev", qid="d3")
    assert not texts(page, "p.judged-note"), "the text was changed in the box"


def test_terms_of_a_lexicon_stage_are_marked_in_the_text_with_their_parts_of_the_score(client):
    page = get(client, "/", q="heap queue", system=["lex", "bm25"], first="lex")
    best = next(every(columns(page)["lex"], "li.hit"))
    assert [(text(mark), mark.get("class")) for mark in every(best, "mark")] == [("heap", "w5"), ("queue", "w3")]
    assert texts(next(every(best, "ul.terms")), "li") == ["heap 67%", "queue 33%"]  # 2 x 3 and 1.5 x 2
    assert not list(every(columns(page)["bm25"], "mark"))


def test_markup_in_passages_and_queries_is_shown_as_text(client):
    for system in ("bm25", "lex"):
        answer = client.get("/", params={"q": "queue </title><script>1</script>", "system": system})
        page = read(answer.text)
        assert [script.get("src") for script in every(page, "script")] == ["/static/page.js"]
        assert not list(every(page, "img"))
    page = get(client, "/", q="queue mind", system="bm25")
    hit = next(hit for hit in every(page, "li.hit") if ids(hit) == ["p2"])
    assert text(next(every(hit, "h3"))) == "<b>bold</b> & co"
    assert text(next(every(hit, "p.text"))) == TEXTS[2][2]


def test_a_hit_without_title_has_its_id_as_name(client):
    page = get(client, "/", q="trees", system="bm25")
    assert texts(page, "h3") == ["p3"]


def test_an_empty_query_gives_a_hint_and_the_queries_that_differ_most(client, session):
    for query in ("", "   "):
        page = get(client, "/", q=query, system=["bm25", "den"])
        assert "Type a query" in text(next(every(page, "h1")))
        items = [(text(next(every(li, "a"))), text(next(every(li, "span.winner")))) for li in every(page, "li")]
        assert items == [("heap queue", "den +0.90"), ("stack of items", "bm25 +0.70"), ("queue", "den +0.10")]
    assert not session.searched


def test_a_query_without_results_says_so(client):
    page = get(client, "/", q="zebra", system=["bm25", "lex"])
    assert texts(page, "p.empty") == ["Nothing matches."] * 2


def test_a_query_that_is_too_long_gets_the_limit_as_a_sentence(client, session):
    page = get(client, "/", 414, q="long " * 4_000, system="bm25")
    assert "19,999 characters; at most 10,000" in text(next(every(page, "main")))
    assert next(every(page, "input")).get("value").startswith("long long"), "it can be shortened"
    assert not session.searched
    get(client, "/", q="x" * LONGEST_QUERY, system="bm25")


def test_a_system_that_is_not_available_says_why_and_stops_no_other(client):
    page = get(client, "/", q="queue", system=["rank", "bm25"])
    assert texts(columns(page)["rank"], "p.failure") == ["models/rank does not exist; train it first"]
    assert len(ids(columns(page)["bm25"])) == 10
    assert "rank" in text(next(every(page, "details.unavailable")))
    assert "rank" not in [box.get("value") for box in every(page, "input") if box.get("type") == "checkbox"]


def test_errors_of_a_search_are_sentences_in_its_column(client):
    page = get(client, "/", q="refused", system=["bm25", "den"])
    assert texts(page, "p.failure")[0] == "bm25: the index is damaged; remove index/bm25 and run again"
    page = get(client, "/", q="crash", system=["bm25"])
    assert "error of the program" in text(next(every(page, "p.failure"))) and "bug" not in text(page)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"q": "a", "system": "bm52"}, "no system 'bm52' in this run (did you mean bm25?)"),
        ({"q": "a", "system": ["bm25", "den", "lex", "rank"], "depth": "7"}, "The depth is '7'"),
        ({"q": "a", "system": SYSTEMS}, "5 systems are chosen; at most 4 fit"),
        ({"q": "a", "system": "<script>"}, "no system '<script>'"),
    ],
)
def test_an_address_that_says_nonsense_gets_a_sentence(client, parameters, sentence):
    page = get(client, "/", 400, **parameters)
    assert sentence in text(next(every(page, "section.error")))


def test_the_depth_is_the_number_of_hits(client):
    assert len(ids(get(client, "/", q="queue", system="bm25", depth=20))) == 20


def test_the_passage_with_the_id_of_the_query_is_no_result_where_the_recipe_excludes_it(fresh):
    fresh.recipe = load_recipe(changed(CONFIG, {"dataset.exclude_query_id": True}))
    write_strings(fresh.layout.queries("dev"), [{"id": ["p0"], "text": ["heap queue"]}], ["id", "text"])
    client = client_of(fresh)
    assert ids(get(client, "/", q="heap queue", system="bm25"))[0] != "p0"
    assert ids(get(client, "/", q="heap queue first", system="bm25"))[0] == "p0", "this is no query of the split"


# --- the list of queries


def lines(page):
    return [text(next(every(row, "a"))) for row in every(page, "tr") if list(every(row, "a"))]


def test_queries_are_sorted_by_the_difference_of_two_systems(client):
    page = get(client, "/queries", system=["bm25", "den"])
    assert lines(page)[:3] == ["heap queue", "stack of items", "queue"]
    assert text(next(every(page, "p.counts"))) == "1 better with bm25, 2 better with den, 121 equal."
    assert texts(next(row for row in every(page, "tr") if "d0" in text(row)), "td")[:2] == ["0.100", "1.000"]
    assert lines(get(client, "/queries", system=["bm25", "den"], order="first"))[0] == "stack of items"
    assert lines(get(client, "/queries", system=["bm25", "den"], order="second"))[:2] == ["heap queue", "queue"]
    assert lines(get(client, "/queries", system=["bm25", "den"], order="file")) == [t for _, t in DEV[:PAGE]]


def test_pages_of_the_list_have_every_query_once(client):
    path, seen_by_reader = "/queries?system=bm25&system=den", []
    while path:
        page = get(client, path)
        seen_by_reader += lines(page)
        path = next((a.get("href") for a in every(page, "a") if a.get("rel") == "next"), None)
    assert sorted(seen_by_reader) == sorted(t for _, t in DEV)
    assert lines(get(client, "/queries", page=99)) == lines(get(client, "/queries", page=3))


def test_a_filter_takes_the_queries_with_all_words_or_an_id(client):
    assert lines(get(client, "/queries", words="LIST filler 99")) == ["filler 99 of the list"]
    assert lines(get(client, "/queries", words="d1")) == ["stack of items"]
    page = get(client, "/queries", words="zebra <i>")
    assert not lines(page) and "0 queries contain “zebra <i>”" in text(page)


def test_a_query_of_the_list_opens_with_its_two_systems_and_its_judgements(client):
    page = get(client, "/queries", system=["bm25", "den"], words="d3")
    link = next(a for a in every(page, "a") if text(a) == "queue").get("href")
    assert parse_qs(urlsplit(link).query)["system"] == ["bm25", "den"]
    assert "Query d3 of dev" in text(next(every(get(client, link), "p.judged-note")))


def test_a_split_without_measures_is_listed_in_the_order_of_its_file(client):
    page = get(client, "/queries", split="train")
    assert lines(page) == ["smallest item", "memory <i>of</i> a process", "newest item"]
    assert "no common measures on train" in text(page)
    assert "no split 'test'" in text(get(client, "/queries", 400, split="test"))


# --- a passage


def panels(page):
    return {text(next(every(panel, "h2"))): panel for panel in every(page, "section.panel")}


def test_a_passage_has_its_text_and_its_neighbours(client):
    page = get(client, "/passages/2")
    article = next(every(page, "article"))
    assert text(next(every(article, "h1"))) == "<b>bold</b> & co"
    assert text(next(every(article, "p.body"))) == TEXTS[2][2]
    around = panels(page)["Around it in the collection"]
    assert texts(around, "span.number") == ["0", "1", "2", "3", "4", "5"]


def test_a_passage_says_for_which_training_queries_it_was_drawn(client):
    page = get(client, "/passages/0")
    roles = panels(page)["In the trainsets"]
    assert texts(roles, "h3") == ["den: positive of 1 query", "den: negative of 2 queries"]
    # Examples: (t0: p0 | p1 p5), (t1: p4 | p0 p1), (t2: p5 | p2 p0), (t0: p0 | p5 p1); p0 is t0's positive twice.
    assert texts(roles, "li") == ["smallest item t0, 2 times", "memory <i>of</i> a process t1", "newest item t2"]
    judged = panels(page)["Judged for"]
    assert texts(judged, "li") == ["heap queue d0, grade 2", "smallest item t0, grade 1"]
    assert "No stage was trained with this passage." in text(panels(get(client, "/passages/3"))["In the trainsets"])


def test_a_passage_of_a_query_has_rank_score_and_weights_of_every_system(client):
    page = get(client, "/passages/1", q="heap queue", system=["bm25", "lex", "rank"])
    scored = {text(next(every(each, "h3"))): each for each in every(page, "div.scored")}
    assert "rank 2, score 1.000" in text(scored["bm25"])
    rows = [[text(cell) for cell in row if cell.tag in ("th", "td")] for row in every(scored["lex"], "tr")]
    assert rows[1][:4] == ["queue", "1.500", "2.000", "100.0 %"]
    assert texts(scored["lex"], "mark") == ["queue"]
    assert "train it first" in text(scored["rank"])
    assert "not among the first" in text(get(client, "/passages/3", q="heap", system=["bm25"]))


def test_passages_are_opened_by_id_and_unknown_ones_get_a_sentence(client):
    assert text(next(every(get(client, "/passage", id="p4"), "h1"))) == "heap"
    assert "no passage with the id 'p 4'" in text(get(client, "/passage", 400, id="p 4"))
    assert "0 to 39" in text(get(client, "/passages/40", 404))
    for name in ("x", "9" * 5000, "-1", "%C2%B2"):
        get(client, f"/passages/{name}", 404)


def test_nearest_passages_are_those_of_a_dense_system(client, session):
    page = get(client, "/passages/7", q="queue", system=["den"])
    assert len(texts(panels(page)["Nearest by den"], "li")) == 8


# --- the rest


def test_unknown_pages_and_errors_of_the_program_are_pages_with_a_sentence(fresh):
    client = client_of(fresh)
    assert "There is no such page." in text(get(client, "/nothing", 404))
    fresh.passage = lambda row: 1 / 0
    page = get(client, "/passages/1", 500)
    assert "error of the program" in text(page) and "ZeroDivision" not in text(page)
    assert client.post("/", data={"q": "x"}).status_code == 405


def test_a_damaged_file_is_a_page_with_its_sentence(fresh):
    Path(fresh.layout.measures_per_query("den", "dev")).write_text("qid\tMRR@10\nd0\tmany\n")
    page = get(client_of(fresh), "/queries", 400, system=["bm25", "den"])
    assert "den.dev.per_query.tsv" in text(page) and "measure the run again" in text(page)


def test_measures_that_change_while_the_page_runs_are_read_again(fresh):
    path, client = Path(fresh.layout.measures_per_query("den", "dev")), client_of(fresh)
    before = get(client, "/queries", system=["bm25", "den"])
    path.write_text(path.read_text().replace("0.2\t", "0.9\t"))
    after = get(client, "/queries", system=["bm25", "den"])
    assert "1 better with bm25" in text(before) and "0 better with bm25" in text(after)


def test_a_split_without_judgements_can_be_searched(fresh):
    write_qrels(fresh.layout.qrels("dev"), [])
    page = get(client_of(fresh), "/", q="heap queue", system="bm25")
    assert "without a relevant passage" in text(next(every(page, "p.judged-note")))


def test_a_slow_system_does_not_block_another_tab(fresh):
    client, other_tab_answered, search = client_of(fresh), threading.Event(), fresh.search
    waited = []

    def slow_search(query, system, depth):
        if system == "den":
            waited.append(other_tab_answered.wait(20))
        return search(query, system, depth)

    fresh.search = slow_search
    slow_tab = threading.Thread(target=client.get, args=["/"], kwargs={"params": {"q": "queue", "system": "den"}})
    slow_tab.start()
    get(client, "/", q="queue", system="bm25")
    other_tab_answered.set()
    slow_tab.join()
    assert waited == [True]


def test_a_column_is_sent_before_the_next_system_searches(fresh):
    events, search = [], fresh.search
    fresh.search = lambda *arguments: events.append(f"search {arguments[1]}") or search(*arguments)

    async def send(message):
        events.extend(f"sent {name}" for name in re.findall(rb'<h2 id="system[^>]*>(\w+)', message.get("body", b"")))

    async def receive():
        await asyncio.sleep(60)

    scope = {"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": [(b"host", b"localhost")]}
    scope["query_string"] = b"q=queue&system=bm25&system=den"
    asyncio.run(make_app(Site(fresh))(scope, receive, send))
    assert events == ["search bm25", "sent b'bm25'", "search den", "sent b'den'"]


def test_every_element_of_every_page_is_closed_and_ids_are_unique(client):
    for path in ("/", "/?q=queue&system=lex&system=bm25", "/queries", "/help", "/passages/1?q=queue", "/nothing"):
        page = read(client.get(path).text)
        names = [element.get("id") for element in page.iter() if element.get("id")]
        assert len(names) == len(set(names)), path
        assert not [e for e in page.iter() if e.get("style") or any(name.startswith("on") for name in e.attrib)]
        for field in every(page, "input"):
            if field.get("type") != "hidden":
                labelled = [label for label in every(page, "label") if label.get("for") == field.get("id")]
                inside = [label for label in every(page, "label") if field in list(label.iter())]
                assert labelled or inside, f"{path}: a field without a label"


def test_static_files_name_no_other_host(client):
    for name in ("page.css", "page.js", "keys.js", "form.js", "columns.js", "icon.svg"):
        answer = client.get(f"/static/{name}")
        assert answer.status_code == 200
        assert not re.findall(r"(?:https?:)?//(?!www\.w3\.org/2000/svg)[\w-]+\.\w+", answer.text)
    assert client.get("/static/../app.py").status_code == 404
