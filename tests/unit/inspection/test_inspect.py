"""What `led inspect` says about results, trainsets, pools and models."""

import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
from typer.testing import CliRunner

from led_pipeline.cli import app
from led_pipeline.data.examples import Trainset
from led_pipeline.data.tables import read_column, read_ranking
from led_pipeline.files.atomic import write_json
from led_pipeline.files.errors import InputError
from led_pipeline.inspection.overview import overview, parts_of
from led_pipeline.inspection.overview_text import freshness_text, overview_text
from led_pipeline.inspection.runs import Run, open_run
from led_pipeline.inspection.trainset_view import examples_of, trainset_overview, windows
from led_pipeline.inspection.workflow import Freshness, Job, jobs_of
from led_pipeline.recipe.stages import MaskedLm


def led(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def as_json(*arguments: object):
    answer = led(*arguments, "--json")
    assert answer.exit_code == 0, answer.output + str(answer.exception)
    return json.loads(answer.output)


@pytest.fixture
def copy(run, tmp_path):
    """Return a copy of the run that a test may change."""
    shutil.copytree(run.folder, tmp_path / "results" / "small")
    return open_run(tmp_path / "results" / "small")


# --- the overview


def test_the_steps_of_a_masked_language_model_are_counted_from_the_passages(copy):
    bow = MaskedLm(family="masked_lm", init="pretrain", batch_size=8)
    recipe = copy.recipe.model_copy(update={"stages": copy.recipe.stages | {"bow": bow}})
    (copy.folder / "checkpoints" / "bow").mkdir(parents=True)
    write_json(copy.folder / "checkpoints" / "bow" / "progress.json", {"step": 4})
    # 60 passages in batches of 8, three epochs.
    assert parts_of(Run(copy.folder, recipe))["bow"]["model"].remark == "checkpoint at step 4 of 24"


def test_the_overview_counts_what_the_recipe_needs(copy):
    (copy.folder / "checkpoints" / "led").mkdir(parents=True)
    write_json(copy.folder / "checkpoints" / "led" / "progress.json", {"step": 4})
    (copy.folder / "models" / "lex").mkdir(parents=True)
    (copy.folder / "models" / "lex" / "modules.json").write_text("[]")
    write_json(
        copy.folder / "models" / "lex" / "config_sentence_transformers.json", {"led": {"reasons": ["of a word"]}}
    )
    (copy.folder / "models" / "pretrain").mkdir()
    result = overview(copy, check=False)
    parts = result["parts"]
    assert (parts["bm25"]["rankings"]["present"], parts["bm25"]["rankings"]["expected"]) == (2, 2)
    # Nothing draws from led, so only its dev ranking and no pool is needed.
    assert parts["led"]["rankings"]["expected"] == 1 and "pool" not in parts["led"]
    assert parts["lex"]["vectors"] == {"present": 0, "expected": 3, "remark": ""}  # passages, dev, train
    # 12 training pairs in batches of 4, two epochs.
    assert parts["led"]["model"]["remark"] == "checkpoint at step 4 of 6"
    assert parts["bm25"]["index"]["present"] == 0 and "index" not in parts["led"]
    assert result["counts"] == {"passages": 60, "train": 12, "dev": 20}
    assert result["sentence_transformers"] == {"lex": "yes, with trust_remote_code=True: of a word"}
    text = overview_text(result)
    assert "checkpoint at step 4 of 6" in text and "up to date? Not checked" in text


def test_a_training_without_a_checkpoint_says_how_far_its_log_is(copy):
    (copy.folder / "checkpoints" / "led").mkdir(parents=True)
    (copy.folder / "checkpoints" / "led" / "train.jsonl").write_text('{"step": 1, "loss": 2}\n{"step": 3, "loss": 1}\n')
    remark = overview(copy, check=False)["parts"]["led"]["model"]["remark"]
    assert remark == "no checkpoint yet, step 3 of 6 logged"


def test_the_sizes_are_those_of_the_files(copy):
    result = overview(copy, check=False)
    files = [path for path in copy.folder.rglob("*") if path.is_file()]
    assert result["total_bytes"] == sum(path.stat().st_size for path in files)
    runs = sum(path.stat().st_size for path in (copy.folder / "runs").iterdir())
    assert result["bytes"]["runs"] == runs and f"{runs / 1e3:,.0f} kB" in overview_text(result)


def test_freshness_is_not_claimed_without_a_check(copy):
    # Results without Snakemake's records, and a copy outside results/NAME.
    assert ".snakemake" in overview(copy)["freshness"]["unchecked"]
    assert "up to date: " not in overview_text(overview(copy))
    elsewhere = copy.folder.rename(copy.folder.with_name("other"))
    assert "a copy cannot be checked" in overview(open_run(elsewhere))["freshness"]["unchecked"]


DRY_RUN = """
localrule resolved_recipe:
    output: results/x/report/recipe.json
    jobid: 9
    reason: Params have changed since last execution: before: 1; now: 2

rule train:
    input: results/x/models/a
    output: results/x/models/led
    reason: Missing output files: results/x/models/led; Input files updated by another job: results/x/models/a

rule measure:
    output: results/x/eval/led.dev.json, results/x/preflight.json (update)
    reason: Input files updated by another job: results/x/models/led

rule led_final:
    input: results/x/report/index.html
    reason: Input files updated by another job: results/x/report/index.html
"""


def test_the_jobs_of_a_dry_run_are_read():
    jobs = jobs_of(DRY_RUN)
    assert [job.rule for job in jobs] == ["resolved_recipe", "train", "measure", "led_final"]
    assert jobs[2].outputs == ["results/x/eval/led.dev.json", "results/x/preflight.json"] and not jobs[3].outputs
    assert jobs[0].reason == "Params have changed since last execution: before: 1; now: 2"


def test_stale_missing_and_following_jobs_are_told_apart():
    job = Job("train", ["a"], "Params have changed")
    assert "up to date: Snakemake would run no job" in freshness_text(Freshness("c.yaml"))
    assert "up to date" not in freshness_text(Freshness("c.yaml"), complete=False)
    text = freshness_text(Freshness("c.yaml", None, [job], [job, job], [job]))
    assert "again (1 job):\n  train: a (Params have changed)" in text and "not made yet (2 jobs)" in text
    assert "1 job that follow" in text.replace("jobs", "job") and "Compared with c.yaml" in text


# --- a trainset


def test_the_examples_of_a_query_have_their_passages_pools_and_scores(run):
    query, examples = examples_of(run, "led", "train7")
    assert (query.row, query.text) == (7, "question train7") and [e.epoch for e in examples] == [1, 2]
    drawn = Trainset.read(run.layout.trainset("led"))
    ids = read_column(run.layout.passages, "id")
    pools = {name: next(iter(read_ranking(run.layout.pool(name), 7, 8)))[1].tolist() for name in ("bm25", "lex")}
    for example in examples:
        rows = drawn.passages[example.row].tolist()
        assert drawn.query[example.row] == 7
        assert [c.passage.pid for c in example.candidates] == [ids[row] for row in rows]
        assert [c.passage.text for c in example.candidates] == [f"text of {row}" for row in rows]
        assert [c.scores for c in example.candidates] == [{"lex": float(row)} for row in rows]
        assert example.candidates[0].positive and example.candidates[0].passage.pid == "p7"
        for row, candidate in list(zip(rows, example.candidates, strict=True))[1:]:
            assert candidate.pools == {name: pool.index(row) + 1 for name, pool in pools.items() if row in pool}
            assert candidate.pools and not candidate.positive


def test_a_query_is_named_by_id_or_by_row(run):
    assert examples_of(run, "led", "3")[0].qid == "train3"
    with pytest.raises(InputError, match="no query with this id, and no row of this number; its 12 queries"):
        examples_of(run, "led", "12")
    with pytest.raises(InputError, match=r"no trained stage 'pretrain'"):
        examples_of(run, "pretrain", "1")


def test_the_overview_of_a_trainset_agrees_with_counts_by_hand(run):
    result = trainset_overview(run, "led")
    drawn = Trainset.read(run.layout.trainset("led"))
    rows = np.stack([drawn.passages[i] for i in range(len(drawn.query))])
    assert (result["examples"], result["epochs"], result["queries"]) == (24, 2, 12)
    assert result["distinct_negatives"] == len(set(rows[:, 1:].ravel().tolist()))
    assert result["examples_with_a_negative_twice"] == sum(len(set(row[1:])) < 3 for row in rows.tolist())
    best = rows[:, 1:].max(axis=1)  # the teacher's score is the row number
    assert result["teachers"]["lex"]["positive_first"] == pytest.approx((rows[:, 0] >= best).mean())
    assert result["teachers"]["lex"]["gap_median"] == pytest.approx(np.median(rows[:, 0] - best))
    pools = {name: {q: set(p.tolist()) for q, p, _ in read_ranking(run.layout.pool(name))} for name in ("bm25", "lex")}
    pairs = [(q, row) for q, passages in zip(drawn.query.tolist(), rows.tolist(), strict=True) for row in passages[1:]]
    for name, pool in pools.items():
        assert result["sources"][name] == pytest.approx(np.mean([row in pool[q] for q, row in pairs]))
    assert result["sources"]["none"] == 0


def test_negatives_of_a_replaced_pool_are_in_no_pool(copy):
    shutil.copy(copy.layout.pool("led"), copy.layout.pool("bm25"))
    shutil.copy(copy.layout.pool("led"), copy.layout.pool("lex"))
    assert trainset_overview(copy, "led")["sources"]["none"] > 0.3
    assert (
        "in no pool any more" in led("inspect", "trainset", "led", "--query", "train1", "--results", copy.folder).output
    )


def test_large_trainsets_are_sampled_in_a_few_ranges_of_queries():
    assert windows(500, np.random.default_rng(0)) == [(0, 500)]
    ranges = windows(1_000_000, np.random.default_rng(0))
    assert len(ranges) == 8 and sum(stop - start for start, stop in ranges) == 2_000
    assert all(a[1] <= b[0] for a, b in pairwise(ranges))


# --- a pool, a model, and the commands


def test_a_pool_shows_its_counts_and_the_passages_of_a_query(run):
    result = as_json("inspect", "pool", "lex", "--results", run.folder)
    pool = read_ranking(run.layout.pool("lex"))
    assert (result["queries"], result["passages"]) == (len(pool), len(pool.passages.values))
    assert result["passages_per_query"]["most"] == pool.passages.lengths.max()
    of_query = as_json("inspect", "pool", "lex", "--query", "train5", "--passages", "3", "--results", run.folder)
    _, rows, scores = next(iter(read_ranking(run.layout.pool("lex"), 5, 6)))
    assert [entry["pid"] for entry in of_query["passages"]] == [f"p{row}" for row in rows[:3]]
    assert [entry["score"] for entry in of_query["passages"]] == pytest.approx(scores[:3].tolist())
    text = led("inspect", "pool", "lex", "--results", run.folder).output
    assert "of 12 training queries" in text and "question train0" in text


def test_a_model_shows_what_its_folder_records(copy):
    folder = copy.folder / "models" / "led"
    folder.mkdir(parents=True)
    write_json(folder / "config.json", {"model_type": "bert", "hidden_size": 16, "other": 1})
    write_json(folder / "led.json", {"family": "dense", "query_length": 24})
    write_json(folder / "weights.json", {"source": "some/model", "new": ["pooler.bias"], "unused": []})
    lines = ['{"step": 6, "loss": 0.5}', '{"step": 6, "validation": {"MRR@10": 0.25}}']
    lines.append('{"step": 6, "finished": true, "steps": 6, "best_step": null, "seconds": 2.0}')
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    text = led("inspect", "model", "led", "--results", copy.folder).output
    for expected in ("query_length: 24", "weights from some/model", "began at random: pooler.bias", "6 steps in 2 s",
                     "last loss: 0.500", "best MRR@10: 0.250", "hidden_size: 16"):  # fmt: skip
        assert expected in text
    result = as_json("inspect", "model", "led", "--results", copy.folder)
    assert result["training"]["steps"] == 6 and result["sentence_transformers"].startswith("no")


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (["trainset", "ledd"], "no trained stage 'ledd' (did you mean led?)"),
        (["trainset", "lex"], "trainsets/lex/trainset.arrow: no such file"),
        (["pool", "none"], "no such pool; there are bm25, led, lex"),
        (["pool", "lex", "--query", "x"], "--query x: the split 'train' has no query with this id"),
        (["model", "led"], "models/led: there is no model"),
    ],
)
def test_mistakes_are_named(run, arguments, fault):
    answer = led("inspect", *arguments, "--results", run.folder)
    assert isinstance(answer.exception, InputError) and fault in str(answer.exception)


def test_a_folder_in_place_of_a_command_is_a_results_folder(run, tmp_path, monkeypatch):
    assert as_json("inspect", run.folder, "--no-check")["dataset"] == "small"
    assert "expected the results of a run, but it has no report/recipe.json" in str(led("inspect", tmp_path).exception)
    monkeypatch.chdir(run.folder.parent.parent)
    shutil.copytree(run.folder, tmp_path / "results" / "small")
    monkeypatch.chdir(tmp_path)
    assert as_json("inspect", "pool", "lex")["queries"] == 12  # the only run in results/
    shutil.copytree(run.folder, tmp_path / "results" / "second")
    answer = led("inspect", "pool", "lex")
    assert answer.exit_code == 2 and "results/second" in answer.output.replace("\n", "")


def test_names_are_completed_from_the_recorded_recipe(run, tmp_path, monkeypatch):
    shutil.copytree(run.folder, tmp_path / "results" / "small")
    monkeypatch.chdir(tmp_path)

    def completions(*words: str) -> list[str]:
        line = {"COMP_WORDS": " ".join(["led", *words]), "COMP_CWORD": str(len(words))}
        answer = CliRunner().invoke(app, [], prog_name="led", env={"_LED_COMPLETE": "complete_bash", **line})
        return answer.output.split()

    assert completions("inspect", "model", "le") == ["lex", "led"]
    assert completions("inspect", "pool", "b") == ["bm25"]
    assert completions("inspect", "run", "res") == ["results/small"]
    assert completions("compare", "results/small", "le") == ["lex", "led"]
