"""The wall time of a recipe: its jobs and their order, and the layouts of GPUs that are compared."""

from pathlib import Path

import pytest
from configs import RECIPES, changed

from led_pipeline.files.errors import InputError
from led_pipeline.plan import assumptions, schedule
from led_pipeline.plan.compute import Computer, Speed
from led_pipeline.plan.job_graph import KINDS, JobGraph, Task
from led_pipeline.plan.jobs import count_jobs
from led_pipeline.plan.stage_models import stage_models
from led_pipeline.plan.workload import workload
from led_pipeline.recipe import needs, priorities
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.load import load_recipe

NOWHERE = Path("/nowhere/results")
PAPER = load_recipe(RECIPES["config.yaml"])


def graph(recipe: Recipe) -> list[Task]:
    computer = Computer(recipe, load := workload(recipe, NOWHERE), stage_models(recipe, NOWHERE), Speed("A100"))
    return JobGraph(recipe, computer.all(), computer.gpus, lambda rule, owner, queries: 1.0, load.queries).build()


def planner(recipe: Recipe, gpu: str = "A100") -> schedule.Planner:
    load, models = workload(recipe, NOWHERE), stage_models(recipe, NOWHERE)
    return schedule.Planner(recipe, load, models, Speed(gpu), cores=64)


def before(tasks: list[Task], number: int) -> set[int]:
    """Return the numbers of all jobs that a job waits for, directly or not."""
    waiting, done = [number], set()
    while waiting:
        for other in tasks[waiting.pop()].after:
            if other not in done:
                done.add(other)
                waiting.append(other)
    return done


@pytest.mark.parametrize("name", RECIPES)
def test_the_graph_has_the_jobs_that_the_plan_counts(name):
    """The counts of the plan are compared with Snakemake's own in tests/pipeline/test_dag.py."""
    recipe = load_recipe(RECIPES[name])
    tasks, counts = graph(recipe), count_jobs(recipe)
    by_rule = {rule: sum(task.rule == rule for task in tasks) for rule in KINDS}
    assert by_rule == {rule: counts.get(rule, 0) for rule in KINDS}


@pytest.mark.parametrize("name", RECIPES)
def test_a_training_waits_for_exactly_the_trainings_that_the_recipe_names(name):
    recipe = load_recipe(RECIPES[name])
    tasks = graph(recipe)
    assert all(other < task.id for task in tasks for other in task.after)
    trainings = {task.owner: task.id for task in tasks if task.rule == "train"}
    for stage in recipe.trained:
        expected, waiting = set(), [stage]
        while waiting:
            edges = needs.edges(recipe, waiting.pop())
            # No ranker of these recipes is mined, so that no training waits for what it re-ranks.
            parents = {edge.source for edge in edges if edge.kind != "candidates"} - expected
            expected |= parents
            waiting += parents
        assert {tasks[number].owner for number in before(tasks, trainings[stage]) if tasks[number].rule == "train"} == (
            expected & {*recipe.trained}
        )


def test_priorities_are_the_trainings_that_follow():
    chains = priorities.chains(PAPER)
    assert chains == {
        "bm25": 3,
        "den_warmup": 1,  # of den_continue's and of led's negatives
        "lex_warmup": 2,  # lex_continue, then led
        "lex_continue": 1,
        "ranker": 1,
        "den_continue": 0,
        "led": 0,
        "led_rt": 0,
    }
    assert priorities.of_training(PAPER, chains, "lex_warmup") == 3
    assert priorities.of_results(PAPER, chains, "lex_warmup", None) == 2
    assert priorities.of_results(PAPER, chains, "lex_warmup", "train.3") == 2
    assert priorities.of_results(PAPER, chains, "lex_warmup", "dev") == 0, "an evaluation waits"
    assert priorities.of_results(PAPER, chains, "bm25", "dev.top1000") == 3, "trainings are validated on it"


@pytest.mark.parametrize("gpu", ["A100", "H200"])
def test_four_gpus_per_training_are_the_recipes_layout_for_a_machine_of_eight(gpu):
    """Batches of 16 queries do not get faster in proportion, and independent trainings run side by side."""
    uniform, best = planner(PAPER, gpu).layouts(8)
    hours, of_gpus = ({each.uniform: getattr(each, name) for each in uniform} for name in ("seconds", "gpu_seconds"))
    assert set(hours) == {1, 2, 4, 8}
    assert hours[4] < 1.03 * min(hours.values()) and of_gpus[4] < of_gpus[8]
    assert best.seconds <= hours[4]
    assert PAPER.resources.train.gpu == 4


def test_a_run_takes_at_least_its_longest_chain_and_its_gpu_hours():
    plan = planner(PAPER, "H200")
    for gpus in (1, 2, 4, 8):
        for layout in plan.layouts(gpus)[0]:
            assert layout.seconds >= layout.gpu_seconds / gpus
    tasks = graph(one := load_recipe(changed(RECIPES["config.yaml"], {"evaluation.splits": ["dev"]})))
    assert tasks and planner(one).layouts(1)[0][0].seconds == pytest.approx(planner(one).layouts(1)[1].seconds)


def test_a_batch_that_cannot_be_split_is_not_a_layout():
    odd = load_recipe(changed(RECIPES["config.yaml"], {"stages.led.batch_size": 12, "resources.train.gpu": 2}))
    uniform, best = planner(odd).layouts(8)
    assert [layout.uniform for layout in uniform] == [1, 2, 4]
    assert best.trainings["led"] in (1, 2, 4)


def test_the_printed_keys_are_a_recipe(tmp_path):
    plan = planner(PAPER)
    text = schedule.text(plan, "A100", [1, 8])
    assert "wall time by GPUs per training, with A100 and 64 cores" in text
    assert (
        "in the recipe for 1 GPU:\n  resources.train: {gpu: 1, threads: 2, mem_mb: 128000, runtime_min: 2880}" in text
    )
    rows = [line.split() for line in text.splitlines() if line.endswith("recommended")]
    assert [row[0] for row in rows] == ["1", "8"]


def test_threads_of_a_training_follow_its_gpus():
    assert assumptions.THREADS_PER_GPU * PAPER.resources.train.gpu == PAPER.resources.train.threads


def test_a_word_is_no_number_of_gpus():
    from led_pipeline.commands.plan import gpu_counts

    assert gpu_counts("1, 4,8,4") == [1, 4, 8] and gpu_counts(None) == []
    with pytest.raises(InputError, match=r"--gpus: 'all' is no number of GPUs"):
        gpu_counts("1,all")
