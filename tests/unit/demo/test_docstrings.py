import re
import sysconfig
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from led_pipeline.demo import python_source
from led_pipeline.demo.docstrings import Pair, build, defect, distinct, read_roots, sample, split_docstring, title
from led_pipeline.demo.python_source import Root
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json

GEOMETRY = '''"""Lengths and angles of plane figures.

Everything here works on pairs of numbers, needs nothing beyond plain arithmetic, and never changes what it is given.
"""
raise RuntimeError("imported")

def norm(x):
    """Return the length of a vector.

    The length is the root of the sum of squares\\tof all entries; an empty
    vector has no length at all and is refused.
    """
    def inner():
        """Count the visited entries so far.

        One two three four five six seven eight nine ten eleven twelve thirteen words follow here.
        """

class Circle:
    """A circle."""

    def _grow(self):
        """Make the circle wider by some amount.

        The centre stays where it is while the radius gains the amount, which may be negative to shrink instead.
        """
'''
BOTANY = '''async def water(plants):
    """Give every plant its share of rain.

    Thirsty ones come first, cacti come last, and whoever drowned yesterday is skipped until the soil has dried.
    """
'''
PASSAGE = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon"
WORDS = PASSAGE.split()


@pytest.fixture
def roots(tmp_path):
    package = tmp_path / "source" / "shapes"
    (package / "plane").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "plane" / "geometry.py").write_text(GEOMETRY)
    (package / "botany.py").write_text(BOTANY)
    return [Root("shapes", "1.0", "shapes", package)]


def pair(name, query="Sort the given list of numbers.", passage=PASSAGE):
    return Pair("any", name, query, passage)


def read(path):
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def test_summary_is_the_query_rest_the_passage_and_dotted_name_the_title(roots, tmp_path):
    build(roots, passages=4, dev_queries=1, seed=0, out=tmp_path / "out")
    names = [
        "shapes.botany.water",
        "shapes.plane.geometry",
        "shapes.plane.geometry.Circle._grow",
        "shapes.plane.geometry.norm",
    ]
    collection = read(tmp_path / "out" / "collection.tsv")
    assert [name for name, _ in collection] == names
    assert collection[3][1] == (
        "The length is the root of the sum of squares of all entries; "
        "an empty vector has no length at all and is refused."
    )
    assert read(tmp_path / "out" / "titles.tsv")[2] == [names[2], "shapes plane geometry circle grow"]
    queries = {split: dict(read(tmp_path / "out" / f"queries.{split}.tsv")) for split in ("train", "dev")}
    assert (len(queries["train"]), len(queries["dev"])) == (3, 1)
    assert queries["train"] | queries["dev"] == {
        "q1": "Give every plant its share of rain.",
        "q2": "Lengths and angles of plane figures.",
        "q3": "Make the circle wider by some amount.",
        "q4": "Return the length of a vector.",
    }
    for split in ("train", "dev"):
        expected = [[qid, "0", names[int(qid[1:]) - 1], "1"] for qid in queries[split]]
        assert read(tmp_path / "out" / f"qrels.{split}.tsv") == expected


def test_counts_and_versions_are_recorded(roots, tmp_path):
    build(roots, passages=4, dev_queries=1, seed=7, out=tmp_path / "out")
    source = read_json(tmp_path / "out" / "source.json")
    assert source["distributions"] == {"shapes": {"version": "1.0", "files": 3, "docstrings": 5, "candidates": 4}}
    assert (source["files_read"], source["docstrings"], source["candidates"], source["seed"]) == (3, 5, 4, 7)
    assert source["dropped"] == {"summary too short": 1}  # "A circle."


def test_files_that_cannot_be_read_or_parsed_are_skipped_and_named(roots, tmp_path):
    folder = roots[0].folder
    (folder / "gone.py").symlink_to(folder / "nowhere")
    (folder / "latin.py").write_bytes(b'"""caf\xe9"""\n')
    (folder / "null.py").write_bytes(b"x = 1\0\n")
    (folder / "old.py").write_text("print 'hello'\n")
    build(roots, passages=4, dev_queries=1, seed=0, out=tmp_path / "out")
    source = read_json(tmp_path / "out" / "source.json")
    assert source["files_read"] == 3
    assert source["files_skipped"] == {
        "shapes: shapes.gone": "unreadable",
        "shapes: shapes.latin": "not Python",
        "shapes: shapes.null": "not Python",
        "shapes: shapes.old": "not Python",
    }


def test_tests_copies_of_other_packages_and_site_packages_are_left_out(roots):
    for name in ("tests", "_vendor", "site-packages"):
        (roots[0].folder / name).mkdir()
        (roots[0].folder / name / "module.py").write_text(BOTANY)
    (roots[0].folder / "not-a-module.py").write_text(BOTANY)
    assert [file.module for file in read_roots(roots)] == ["shapes", "shapes.botany", "shapes.plane.geometry"]


def test_the_standard_library_has_names_without_a_prefix(roots):
    files = read_roots([roots[0]._replace(package="")])
    assert [file.module for file in files] == ["", "botany", "plane.geometry"]


def test_two_processes_read_what_one_reads(roots):
    assert read_roots(roots, workers=2) == read_roots(roots, workers=1)


def test_definitions_in_a_branch_are_found(tmp_path):
    (tmp_path / "m.py").write_text("if True:\n" + "".join(f"    {line}\n" for line in BOTANY.splitlines()))
    assert [p.name for file in read_roots([Root("m", "1", "m", tmp_path)]) for p in file.pairs] == ["m.m.water"]


def test_installed_source_is_read():
    files = read_roots([Root("python", "3", "json", Path(sysconfig.get_path("stdlib")) / "json")])
    queries = {p.name: p.query for file in files for p in file.pairs}
    assert queries["json.dumps"] == "Serialize obj to a JSON formatted str."


@pytest.mark.parametrize(
    ("text", "query", "passage"),
    [
        ("Join the\n  two parts.\n\nBoth  stay.", "Join the two parts.", "Both stay."),
        ("Join the two parts. Both stay.", "Join the two parts.", "Both stay."),
        ("Join the parts, e.g. Halves of eggs. Both stay.", "Join the parts, e.g. Halves of eggs.", "Both stay."),
        ("Careful. Join the two parts. Both stay.", "Careful. Join the two parts.", "Both stay."),
        ("Join the two parts.\nArgs:\n    a: one part", "Join the two parts.", "Args: a: one part"),
        ("Join the two parts.\n:param a: one part", "Join the two parts.", ":param a: one part"),
        ("Join the two parts.\nWeights\n-------\nNone.", "Join the two parts.", "Weights None."),
        ("Join the two parts.\n\nBoth:\n>>> join(1, 2)\n3\n\nStay.", "Join the two parts.", "Both: Stay."),
        ("Join the two parts.\n\nStay.\n\nExamples\n--------\n>>> join(1, 2)", "Join the two parts.", "Stay."),
        (
            "Join the :class:`~a.Part` and ``b``.\n\n.. note:: **Both** stay.",
            "Join the a.Part and b.",
            "note Both stay.",
        ),
        ("", "", ""),
    ],
)
def test_docstring_is_split_after_the_first_sentence_and_freed_of_markup_and_doctests(text, query, passage):
    assert split_docstring(text) == (query, passage)


def test_a_passage_ends_after_150_words():
    assert len(split_docstring("Join the two parts.\n\n" + "word " * 151)[1].split()) == 150


@pytest.mark.parametrize(
    ("query", "passage", "reason"),
    [
        ("Join the two parts.", " ".join(WORDS[:12]), None),
        ("Join two parts.", PASSAGE, "summary too short"),
        (" ".join(["part"] * 41), PASSAGE, "summary too long"),
        ("Join the two parts.", " ".join(WORDS[:11]), "rest too short"),
        ("Join the two parts.", " ".join(["x=1"] * 20), "rest too short"),
        ("join(a, b=2, *, c) -> Tensor", PASSAGE, "summary is not prose"),
        ("(Join the two parts of it)", PASSAGE, "summary is not prose"),
        ("Join the two parts.", PASSAGE + " %(name)s", "template"),
        ("Join the two parts.", PASSAGE + " \b", "control characters"),
        ("Join the two parts.", PASSAGE + " JOIN THE TWO-parts now", "rest repeats the summary"),
        ("Join the two part", PASSAGE + " join the two parts now", None),
    ],
)
def test_only_a_sentence_with_enough_other_words_after_it_is_kept(query, passage, reason):
    assert defect(query, passage) == reason


def test_a_repeated_query_is_kept_once_for_the_public_name():
    dropped = Counter()
    pairs = [pair("a._b.c", passage="one " * 20), pair("a.b.c.d", "SORT the given  list of numbers")]
    assert distinct(pairs, dropped) == [pairs[1]]
    assert dropped == {"same summary": 1}


def test_a_passage_that_repeats_half_of_an_earlier_one_is_dropped():
    same, half, less = WORDS, [*WORDS[:13], *"abcdefgh"], [*WORDS[:12], *"abcdefgh"]
    dropped = Counter()
    # Runs of six words: 15 in all; `half` has 16, of which 8 are old, `less` has 15, of which 7 are old.
    for passage, count in ((same, 1), (half, 1), (less, 2)):
        assert len(distinct([pair("a"), pair("b", "Another question", " ".join(passage))], dropped)) == count
    assert dropped == {"same or similar rest": 2}


def test_a_repeated_name_is_kept_once():
    dropped = Counter()
    assert len(distinct([pair("a"), pair("a", "Another question", "word " * 12)], dropped)) == 1
    assert dropped == {"name occurs twice": 1}


def test_distinct_does_not_depend_on_the_order_of_the_files():
    pairs = [pair(f"m{i}", f"Question number {i % 7}", " ".join(WORDS[i % 3 :])) for i in range(20)]
    assert distinct(pairs, Counter()) == distinct(pairs[::-1], Counter())


def test_a_draw_repeats_with_its_seed_and_changes_with_another():
    pairs = [pair(f"m{i}") for i in range(50)]
    drawn, dev = sample(pairs, 20, 5, seed=1)
    assert (drawn, dev) == sample(pairs[::-1], 20, 5, seed=1)
    assert (drawn, dev) != sample(pairs, 20, 5, seed=2)
    assert drawn == sorted(drawn) and len(set(drawn)) == 20
    assert len(dev) == 5 and dev < {p.name for p in drawn}


def test_removing_a_pair_that_was_not_drawn_changes_nothing():
    pairs = [pair(f"m{i}") for i in range(50)]
    drawn, dev = sample(pairs, 20, 5, seed=1)
    left = next(p for p in pairs if p not in drawn)
    assert sample([p for p in pairs if p != left], 20, 5, seed=1) == (drawn, dev)


def test_drawing_too_many_pairs_is_an_error_with_the_available_number(roots, tmp_path):
    with pytest.raises(InputError, match="--passages 5: only 4 docstrings are usable"):
        build(roots, passages=5, dev_queries=1, seed=0, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dev_queries", [0, 4])
def test_both_splits_have_queries(dev_queries):
    with pytest.raises(InputError, match="expected 1 to 3"):
        sample([pair(name) for name in "abcd"], 4, dev_queries, seed=0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("torch.nn.LayerNorm", "torch nn layer norm"),
        ("torch.nn.functional.conv2d", "torch nn functional conv2d"),
        ("transformers.GPT2Model.__init__", "transformers gpt2 model init"),
        ("numpy.linalg._linalg.norm", "numpy linalg norm"),
        ("http.client.HTTPConnection.get_URL", "http client http connection get url"),
    ],
)
def test_title_is_the_name_in_words(name, words):
    assert title(name) == words


def test_a_missing_distribution_is_an_error_that_names_it(monkeypatch):
    monkeypatch.setitem(python_source.DISTRIBUTIONS, "no-such-distribution", "nothing")
    with pytest.raises(InputError, match="'no-such-distribution', which is not installed"):
        python_source.installed_roots()


def test_every_distribution_that_is_read_is_a_dependency_of_this_project():
    dependencies, waiting = set(), ["led-pipeline"]
    while waiting:
        name = waiting.pop()
        for text in metadata.requires(name) or []:
            requirement = Requirement(text)
            dependency = re.sub(r"[-_.]+", "-", requirement.name).lower()
            if dependency not in dependencies and (
                requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            ):
                dependencies.add(dependency)
                waiting.append(dependency)
    assert set(python_source.DISTRIBUTIONS) <= dependencies
