"""The recipe: valid config files, errors about mistakes, and the graph of stages."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
from configs import RECIPES, changed

from led_pipeline.files.atomic import write_json
from led_pipeline.files.digests import fingerprint
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.files.yaml_lines import repeated_keys
from led_pipeline.recipe import needs, settings, steps
from led_pipeline.recipe.load import load_recipe, trained_in
from led_pipeline.recipe.stages import FAMILIES

READ = Path(__file__).parents[2] / "golden" / "settings.json"
PAPER = RECIPES["config.yaml"]

SMALL = {
    "dataset": {"name": "own", "source": "folder", "folder": "data", "splits": {"train": {}, "dev": {}}},
    "defaults": {"epochs": 2, "pooling": "mean"},
    "tokenizer": "base",
    "stages": {
        "base": {"family": "pretrain"},
        "led": {
            "family": "dense",
            "init": "den",
            "negatives": ["den", "lex"],
            "teachers": [{"stage": "lex", "loss": "rank"}],
        },
        "lex": {"family": "lexicon", "init": "base", "negatives": ["bm25"], "seed": 7, "learning_rate": 3e-5},
        "den": {"family": "dense", "init": "base", "negatives": ["bm25"], "epochs": 5, "resources": {"gpu": 4}},
        "ranker": {"family": "ranker", "init": "some/cross-encoder", "train": False, "rerank": {"system": "den"}},
    },
}


# Two systems as one teacher that scores all passages of a batch.
ENSEMBLE = {"stages": ["lex", "den"], "loss": "kl", "scale": 30, "candidates": "batch"}


def faults(config):
    with pytest.raises(InputError) as error:
        load_recipe(config)
    return [line.removeprefix("recipe: ") for line in str(error.value).splitlines()]


# --- the configs of this repository


@pytest.mark.parametrize("name", RECIPES)
def test_every_config_of_this_repository_is_a_recipe(name):
    recipe = load_recipe(RECIPES[name])
    assert list(recipe.stages) == list(RECIPES[name]["stages"])


# Batch size, negatives, learning rate and weight decay of every stage, as published.
PUBLISHED = {
    "den_warmup": (16, 7, 1e-5, 0.0, ["bm25_official"], "Luyu/co-condenser-marco"),
    "lex_warmup": (48, 5, 3e-5, 0.01, ["bm25_official"], "distilbert-base-uncased"),
    "den_continue": (16, 7, 5e-6, 0.0, ["den_warmup"], "den_warmup"),
    "lex_continue": (48, 5, 2e-5, 0.01, ["lex_warmup"], "lex_warmup"),
    "led": (16, 32, 5e-6, 0.0, ["den_warmup", "lex_warmup", "lex_continue"], "den_warmup"),
    "led_rt": (16, 32, 5e-6, 0.0, ["den_warmup", "lex_warmup", "lex_continue"], "den_warmup"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_recipe_has_the_published_hyperparameters(name):
    stage = load_recipe(PAPER).stages[name]
    assert PUBLISHED[name] == (
        stage.batch_size,
        stage.negatives_per_query,
        stage.learning_rate,
        stage.weight_decay,
        stage.negatives,
        stage.init,
    )
    assert (stage.epochs, stage.max_steps, stage.warmup_fraction, stage.clip_norm) == (3, None, 0.01, 1.0)
    assert (stage.query_length, stage.passage_length, stage.deduplicate) == (32, 128, False)
    assert stage.negatives_depth == (1000 if "bm25_official" in stage.negatives else 200)


def test_the_recipe_has_the_published_models_and_losses():
    stages = load_recipe(PAPER).stages
    assert set(PUBLISHED) | {"ranker"} == set(stages)
    for name in ("den_warmup", "den_continue", "led", "led_rt"):
        stage = stages[name]
        assert (stage.family, stage.pooling, stage.normalize, stage.temperature) == ("dense", "cls", False, 1.0)
        assert (stage.contrastive_weight, stage.dual_weight) == (1.0, 0.0)
    for name in ("lex_warmup", "lex_continue"):
        stage = stages[name]
        assert (stage.family, stage.keep_special_tokens, stage.quantisation) == ("lexicon", False, 100)
        assert (stage.flops_passages, stage.flops_queries) == (8e-4, 6e-4)
    rank, rank_rt, ranker = [teacher for name in ("led", "led_rt") for teacher in stages[name].teachers]
    assert (rank.stage, rank.loss, rank.weight, rank.with_positive) == ("lex_continue", "rank", 1.0, True)
    assert (rank_rt.stage, rank_rt.loss, rank_rt.weight, rank_rt.with_positive) == ("lex_continue", "rank", 1.2, False)
    assert (rank.margin, rank.min_confidence, rank_rt.margin, rank_rt.min_confidence) == (0, 0, 0, 0)
    assert (ranker.stage, ranker.loss, ranker.weight, ranker.temperature) == ("ranker", "kl", 1.5, 3.0)


def test_the_recipe_mines_and_validates_as_published():
    recipe = load_recipe(PAPER)
    assert (recipe.seed, recipe.mining.depth, recipe.mining.published_depth) == (42, 200, 1000)
    validation = recipe.validation
    assert (validation.split, validation.system, validation.queries, validation.depth) == ("dev", "bm25", 1000, 1000)
    assert validation.every == 10_000
    assert (recipe.evaluation.depth, recipe.dataset.titles) == (1000, "titles.tsv")
    assert [recipe.dataset.splits[s].relevant_from for s in ("dev", "dl2019", "dl2020")] == [1, 2, 2]


# --- mistakes


MISTAKES = [
    # keys
    ({"seeed": 1}, "seeed: no such key (did you mean seed?)"),
    (
        {"stages.led.teachers.0": {"stage": "lex", "loss": "margin_mse", "with_positive": False}},
        "stages.led.teachers[0].with_positive: margin_mse compares with the positive, so it cannot be left out",
    ),
    ({"dataset.shard": 2}, "dataset.shard: no such key (did you mean shards?)"),
    ({"defaults.epoch": 2}, "defaults.epoch: no such key in any family of stages (did you mean epochs?)"),
    ({"stages.led.learning_rat": 1}, "stages.led.learning_rat: no such key (did you mean learning_rate?)"),
    ({"stages.base.poolin": 1}, "stages.base.poolin: no such key; there are dropout, family, heads, hidden, "),
    ({"stages.led.teachers.0.wieght": 1}, "stages.led.teachers[0].wieght: no such key (did you mean weight?)"),
    ({"stages.ranker.rerank.dept": 1}, "stages.ranker.rerank.dept: no such key (did you mean depth?)"),
    ({"stages.den.resources.gpus": 1}, "stages.den.resources.gpus: no such key (did you mean gpu?)"),
    # names
    ({"stages.led.family": "dens"}, "stages.led.family: no family 'dens' (did you mean dense?); there are pretrain, "),
    ({"stages.led.family": ["dense"]}, "stages.led.family: no family '['dense']'"),
    ({"stages.led.teachers.0.loss": "rnak"}, "stages.led.teachers[0].loss: 'rnak' is not one of rank, kl, "),
    ({"stages.led.teachers.0.stage": "lexx"}, "stages.led.teachers[0].stage: no stage 'lexx' (did you mean lex?)"),
    ({"stages.led.teachers.0.stage": "base"}, "stages.led.teachers[0].stage: 'base' gives no scores, "),
    ({"stages.led.init": "denn"}, "stages.led.init: no stage 'denn' (did you mean den?)"),
    ({"stages.led.teachers.0": {"loss": "kl"}}, "stages.led.teachers[0].stage: name one stage here, or several under "),
    (
        {"stages.led.teachers.0": {"stage": "lex", "stages": ["lex", "den"], "loss": "kl"}},
        "stages.led.teachers[0].stage: name one stage here, or several under 'stages'",
    ),
    ({"stages.led.teachers.0": ENSEMBLE | {"stages": ["lex", "dne"]}}, "stages.led.teachers[0].stages[1]: no stage "),
    (
        {"stages.led.teachers.0": ENSEMBLE | {"weights": [1.0]}},
        "stages.led.teachers[0].weights: 1 weights for the 2 systems under 'stages'",
    ),
    (
        {"stages.led.teachers.0": ENSEMBLE | {"stages": ["lex", "ranker"]}},
        "stages.led.teachers[0].stages[1]: 'ranker' has no vectors to score all passages of a ",
    ),
    (
        {"stages.ranker": SMALL["stages"]["ranker"] | {"train": True, "negatives": ["den"], "teachers": [ENSEMBLE]}},
        "stages.ranker.teachers[0].candidates: a ranker scores a query's own passages alone, so take 'own'",
    ),
    ({"stages.led.teachers.0.loss": "none.py:f"}, "stages.led.teachers[0].loss: no file 'none.py' here ("),
    ({"stages.led.extra_loss": "none.py:f"}, "stages.led.extra_loss: no file 'none.py' here ("),
    ({"stages.led.extra_loss": "none.py"}, "stages.led.extra_loss: string should match pattern "),
    ({"stages.led.contrastive_candidates": "all"}, "stages.led.contrastive_candidates: 'all' is not one of batch, "),
    ({"stages.ranker.contrastive_candidates": "own"}, "stages.ranker.contrastive_candidates: no such key"),
    ({"stages.led.tokenizer": "bse"}, "stages.led.tokenizer: no stage 'bse' (did you mean base?)"),
    ({"tokenizer": "bse"}, "tokenizer: no stage 'bse' (did you mean base?)"),
    (
        {"stages.lex.negatives": ["bm52"]},
        "stages.lex.negatives[0]: no system to take negatives from 'bm52' (did you mean bm25?)",
    ),
    ({"stages.ranker.rerank.system": "dne"}, "stages.ranker.rerank.system: no system 'dne' (did you mean den?)"),
    ({"evaluation": {"splits": ["dve"]}}, "evaluation.splits: no split 'dve' (did you mean dev?)"),
    ({"evaluation": {"compare": [["led", "denn"]]}}, "evaluation.compare: no system 'denn' (did you mean den?)"),
    (
        {"evaluation": {"side_by_side": ["led", "denn"]}},
        "evaluation.side_by_side: no system 'denn' (did you mean den?)",
    ),
    ({"validation": {"split": "dve"}}, "validation.split: no split 'dve' (did you mean dev?)"),
    ({"validation": {"system": "bm52"}}, "validation.system: no system 'bm52' (did you mean bm25?)"),
    ({"stages.bm25": SMALL["stages"]["den"]}, "stages.bm25: this name is taken by BM25 itself, "),
    ({"stages.Den": SMALL["stages"]["den"]}, "stages.Den: differs from stages.den in capital letters alone, "),
    ({"stages.Qrels": SMALL["stages"]["den"]}, "stages.Qrels: differs from 'qrels', a reserved name in capital "),
    ({"dataset.splits.Dev": {}}, "dataset.splits.Dev: differs from dataset.splits.dev in capital letters alone, "),
    ({"dataset.splits.Passages": {}}, "dataset.splits.Passages: differs from 'passages', a reserved name in capital "),
    ({"dataset.scores": {"LED": "x.run"}}, "dataset.scores.LED: differs from stages.led in capital letters alone, "),
    ({"dataset.negatives": {"lex": "x.tsv"}}, "dataset.negatives.lex: this name is taken by a system of the recipe, "),
    ({"dataset.splits.passages": {}}, "dataset.splits.passages: this name is taken by the collection, "),
    ({"dataset.skip": ["empty"]}, "dataset.skip[0]: 'empty' is not one of empty_text, "),
    # types and bounds
    ({"stages.led.batch_size": "many"}, "stages.led.batch_size: input should be a valid integer, "),
    (
        {"stages.led.learning_rate": 0},
        "stages.led.learning_rate: expected a number that is above 0 and at most 1, got 0",
    ),
    ({"stages.led.teachers": {"stage": "lex"}}, "stages.led.teachers: input should be a valid list, got {'stage': "),
    ({"defaults.epochs": "two"}, "defaults.epochs: input should be a valid integer, "),
    ({"stages.led": None}, "stages.led: expected a mapping of keys to values, got nothing"),
    ({"stages": None}, "stages: expected a mapping of keys to values, got nothing"),
    ({"stages": ["led"]}, "stages: expected a mapping of keys to values, got ['led']"),
    ({"evaluation": None}, "evaluation: expected a mapping of keys to values, got nothing"),
    ({"dataset.splits.dev": None}, "dataset.splits.dev: expected a mapping of keys to values, got nothing"),
    ({"dataset.name": "a b"}, "dataset.name: string should match pattern "),
    # what does not fit together
    ({"dataset.folder": None}, "dataset.folder: source 'folder' needs the path of a folder"),
    ({"dataset.splits": {"dev": {}}}, "dataset.splits: the stages learn from a split 'train', and there is none"),
    ({"stages.lex.negatives": []}, "stages.lex.negatives: a stage that is trained needs at least one system "),
    (
        {"stages.den.batch_size": 30},
        "stages.den.batch_size: 30 queries cannot be split evenly over 4 processes (resources.train: nodes x gpu); "
        "nearest sizes: 28, 32",
    ),
    (
        {"stages.den.resources": {"nodes": 2, "gpu": 3}},
        "stages.den.batch_size: 16 queries cannot be split evenly over 6 processes (resources.train: nodes x gpu); "
        "nearest sizes: 12, 18",
    ),
    (
        {"stages.den.warmup_steps": 100, "stages.den.warmup_fraction": 0.1},
        "stages.den.warmup_steps: the warm-up has its length from here or from warmup_fraction, keep one of them",
    ),
    (
        {"stages.den.schedule": "constant", "stages.den.learning_rate_end": 0.1},
        "stages.den.learning_rate_end: with schedule: constant the learning rate does not fall; leave this key out",
    ),
    (
        {"stages.den.ramp_fraction": 0.5},
        "stages.den.ramp_fraction: no weight moves; set contrastive_weight_end, or weight_end of a teacher",
    ),
    (
        {"stages.den.negatives_depth_end": 20, "stages.den.epochs": 1},
        "stages.den.negatives_depth_end: the depth changes from epoch to epoch, and epochs is 1; raise it, or leave ",
    ),
    (
        {"stages.den.negatives_depth_end": 20, "stages.den.sampling": "window"},
        "stages.den.negatives_depth_end: with sampling: window all epochs share one list of negatives; take sampling: ",
    ),
    (
        {"stages.den.negatives_depth_end": 20, "stages.den.negatives": ["bm25", {"system": "bm25", "last": 5}]},
        "stages.den.negatives[1].last: the worst passages of a pool are in no smaller depth; take first or skip",
    ),
    (
        {"stages.den.split_temperature": 2},
        "stages.den.split_temperature: the split train is one set of queries; join several by union_of there",
    ),
    ({"stages.den.split_temperature": 0.5}, "stages.den.split_temperature: expected a number that is at least 1"),
    (
        {"dataset.splits": {"train": {"union_of": ["a", "bb"]}, "a": {}, "b": {}, "dev": {}}},
        "dataset.splits.train.union_of: no split of its own 'bb' (did you mean b?)",
    ),
    (
        {"dataset.splits": {"train": {"union_of": ["a", "a"]}, "a": {}, "dev": {}}},
        "dataset.splits.train.union_of: expected two splits or more, each once, got a, a",
    ),
    (
        {"dataset.splits": {"train": {"union_of": ["a", "dev"], "limit": 9}, "a": {}, "dev": {}}},
        "dataset.splits.train.limit: the queries are those of a, dev; set this key there",
    ),
    (
        {"dataset.splits.dev": {"union_of": ["train", "a"]}, "dataset.splits.a": {}},
        "dataset.splits.dev.union_of: only the split train, from which stages learn, joins others; remove this key",
    ),
    (
        {"dataset.splits": {"train": {"union_of": ["a", "b"]}, "a": {}, "b": {}, "dev": {"sample_of": "train"}}},
        "dataset.splits.dev.sample_of: no split with files of its own 'train'",
    ),
    (
        {"dataset.splits": {"train": {"union_of": ["a", "b"]}, "a": {}, "b": {"qrels": "none"}, "dev": {}}},
        "dataset.splits.b.qrels: 'none', but stages learn from this split (led, lex, den); name the file with its ",
    ),
    (
        {
            "stages.ranker": {"family": "ranker", "init": "base", "negatives": ["bm25"]} | {"ranking_loss": "margin"},
            "stages.ranker.label_smoothing": 0.1,
        },
        "stages.ranker.label_smoothing: ranking_loss: margin has no labels; take softmax or bce",
    ),
    ({"stages.den.schedule": "cosin"}, "stages.den.schedule: 'cosin' is not one of linear, cosine, constant"),
    ({"stages.den.adam_epsilon": 0}, "stages.den.adam_epsilon: expected a number that is above 0 and at most 1, got 0"),
    ({"stages.den.gradient_accumulation": 0}, "stages.den.gradient_accumulation: expected a number that is at least 1"),
    ({"stages.den.resources": {"nodes": 0}}, "stages.den.resources.nodes: expected a number that is at least 1, got 0"),
    (
        {"resources": {"encode": {"nodes": 2}}},
        "resources.encode.nodes: no such key; there are gpu, mem_mb, runtime_min, threads",
    ),
    ({"stages.den.passage_length": 600}, "stages.den.passage_length: 600 is more than dataset.max_tokens (512)"),
    ({"stages.den.passage_length": 129}, "stages.den: 129 tokens do not fit into the 128 positions of the model it "),
    ({"stages.led.query_length": 130}, "stages.led: 130 tokens do not fit into the 128 positions of the model it "),
    ({"stages.base.heads": 3}, "stages.base.heads: hidden size 128 cannot be split evenly over 3 heads"),
    ({"mining": {"depth": 301}}, "mining.depth: 301 is more than mining.hits (300), "),
    ({"evaluation": {"depth": 50}}, "stages.ranker.rerank.depth: 100 is more than evaluation.depth (50), "),
    ({"validation": {"system": "ranker"}}, "validation.depth: 1000 is more than stages.ranker.rerank.depth (100), "),
    ({"evaluation": {"splits": ["train"]}}, "evaluation.depth: 1000 is more than mining.hits (300), "),
    # what a stage's model is made of
    (
        {"stages.den.pooling": "men"},
        "stages.den.pooling: expected cls, mean, last, path/to/file.py:function, got ",
    ),
    ({"stages.den.encoder": "mine.Class"}, "stages.den.encoder: expected path/to/file.py:Class, got 'mine.Class'"),
    ({"stages.den.load_in": "8bit"}, "stages.den.load_in: weights in 8bit cannot be trained; add lora, "),
    (
        {"stages.den.load_in": "4bit", "stages.den.train": False},
        "stages.den.load_in: train: false keeps the model",
    ),
    ({"stages.den.lora": {"rnak": 4}}, "stages.den.lora.rnak: no such key (did you mean rank?)"),
    ({"stages.led.query_init": "den"}, "stages.led.query_init: queries have a separate encoder only with untied"),
    ({"stages.led.untied": True, "stages.led.query_init": "denn"}, "stages.led.query_init: no stage 'denn' (did you "),
    (
        {"stages.den.encoder": "a.py:B", "stages.den.head": 8},
        "stages.den.encoder: a user's encoder pools, projects ",
    ),
    (
        {"stages.den.encoder_decoder": "first_decoder_token", "stages.den.pooling": "mean"},
        "stages.den.pooling: first_decoder_token is one vector, so nothing is pooled",
    ),
    ({"stages.lex.idf": "collection"}, "stages.lex.idf: a table of weights is used only with query_encoder: idf"),
    (
        {"stages.lex.query_encoder": "idf"},
        "stages.lex.flops_queries: queries are not encoded by a model that could ",
    ),
    (
        {"stages.lex.query_encoder": "idf", "stages.lex.untied": True},
        "stages.lex.untied: queries cannot have both a separate encoder and query_encoder: idf",
    ),
    (
        {"stages.lex.query_encoder": "idf", "stages.lex.idf_learning_rate": 0.1},
        "stages.lex.idf_learning_rate: the table learns only with idf_trained: true",
    ),
    (
        {"stages.ranker.scoring": "true_false", "stages.ranker.template": "{passage} {query}"},
        "stages.ranker.template: expected {query} and then {passage} in it",
    ),
    ({"stages.lex.init": "led"}, "stages: led needs lex needs led: a stage cannot need itself, "),
    ({"stages.lex.negatives": ["lex"]}, "stages: lex needs lex: a stage cannot need itself, "),
    ({"validation": {"system": "led"}}, "stages: led needs "),
]


@pytest.mark.parametrize(("changes", "sentence"), MISTAKES)
def test_error_names_a_mistake(changes, sentence):
    sentences = faults(changed(SMALL, changes))
    assert any(line.startswith(sentence) for line in sentences), sentences
    assert len(sentences) == len(set(sentences)), "no sentence occurs twice"


@pytest.mark.parametrize("key", ["dataset", "stages", "dataset.name", "dataset.source", "dataset.splits"])
def test_error_names_a_missing_key(key):
    config = copy.deepcopy(SMALL)
    *path, last = key.split(".")
    del (config[path[0]] if path else config)[last]
    assert faults(config) == [f"{key}: this key is required"]


def test_a_stage_without_family_or_init_is_an_error():
    assert faults(changed(SMALL, {"stages.led": {}})) == [
        "stages.led.family: this key is required (pretrain, dense, lexicon or ranker)"
    ]
    assert faults(changed(SMALL, {"stages.led": {"family": "dense"}})) == ["stages.led.init: this key is required"]


@pytest.mark.parametrize("config", [None, [], "led", 3])
def test_a_config_that_is_not_a_mapping_is_an_error(config):
    assert faults(config) == [f"expected a mapping of keys to values, got {config!r}"]


def test_an_empty_config_lacks_its_two_required_keys():
    assert faults({}) == ["dataset: this key is required", "stages: this key is required"]


def test_every_fault_is_reported_at_once():
    config = changed(SMALL, {"seeed": 1, "stages.led.batch": 2, "stages.lex.seed": "x", "bm25": {"k1": 0}})
    assert len(faults(config)) == 4


def test_wrong_defaults_and_wrong_stage_keys_are_separate_faults():
    config = changed(SMALL, {"defaults.epochs": "two", "stages.den.epochs": "five"})
    assert [fault.split(":")[0] for fault in faults(config)] == ["defaults.epochs", "stages.den.epochs"]


def test_docstrings_make_two_splits_only():
    dataset = {"name": "demo", "source": "docstrings", "splits": {"train": {}, "dev": {}, "test": {}}}
    assert faults(SMALL | {"dataset": dataset}) == [
        "dataset.splits.test: source 'docstrings' has the splits train and dev only"
    ]


def test_error_names_both_lines_of_a_duplicate_key(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("seed: 1\nstages:\n  led: {init: a}\n  lex: [{x: 1, x: 2}]\n  led: {init: b}\nother: {led: 1}\n")
    assert sorted(repeated_keys(file)) == [
        f"{file}:4: stages.lex[0].x: duplicate key, already in line 4; rename or remove one",
        f"{file}:5: stages.led: duplicate key, already in line 3; rename or remove one",
    ]


@pytest.mark.parametrize("text", ["", "led\n", "a: &x {b: 1}\nc: {<<: *x, b: 2}\n"])
def test_a_key_that_overrides_a_merged_one_is_not_a_duplicate(tmp_path, text):
    file = tmp_path / "config.yaml"
    file.write_text(text)
    assert list(repeated_keys(file)) == []


# --- the graph of stages


def test_defaults_reach_the_families_that_have_them_and_a_stage_may_override_them():
    stages = load_recipe(SMALL).stages
    assert {name: stage.epochs for name, stage in stages.items() if name != "base"} == {
        "led": 2,
        "lex": 2,
        "den": 5,
        "ranker": 2,
    }
    assert stages["led"].pooling == "mean"  # the lexicon family has no such key


def test_a_stage_needs_its_init_tokenizer_negatives_and_teachers():
    recipe = load_recipe(changed(SMALL, {"stages.lex.tokenizer": "base"}))
    assert needs.parents(recipe, "base") == set()
    assert needs.parents(recipe, "lex") == {"base"}
    assert needs.parents(recipe, "den") == {"base"}
    assert needs.parents(recipe, "led") == {"base", "den", "lex"}
    assert needs.parents(recipe, "ranker") == {"base", "den"}  # what it re-ranks


def test_a_stage_needs_all_systems_of_its_teachers_by_scores_or_by_vectors():
    teachers = [ENSEMBLE | {"stages": ["ranker", "lex"], "candidates": "own"}, ENSEMBLE]
    recipe = load_recipe(changed(SMALL, {"stages.led.init": "base", "stages.led.teachers": teachers}))
    assert needs.parents(recipe, "led") == {"base", "den", "lex", "ranker"}
    assert needs.teachers(recipe, "led", in_batch=False) == ["ranker", "lex"]
    assert needs.teachers(recipe, "led", in_batch=True) == ["lex", "den"]


def test_a_user_loss_is_a_setting_like_any_other(tmp_path):
    (tmp_path / "own.py").write_text("def f(student, teacher): ...\n")
    teachers = [{"stage": "lex", "loss": f"{tmp_path}/own.py:f"}]
    recipe = load_recipe(changed(SMALL, {"stages.led.teachers": teachers}))
    (teacher,) = recipe.settings("train", "led")["teachers"]
    assert teacher["loss"] == f"{tmp_path}/own.py:f"


def test_a_stage_may_give_its_warmup_in_steps_where_the_defaults_have_a_share():
    config = changed(SMALL, {"defaults.warmup_fraction": 0.1, "stages.den.warmup_steps": 500})
    recipe = load_recipe(config)
    assert (recipe.stages["den"].warmup_steps, recipe.stages["lex"].warmup_fraction) == (500, 0.1)
    assert recipe.settings("train", "den")["warmup_steps"] == 500
    assert "warmup_steps" not in recipe.settings("train", "lex")
    again = load_recipe(recipe.model_dump(mode="json", exclude={"defaults"}))
    assert again.stages == recipe.stages


def test_the_defaults_of_every_objective_are_those_of_led():
    stages = load_recipe(SMALL).stages
    lex, (teacher,) = stages["lex"], stages["led"].teachers
    assert (lex.temperature, lex.activation, lex.regulariser_warmup, lex.flops_threshold) == (1.0, "log1p", 0, None)
    assert (lex.l1_passages, lex.l1_queries, lex.anti_zero, lex.flops_grouped) == (0, 0, 0, False)
    assert {stages[name].contrastive_candidates for name in ("led", "lex", "den")} == {"batch"}
    assert {stages[name].extra_loss for name in ("led", "lex", "den", "ranker")} == {None}
    assert (teacher.systems, teacher.candidates, teacher.normalize, teacher.scale) == (["lex"], "own", False, 1.0)


def test_a_stage_that_is_not_trained_needs_no_negatives_and_no_teachers():
    recipe = load_recipe(changed(SMALL, {"stages.led.train": False}))
    assert needs.parents(recipe, "led") == {"base", "den"}


def test_validation_needs_the_system_that_it_re_ranks():
    validated = changed(SMALL, {"validation": {"system": "den"}, "stages.den.validation": False})
    recipe = load_recipe(validated)
    assert {name: recipe.validates(name) for name in recipe.stages} == {
        "base": False,
        "led": True,
        "lex": True,
        "den": False,
        "ranker": False,
    }
    assert needs.parents(recipe, "lex") == {"base", "den"}


def test_stages_come_after_those_they_need_and_otherwise_as_listed():
    recipe = load_recipe(SMALL)
    assert needs.order(recipe) == ["base", "lex", "den", "led", "ranker"]
    assert needs.systems(recipe) == ["bm25", "lex", "den", "led", "ranker"]
    assert recipe.retrievers == ["led", "lex", "den"]
    assert recipe.names("pretrain", "ranker") == ["base", "ranker"]


def test_a_step_gets_exactly_the_settings_it_reads():
    recipe = load_recipe(SMALL)
    assert recipe.settings("trainset", "lex") == {
        "negatives": ["bm25"],
        "negatives_per_query": 7,
        "negatives_depth": 200,
        "positive_from": 1,
        "positives_per_epoch": "all",
        "more_positives": None,
        "sampling": "random",
        "only_scored": False,
        "deduplicate": False,
        "epochs": 2,
        "max_steps": None,
        "batch_size": 16,
        "seed": 7,
    }
    training = recipe.settings("train", "lex")
    assert training["learning_rate"] == 3e-5
    assert "pooling" not in training and "quantisation" not in training and "negatives" not in training
    assert recipe.settings("train", "led")["seed"] == 42, "the recipe's seed unless a stage has its own"
    assert recipe.settings("pretrain", "base")["vocabulary"] == 8192


def test_a_key_belongs_to_one_group_of_settings():
    for family in FAMILIES.values():
        groups = [base for base in family.__mro__ if base in steps.GROUPS]
        keys = [key for group in groups for key in {k for b in family.__mro__ if issubclass(b, group) and
                b.__module__ == settings.__name__ for k in vars(b).get("__annotations__", {})}]  # fmt: skip
        assert len(keys) == len(set(keys)) and set(keys) <= family.model_fields.keys()


def test_every_step_reads_the_same_settings_as_before(request):
    """Snakemake compares these texts: any change re-runs a step in everybody's results."""
    read = {
        f"{name}: {stage}, {step}": fingerprint(recipe.settings(step, stage))
        for name, recipe in ((name, load_recipe(config)) for name, config in sorted(RECIPES.items()))
        for stage in recipe.stages
        for step in steps.STEPS
        if recipe.settings(step, stage)
    }
    if request.config.getoption("--renew-golden"):
        write_json(READ, read)
    assert read == read_json(READ), "if that is meant: python -m pytest tests/unit/recipe --renew-golden"


def test_a_stage_asks_for_its_own_resources_in_training_alone():
    recipe = load_recipe(SMALL | {"resources": {"train": {"gpu": 2}, "encode": {"gpu": 1}}})
    assert [recipe.processes(name) for name in ("led", "den")] == [2, 4]
    assert recipe.job("encode", "den").gpu == 1
    assert recipe.job("cpu").gpu == 0
    assert load_recipe(SMALL | {"resources": {"train": {"gpu": 2, "nodes": 4}}}).processes("led") == 8


def test_without_a_gpu_there_is_one_process():
    assert load_recipe(SMALL).processes("led") == 1


def test_a_stage_has_the_recipes_tokenizer_unless_it_names_one():
    recipe = load_recipe(changed(SMALL, {"stages.lex.tokenizer": "some/other", "stages.lex.reinterpret": True}))
    assert [recipe.tokenizer_of(name) for name in ("den", "lex", "base")] == ["base", "some/other", "base"]


def test_the_recipe_imports_no_torch():
    code = "import sys, led_pipeline.recipe.load, led_pipeline.versions; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"


# --- score files

SCORED = {
    "dataset.scores": {"cross": "cross.pkl.gz", "margins": {"file": "m.jsonl", "scale": 2}},
    "stages.lex.negatives": ["bm25", "cross"],
    "stages.led.teachers": [{"stage": "margins", "loss": "margin_mse"}, {"stage": "qrels", "loss": "kl"}],
}


def test_a_score_file_is_a_system_and_a_teacher_and_so_are_the_grades():
    recipe = load_recipe(changed(SMALL, SCORED))
    assert recipe.dataset.scores["cross"].model_dump() == {"file": "cross.pkl.gz", "scale": 1.0, "offset": 0.0}
    assert needs.systems(recipe) == ["bm25", "lex", "den", "led", "ranker"], (
        "it ranks no other split, so it is not evaluated"
    )
    again = load_recipe(recipe.model_dump(mode="json", exclude={"defaults"}))
    assert (again.dataset, again.stages) == (recipe.dataset, recipe.stages)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"dataset.scores": {"lex": "x.json"}}, "dataset.scores.lex: this name is taken by a system of the recipe"),
        ({"dataset.scores": {"qrels": "x.json"}}, "dataset.scores.qrels: this name is taken"),
        ({"dataset.scores": {"labels": "x.json"}}, "dataset.scores.labels: this name is taken"),
        ({"dataset.scores": {"a": {"fil": "x"}}}, "dataset.scores.a.fil: no such key (did you mean file?)"),
        ({"stages.lex.negatives": ["cros"]}, "stages.lex.negatives[0]: no system to take negatives from 'cros' (did"),
        ({"stages.lex.negatives": ["qrel"]}, "stages.lex.negatives[0]: no system to take negatives from 'qrel' (did"),
        ({"stages.lex.positive_from": "best"}, "stages.lex.positive_from: expected a grade of at least 1, or highest"),
    ],
)
def test_error_names_a_mistake_about_scores(changes, sentence):
    with pytest.raises(InputError) as error:
        load_recipe(changed(SMALL, SCORED | changes))
    assert sentence in str(error.value)


# --- splits out of others


def test_a_split_may_be_a_sample_of_another_ones_queries():
    splits = {"train": {"qrels": "t.tsv"}, "dev": {"sample_of": "train", "limit": 50}}
    splits |= {"test": {"sample_of": "train", "limit": 7, "relevant_from": 2}, "other": {}}
    dataset = load_recipe(changed(SMALL, {"dataset.splits": splits})).dataset
    assert [dataset.qrels_of(split) for split in splits] == [["t.tsv"], ["t.tsv"], ["t.tsv"], ["qrels.other.tsv"]]
    assert [dataset.held_out(split) for split in splits] == [57, 0, 50, 0]


@pytest.mark.parametrize(
    ("dev", "sentence"),
    [
        ({"sample_of": "trai", "limit": 5}, "dataset.splits.dev.sample_of: no split with files of its own 'trai' (did"),
        ({"sample_of": "dev", "limit": 5}, "dataset.splits.dev.sample_of: no split with files of its own 'dev'"),
        ({"sample_of": "train"}, "dataset.splits.dev.limit: a sample of 'train' needs its number of queries"),
        ({"sample_of": "train", "limit": 5, "qrels": "x"}, "dataset.splits.dev.qrels: the files are those of 'train'"),
    ],
)
def test_error_names_a_mistake_about_a_sampled_split(dev, sentence):
    assert any(fault.startswith(sentence) for fault in faults(changed(SMALL, {"dataset.splits.dev": dev})))


# --- splits without judgements

UNJUDGED = {"dataset.splits.new": {"qrels": "none"}, "dataset.splits.late": {"sample_of": "new", "limit": 9}}


def test_a_split_has_no_judgements_only_if_the_recipe_says_so():
    dataset = load_recipe(changed(SMALL, UNJUDGED | {"evaluation": {"splits": ["new", "late", "dev"]}})).dataset
    names = {"train": ["qrels.train.tsv"], "dev": ["qrels.dev.tsv"], "new": [], "late": []}
    assert {split: dataset.qrels_of(split) for split in dataset.splits} == names
    assert dataset.judged(dataset.splits) == ["train", "dev"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"dataset.splits.train": {"qrels": "none"}},
            "dataset.splits.train.qrels: 'none', but stages learn from this split (led, lex, den); name the file",
        ),
        (
            {"validation": {"split": "late"}},
            "validation.split: 'late' has no judgements (dataset.splits.new.qrels: none) to measure a model with;",
        ),
        (
            {"evaluation": {"splits": ["new"], "compare": [["led", "den"]]}},
            "evaluation.compare: no split of evaluation.splits has judgements (new) to compare systems with;",
        ),
        (
            {"evaluation": {"splits": ["new", "late"], "side_by_side": ["led", "den"]}},
            "evaluation.side_by_side: no split of evaluation.splits has judgements (new, late) to choose examples by;",
        ),
    ],
)
def test_error_names_the_key_that_asks_for_judgements_that_do_not_exist(changes, sentence):
    assert [fault[: len(sentence)] for fault in faults(changed(SMALL, UNJUDGED | changes))] == [sentence]


# --- sources of negatives and positives


def test_negatives_may_select_passages_of_a_system():
    sources = ["bm25", {"system": "den", "min_score": 0.5, "skip": 10, "random": 30}, {"system": "den", "last": 5}]
    recipe = load_recipe(changed(SMALL, {"stages.led.negatives": sources}))
    assert recipe.stages["led"].negative_systems == ["bm25", "den", "den"]
    assert needs.parents(recipe, "led") == {"base", "den", "lex"}
    settings = recipe.settings("trainset", "led")["negatives"]
    assert settings[0] == "bm25" and settings[1]["random"] == 30 and settings[2]["random"] is None


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ({"system": "den", "frist": 3}, "stages.led.negatives[0].frist: no such key (did you mean first?)"),
        ({"first": 3}, "stages.led.negatives[0].system: this key is required"),
        ({"system": "den", "first": 3, "last": 2}, "stages.led.negatives[0]: first, last and random exclude one"),
        ({"system": "deen"}, "stages.led.negatives[0]: no system to take negatives from 'deen' (did you mean den?)"),
        ("a b", "stages.led.negatives[0]: string should match pattern"),
    ],
)
def test_error_names_a_mistake_about_negatives(source, sentence):
    (fault,) = faults(changed(SMALL, {"stages.led.negatives": [source]}))
    assert fault.startswith(sentence)


def test_further_positives_need_a_score_file():
    more = {"stages.led.more_positives": {"scores": "cros", "min_score": 1}, "dataset.scores": {"cross": "c.json"}}
    (fault,) = faults(changed(SMALL, more))
    assert fault == "stages.led.more_positives.scores: no file 'cros' (did you mean cross?)"


def test_key_names_of_the_previous_version_work_with_a_note(capsys):
    negatives = ["bm25", "labels", {"system": "labels", "max_score": 3}]
    teachers = [{"stage": "labels", "loss": "kl"}, {"stages": ["lex", "labels"], "loss": "kl"}]
    old = {"validation": {"system": "judged"}, "stages.led.negatives": negatives, "stages.led.teachers": teachers}
    old |= {"defaults.negatives": ["labels"]}
    new = json.loads(json.dumps(old).replace('"labels"', '"qrels"').replace('"judged"', '"qrels"'))
    recipe = load_recipe(changed(SMALL, new))
    assert capsys.readouterr().err == ""
    assert load_recipe(changed(SMALL, old), quiet=True) == recipe
    assert capsys.readouterr().err == ""
    assert load_recipe(changed(SMALL, old)) == recipe
    places = {"validation.system": "judged", "stages.led.negatives[1]": "labels", "defaults.negatives[0]": "labels"}
    places |= {
        f"stages.led.{key}": "labels" for key in ("negatives[2].system", "teachers[0].stage", "teachers[1].stages[1]")
    }
    note = "recipe: {}: '{}' is called 'qrels' now; the next version knows the new word only"
    assert sorted(capsys.readouterr().err.splitlines()) == sorted(note.format(*place) for place in places.items())


def test_an_old_word_is_replaced_only_where_it_names_the_judgements(capsys):
    names = {"dataset.name": "labels", "dataset.splits.judged": {}, "dataset.negatives": {"x": "labels"}}
    dataset = load_recipe(changed(SMALL, names)).dataset
    assert (dataset.name, dataset.negatives) == ("labels", {"x": "labels"}) and "judged" in dataset.splits
    assert capsys.readouterr().err == ""


def test_a_validation_may_rank_judged_passages_and_needs_no_search():
    judged = {"validation.system": "qrels", "validation.measure": "nDCG@20"}
    recipe = load_recipe(changed(RECIPES["config.yaml"], judged))
    assert recipe.validates("led")
    assert not recipe.validates_by_search("led")
    with pytest.raises(InputError, match=r"validation\.measure: .*'recall'"):
        load_recipe(changed(RECIPES["config.yaml"], {"validation.measure": "recall"}))
    for name in ("qrels", "judged", "labels"):
        with pytest.raises(InputError, match=rf"stages\.{name}: this name is taken by the judgements"):
            load_recipe(changed(RECIPES["config.yaml"], {f"stages.{name}": RECIPES["config.yaml"]["stages"]["led"]}))


def test_opensearch_bounds_what_a_search_returns():
    node = {"search": {"backend": "opensearch"}}
    assert load_recipe(changed(RECIPES["config.yaml"], node)).search.backend == "opensearch"
    with pytest.raises(InputError, match=r"evaluation\.depth: 20000 is more than OpenSearch returns"):
        load_recipe(changed(RECIPES["config.yaml"], node | {"evaluation.depth": 20_000}))


def test_a_model_keeps_how_passages_without_a_title_are_read():
    for changes, expected in ({}, "text"), ({"defaults.untitled": "empty_title"}, "empty_title"):
        recipe = load_recipe(changed(PAPER, changes))
        assert recipe.settings("train", "led")["untitled"] == expected
        assert recipe.settings("import", "ranker")["untitled"] == expected


def test_user_code_of_a_finished_stage_may_be_missing(tmp_path):
    config = changed(SMALL, {"stages.led.extra_loss": str(tmp_path / "gone.py:f")})
    (sentence,) = faults(config)
    assert "stages.led.extra_loss: no file" in sentence
    (tmp_path / "models" / "led").mkdir(parents=True)
    assert trained_in(tmp_path) == {"led"} and trained_in(tmp_path / "nowhere") == set()
    load_recipe(config, trained=lambda dataset: trained_in(tmp_path) if dataset == "own" else ())
    with pytest.raises(InputError, match=r"stages\.den\.extra_loss"):
        other = changed(SMALL, {"stages.den.extra_loss": str(tmp_path / "gone.py:f")})
        load_recipe(other, trained=lambda _: trained_in(tmp_path))


def test_sizes_of_matryoshka_are_parts_of_the_vectors():
    demo = RECIPES["demo.yaml"]  # 128 dimensions, from its stage pretrain
    assert load_recipe(changed(demo, {"stages.led.matryoshka": [32, 64]})).settings("train", "led")["matryoshka"]
    assert "matryoshka" not in load_recipe(demo).settings("train", "led"), "finished trainings stay"
    for changes, sentence in (
        (
            {"stages.led.matryoshka": [32, 128]},
            r"led\.matryoshka: 128 is no part of a vector with 128 dimensions",
        ),
        (
            {"stages.led.head": 64, "stages.led.matryoshka": [64]},
            r"led\.matryoshka: 64 is no part .* 64 dimens",
        ),
        ({"stages.led.matryoshka": [64, 32]}, r"stages\.led\.matryoshka: expected sizes in ascending order, each once"),
        ({"stages.led.matryoshka": [32, 32]}, r"expected sizes in ascending order, each once, got \[32, 32\]"),
        ({"stages.lex_warmup.matryoshka": [32]}, r"stages\.lex_warmup\.matryoshka: no such key"),
    ):
        with pytest.raises(InputError, match=sentence):
            load_recipe(changed(demo, changes))


# --- lists of files, columns, ids


def test_a_list_may_replace_the_name_of_a_file():
    splits = {"train": {"queries": ["a.tsv", "b.csv"], "qrels": ["r.json"]}, "dev": {"sample_of": "train", "limit": 5}}
    dataset = load_recipe(changed(SMALL, {"dataset.collection": ["x.tsv", "y"], "dataset.splits": splits})).dataset
    assert dataset.collection_files == ["x.tsv", "y"]
    assert dataset.queries_of("dev") == dataset.queries_of("train") == ["a.tsv", "b.csv"]
    assert dataset.qrels_of("dev") == ["r.json"]


def test_the_collection_of_examples_is_the_files_of_all_splits():
    splits = {"train": {"queries": ["a.jsonl", "b.jsonl"]}, "test": {}, "dev": {"sample_of": "train", "limit": 5}}
    changes = {"dataset.source": "folder", "dataset.folder": "x", "dataset.format": "examples"}
    dataset = load_recipe(changed(SMALL, changes | {"dataset.splits": splits})).dataset
    assert dataset.collection_files == ["a.jsonl", "b.jsonl", "test.jsonl"]
    assert dataset.qrels_of("dev") == ["a.jsonl", "b.jsonl"] and dataset.qrels_of("test") == ["test.jsonl"]


def test_ids_are_held_out_once():
    splits = {"train": {}, "dev": {"sample_of": "train", "ids": "d"}, "test": {"sample_of": "train", "limit": 7}}
    dataset = load_recipe(changed(SMALL, {"dataset.splits": splits | {"few": {"ids": "f"}}})).dataset
    assert {split: dataset.ids_without(split) for split in dataset.splits} == {
        "train": ["d"], "dev": [], "test": ["d"], "few": []
    }  # fmt: skip
    assert {split: dataset.held_out(split) for split in dataset.splits} == {"train": 7, "dev": 0, "test": 0, "few": 0}


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("dataset.collection", [], "dataset.collection: value error, expected the name of a file, or a list of names"),
        ("dataset.collection", ["a", 3], "dataset.collection: value error, expected the name of a file, or a list"),
        ("dataset.collection", ["a", "a"], "dataset.collection: value error, the file 'a' comes twice in the list"),
        (
            "dataset.splits.train.qrels",
            {"a": 1},
            "dataset.splits.train.qrels: value error, expected the name of a file",
        ),
        ("dataset.columns", {"passages": ["id"]}, "dataset.columns.passages: no such key (did you mean passage?)"),
        ("dataset.columns", {"passage": "id"}, "dataset.columns.passage: value error, expected a list of names"),
        (
            "dataset.columns",
            {"passage": ["nr", "text"]},
            "dataset.columns.passage: value error, none of the columns is",
        ),
        ("dataset.columns", {"passage": ["id", "id"]}, "dataset.columns.passage: value error, a name comes twice"),
        ("dataset.columns", {"query": {"qid": "x"}}, "dataset.columns.query: value error, no column 'qid' of ours"),
        (
            "dataset.splits.dev",
            {"sample_of": "train"},
            "dataset.splits.dev.limit: a sample of 'train' needs its number",
        ),
    ],
)
def test_error_names_a_mistake_about_files_and_columns(key, value, sentence):
    assert any(fault.startswith(sentence) for fault in faults(changed(SMALL, {key: value})))
