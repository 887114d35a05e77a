"""Languages other than English: BM25's rankings, and the valid settings of a recipe."""

import re
import unicodedata
import zipfile

import numpy as np
import pytest
from scripts import SCRIPTS

from led_pipeline.data.tables import write_strings
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.languages import CODES, NODE_ANALYZERS
from led_pipeline.recipe.load import load_recipe
from led_pipeline.search.anserini import bm25_index, bm25_search
from led_pipeline.search.indexes import check_language
from led_pipeline.search.java import find_jar
from led_pipeline.search.letters import bigrams

ANALYSES = {"th": "bigrams", "vi": "none"}  # of those that are not analysed by their own code
PASSAGES, QUERIES = 300, 40
CHANCE = sum(1 / rank for rank in range(1, 11)) / PASSAGES


def write(path, texts, title=None):
    columns = {"id": [f"{i}" for i in range(len(texts))], "text": texts}
    columns |= {} if title is None else {"title": [title] * len(texts)}
    write_strings(path, [columns], list(columns))
    return path


def recipe(language, **others):
    dataset = {"name": "x", "source": "folder", "folder": "y", "splits": {"dev": {}}}
    return {"dataset": dataset, "stages": {}, "bm25": {"language": language}, **others}


@pytest.mark.java
@pytest.mark.parametrize("language", SCRIPTS)
def test_bm25_ranks_a_querys_passage_first_in_every_script(language, tmp_path):
    """Russian queries are plurals and Arabic passages have articles, so only the right analysers match them."""
    texts, query_texts = SCRIPTS[language].collection(PASSAGES, QUERIES)
    passages, queries = write(tmp_path / "p", texts, title=""), write(tmp_path / "q", query_texts)
    analysis = ANALYSES.get(language, language)
    bm25_index(passages, tmp_path / "index", 1, analysis)
    (ranking,) = bm25_search(tmp_path / "index", queries, passages, 0.9, 0.4, 10, 1, analysis)
    ranks = [rows.tolist().index(i) + 1 if i in rows else np.inf for i, rows in enumerate(ranking.passages)]
    assert np.mean(1 / np.array(ranks)) > 0.8 > 80 * CHANCE, ranks


@pytest.mark.java
def test_language_codes_equal_those_of_the_jar():
    """Anserini silently takes any other code for English."""
    with zipfile.ZipFile(find_jar()) as jar:
        analysers = jar.read("io/anserini/analysis/AnalyzerMap$1.class")
        indexing = jar.read("io/anserini/index/IndexCollection.class")
    two = re.compile(rb"\x01\x00\x02([a-z]{2})")  # a string of two letters in the pool of constants
    codes = {code.decode() for code in two.findall(analysers)} | {"en"}
    blanks = {"ha", "so", "sw", "yo"}
    assert blanks <= {code.decode() for code in two.findall(indexing)}
    assert codes | blanks == {*CODES} - {"none", "bigrams"}
    assert NODE_ANALYZERS.keys() < {*CODES}


def test_an_unsupported_language_is_an_error_with_an_alternative():
    for language, sentence in {
        "tha": r"\(did you mean th\?\), got 'tha'",
        "vi": "none serves other languages",
        7: "got 7",
    }.items():
        with pytest.raises(InputError, match=rf"bm25\.language: expected en, none, bigrams, ar, .*{sentence}"):
            load_recipe(recipe(language))
    with pytest.raises(InputError, match=r"bm25\.language: OpenSearch has no analyser for ja without a plugin"):
        load_recipe(recipe("ja", search={"backend": "opensearch"}))


def test_norwegian_needs_no_quotes_though_yaml_reads_no_as_false():
    assert load_recipe(recipe(False)).bm25.language == "no"
    assert load_recipe(recipe("th")).bm25.language == "th"


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("ไม้เก่า", "ไม้ ม้เ เก่ ก่า"),
        ("中文句子。东", "中文 文句 句子 东"),
        ("iPhoneรุ่นใหม่ 15", "iphone รุ่น นใ ให หม่ 15"),
        ("Việt Nam हिन्दी", "việt nam हिन्दी"),
        ("ｶﾞｽ", "ガス"),
        ("a\u200bb c\u00add", "a b cd"),
        ("!? \t", ""),
        ("\u0301x", "x"),
    ],
)
def test_bigrams_are_pairs_of_letters_with_their_marks(text, terms):
    assert bigrams(text) == unicodedata.normalize("NFKC", terms)


@pytest.mark.parametrize("language", ["th", "ja", "zh", "hi"])
def test_the_default_analyser_is_refused_for_scripts_without_blanks(language, tmp_path):
    passages = write(tmp_path / "p", SCRIPTS[language].collection(20, 1)[0], title="")
    if language == "th":
        with pytest.raises(InputError, match=r"100% of the letters .* set bm25\.language: bigrams"):
            check_language(passages, "en")
        check_language(passages, "none")
    else:
        check_language(passages, "en")
