import json
import math
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from accelerate import Accelerator
from torch import nn
from transformers import (
    get_constant_schedule_with_warmup,
    get_cosine_with_min_lr_schedule_with_warmup,
    get_linear_schedule_with_warmup,
    get_polynomial_decay_schedule_with_warmup,
)

from led_pipeline.files.errors import InputError
from led_pipeline.training import checkpoints, log, loop
from led_pipeline.training.checkpoints import Checkpoints
from led_pipeline.training.loop import fit
from led_pipeline.training.plan import Plan, learning_rate, optimizer_for
from led_pipeline.training.step_loss import StepLoss

PLAN = Plan(steps=12, learning_rate=0.01, weight_decay=0.1, warmup_fraction=0.25, clip_norm=0.5, log_every=1)


def network(seed: int = 0, dropout: float = 0.3) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Dropout(dropout), nn.Linear(8, 1))


def step_loss(model: nn.Module, step: int) -> StepLoss:
    random = torch.Generator().manual_seed(step)
    inputs, targets = torch.randn(6, 4, generator=random), 3 * torch.randn(6, 1, generator=random)
    loss = (model(inputs) - targets).square().mean()
    return StepLoss(loss, {"error": loss.detach()})


class Killed(Exception):
    """Raised where a kill would end the process."""


def killed_at(step: int):
    def dying(model, current):
        if current == step:
            raise Killed
        return step_loss(model, current)

    return dying


class Steps:
    """`step_loss` that remembers its steps."""

    def __init__(self):
        self.numbers = []

    def __call__(self, model, step):
        self.numbers.append(step)
        return step_loss(model, step)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that trains a network; its clock goes one minute a step."""
    clock = SimpleNamespace(now=0.0)
    for module in (checkpoints, log):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 60 * clock.now))

    def train(model, loss=step_loss, plan=PLAN, validate=None, owner="me", folder="checkpoints"):
        def timed(model, step):
            clock.now = step + 1
            return loss(model, step)

        clock.now = 0
        accelerator = Accelerator(cpu=True)
        return fit(accelerator, model, timed, plan, Checkpoints(tmp_path / folder, owner, accelerator), validate)

    return train


def assert_equal(model: nn.Module, expected: dict[str, torch.Tensor]) -> None:
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0, msg=name)


def log_lines(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]


# --- schedule and optimizer


@pytest.mark.parametrize(
    ("steps", "warmup", "rates"),
    [
        (10, 0.2, [0.4, 0.8, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
        (4, 0.0, [0.8, 0.6, 0.4, 0.2]),
        (4, 1.0, [0.2, 0.4, 0.6, 0.8]),
    ],
)
def test_the_rate_rises_over_the_warmup_and_then_falls_to_the_last_update(steps, warmup, rates):
    plan = Plan(steps=steps, learning_rate=0.8, weight_decay=0, warmup_fraction=warmup, clip_norm=1)
    assert [learning_rate(update, plan) for update in range(steps)] == pytest.approx(rates)


def transformers_schedule(schedule: str, end: float, optimizer: torch.optim.Optimizer, warmup: int, steps: int):
    """Return the schedule of transformers with the same name."""
    if schedule == "constant":
        return get_constant_schedule_with_warmup(optimizer, warmup)
    if schedule == "cosine":
        return get_cosine_with_min_lr_schedule_with_warmup(optimizer, warmup, steps, min_lr_rate=end)
    if end:
        return get_polynomial_decay_schedule_with_warmup(optimizer, warmup, steps, lr_end=end * 0.8, power=1.0)
    return get_linear_schedule_with_warmup(optimizer, warmup, steps)


@pytest.mark.parametrize("end", [0.0, 0.1])
@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [0, 1, 6, 30])
def test_the_schedules_are_those_of_transformers(schedule, end, warmup):
    """Their warm-up begins at the rate 0, with an update that changes nothing; ours begins with the next one."""
    optimizer = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=0.8)
    scheduler, expected = transformers_schedule(schedule, end, optimizer, warmup, 20), []
    for _ in range(21):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    plan = replace(PLAN, steps=20, learning_rate=0.8, warmup_steps=warmup, schedule=schedule, learning_rate_end=end)
    rates = [learning_rate(update, plan) for update in range(20)]
    assert rates == pytest.approx([expected[u + (u < warmup)] for u in range(20)])
    if schedule == "cosine" and warmup == 0:
        lowest = end * 0.8
        assert learning_rate(10, plan) == pytest.approx((0.8 + lowest) / 2), "half way between both"
        assert learning_rate(20, plan) == pytest.approx(lowest)


@pytest.mark.parametrize("name", tiny.MASKED_LANGUAGE_MODELS)
def test_weight_decay_applies_to_matrices_but_not_to_biases_and_normalisations(name):
    model = tiny.lexicon_backbone(name)
    decaying, others = optimizer_for(model, PLAN).param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = [sorted(names[id(p)] for p in group["params"]) for group in (decaying, others)]
    free = [n for n in names.values() if n.endswith("bias") or "norm" in n.lower()]
    assert groups == [sorted(set(names.values()) - set(free)), sorted(free)]
    if name == "distilbert":
        assert any("sa_layer_norm.weight" in n for n in free) and "vocab_layer_norm.weight" in free


def test_frozen_parameters_are_left_out():
    model = network()
    model[0].requires_grad_(False)
    assert sum(len(group["params"]) for group in optimizer_for(model, PLAN).param_groups) == 4


def test_training_is_adamw_with_clipping_and_the_schedule(run):
    model, plain = network(dropout=0), network(dropout=0)
    run(model)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in plain.parameters() if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in plain.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ]
    )
    for step in range(12):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * ((step + 1) / 3 if step < 3 else (12 - step) / 9)
        optimizer.zero_grad()
        step_loss(plain, step).total.backward()
        norm = nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        assert norm > 0.5
        optimizer.step()
    for trained, expected in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(trained, expected, rtol=1e-5, atol=1e-6)


def test_training_is_adamw_with_the_betas_and_the_epsilon_of_the_recipe(run):
    settings = {"betas": (0.8, 0.95), "eps": 1e-3}
    plan = replace(PLAN, schedule="cosine", warmup_steps=2, betas=(0.8, 0.95), epsilon=1e-3, weight_decay=0.0)
    model, plain, standard = (network(dropout=0) for _ in range(3))
    run(model, plan=plan)
    run(standard, plan=replace(plan, betas=(0.9, 0.999), epsilon=1e-8), folder="standard")
    optimizer = torch.optim.AdamW(plain.parameters(), weight_decay=0.0, **settings)
    for step in range(12):
        share = (step + 1) / 2 if step < 2 else 0.5 + 0.5 * math.cos(math.pi * (step - 2) / 10)
        optimizer.param_groups[0]["lr"] = 0.01 * share
        optimizer.zero_grad()
        step_loss(plain, step).total.backward()
        nn.utils.clip_grad_norm_(plain.parameters(), 0.5)
        optimizer.step()
    for trained, expected, other in zip(*(m.parameters() for m in (model, plain, standard)), strict=True):
        torch.testing.assert_close(trained, expected, rtol=1e-5, atol=1e-6)
        assert (trained - other).abs().max() > 1e-3


# --- several batches per step

ACCUMULATED = replace(PLAN, steps=4, accumulation=3, batches=11, warmup_fraction=0.5)  # 3 + 3 + 3 + 2 batches


def test_a_step_has_the_mean_gradient_and_the_mean_loss_of_its_batches(run, tmp_path):
    model, plain, steps = network(dropout=0), network(dropout=0), Steps()
    run(model, steps, ACCUMULATED)
    assert steps.numbers == list(range(11)), "every batch once, in order"
    groups = [[p for p in plain.parameters() if (p.ndim > 1) == matrix] for matrix in (True, False)]
    optimizer = torch.optim.AdamW(
        [{"params": groups[0], "weight_decay": 0.1}, {"params": groups[1], "weight_decay": 0}]
    )
    means, norms = [], []
    for batches, rate in (([0, 1, 2], 0.005), ([3, 4, 5], 0.01), ([6, 7, 8], 0.01), ([9, 10], 0.005)):
        optimizer.zero_grad()
        mean = sum(step_loss(plain, batch).total for batch in batches) / len(batches)
        mean.backward()
        norms.append(nn.utils.clip_grad_norm_(plain.parameters(), 0.5).item())
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        means.append(mean.item())
    for trained, expected in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(trained, expected, rtol=1e-5, atol=1e-6)
    logged = log_lines(tmp_path / "checkpoints")[:-1]
    assert [line["step"] for line in logged] == [1, 2, 3, 4]
    assert [line["loss"] for line in logged] == pytest.approx(means, rel=1e-5)
    assert [line["error"] for line in logged] == pytest.approx(means, rel=1e-5)
    assert [line["health"]["gradient_norm"] for line in logged] == pytest.approx(norms, rel=1e-4)
    assert [line["learning_rate"] for line in logged] == [0.005, 0.01, 0.01, 0.005]


def test_a_training_killed_between_two_batches_of_a_step_ends_with_the_same_bits(run):
    plan, whole = replace(ACCUMULATED, checkpoint_steps=1), network()
    run(whole, plan=plan, folder="whole")
    for batch in (4, 8, 10):
        with pytest.raises(Killed):
            run(network(), killed_at(batch), plan)
    resumed, steps = network(seed=5), Steps()
    run(resumed, steps, plan)
    assert steps.numbers == [9, 10], "the whole last step"
    assert_equal(resumed, whole.state_dict())


def test_the_signs_of_a_step_are_those_of_all_its_batches(run, tmp_path):
    def with_signs(model, batch):
        signs = {"largest_score": torch.tensor(float(batch))} | (
            {"score_spread": torch.tensor(2.0 + batch)} if batch else {}
        )
        return replace(step_loss(model, batch), signs=signs, tokens=10)

    run(network(), with_signs, ACCUMULATED)
    first, *_, last, _ = log_lines(tmp_path / "checkpoints")
    assert first["health"] | {"gradient_norm": 0} == {"largest_score": 2, "score_spread": 3.5, "gradient_norm": 0}
    assert last["health"]["largest_score"] == 10
    assert first["speed"]["tokens_per_s"] == pytest.approx(30 / 180, abs=0.1), "three batches of one minute each"


# --- interruption


@pytest.mark.parametrize(("every_min", "step"), [(0.5, 7), (2.5, 8), (0.5, 11)])
def test_a_resumed_training_ends_with_the_same_bits_as_one_that_never_stopped(run, tmp_path, every_min, step):
    plan, whole = replace(PLAN, checkpoint_min=every_min), network()
    run(whole, plan=plan, folder="whole")
    with pytest.raises(Killed):
        run(network(), killed_at(step), plan)
    resumed = network(seed=5)  # a new process: other weights and random numbers, which the checkpoint replaces
    run(resumed, plan=plan)
    assert_equal(resumed, whole.state_dict())
    expected, lines = (log_lines(tmp_path / folder) for folder in ("whole", "checkpoints"))
    assert [line["step"] for line in lines] == [*range(1, 13), 12]
    machine = {"seconds": 0, "speed": 0}
    assert [line | machine for line in lines] == [line | machine for line in expected]


def test_a_training_killed_twice_ends_with_the_same_bits(run):
    plan, whole = replace(PLAN, checkpoint_min=2.5), network()
    run(whole, plan=plan, folder="whole")
    for step in (4, 7):
        with pytest.raises(Killed):
            run(network(), killed_at(step), plan)
    resumed = network(seed=5)
    run(resumed, plan=plan)
    assert_equal(resumed, whole.state_dict())


def test_a_training_killed_before_its_first_checkpoint_starts_over_with_a_new_log(run, tmp_path):
    with pytest.raises(Killed):
        run(network(), killed_at(5))
    steps = Steps()
    run(network(), steps)
    assert steps.numbers == list(range(12))
    assert [line["step"] for line in log_lines(tmp_path / "checkpoints")] == [*range(1, 13), 12]


def test_a_training_killed_while_it_saves_resumes_from_the_previous_checkpoint(run, monkeypatch):
    plan, whole, write_json = replace(PLAN, checkpoint_min=2.5), network(), checkpoints.write_json
    run(whole, plan=plan, folder="whole")

    def dying(path, value):
        if path.name == "progress.json" and value["step"] == 6:
            raise Killed
        write_json(path, value)

    monkeypatch.setattr(checkpoints, "write_json", dying)
    with pytest.raises(Killed):
        run(network(), plan=plan)
    monkeypatch.setattr(checkpoints, "write_json", write_json)
    resumed, steps = network(seed=5), Steps()
    run(resumed, steps, plan)
    assert steps.numbers == list(range(3, 12))
    assert_equal(resumed, whole.state_dict())


def test_a_second_training_of_the_stage_waits_and_then_fails(run, tmp_path, monkeypatch):
    (tmp_path / "checkpoints").mkdir()
    holding = "import sys; from pathlib import Path; from led_pipeline.jobs import locks; "
    holding += "locks.wait_for(Path(sys.argv[1]), '', 0); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", holding, str(tmp_path / "checkpoints/lock")]
    monkeypatch.setattr(checkpoints, "PATIENCE_S", 1.0)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another training writes its checkpoints here"):
            run(network())
        assert not (tmp_path / "checkpoints/owner.json").exists(), "nothing was touched"
        monkeypatch.setattr(checkpoints, "PATIENCE_S", 60.0)
        threading.Timer(1, first.stdin.close).start()
        run(network())
    assert first.returncode == 0 and log_lines(tmp_path / "checkpoints")[-1]["step"] == PLAN.steps


def test_an_incomplete_checkpoint_is_removed_on_resume(run, tmp_path, monkeypatch):
    plan = replace(PLAN, checkpoint_min=2.5)

    def failing(accelerator, folder):
        if folder.endswith("state.6"):
            Path(folder).mkdir()
            raise OSError(28, "No space left on device")
        return save_state(accelerator, folder)

    save_state = Accelerator.save_state
    monkeypatch.setattr(Accelerator, "save_state", failing)
    with pytest.raises(InputError, match=r"state\.6: more than .* make room on that disk"):
        run(network(), plan=plan)
    states = tmp_path / "checkpoints"
    assert {path.name for path in states.glob("state.*")} == {"state.3", "state.6"}
    with pytest.raises(Killed):
        run(network(), killed_at(3), plan)
    assert [path.name for path in states.glob("state.*")] == ["state.3"]


def test_a_checkpoint_of_another_owner_is_not_resumed(run, tmp_path):
    plan = replace(PLAN, checkpoint_min=0.5)
    with pytest.raises(Killed):
        run(network(), killed_at(7), plan)
    steps = Steps()
    run(network(), steps, plan, owner="somebody else")
    assert steps.numbers == list(range(12))
    assert [path.name for path in (tmp_path / "checkpoints").glob("state.*")] == ["state.11"]


def test_an_incomplete_last_log_line_is_dropped(run, tmp_path):
    plan = replace(PLAN, checkpoint_min=0.5)
    with pytest.raises(Killed):
        run(network(), killed_at(7), plan)
    with (tmp_path / "checkpoints/train.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    run(network(), plan=plan)
    assert [line["step"] for line in log_lines(tmp_path / "checkpoints")] == [*range(1, 13), 12]


# --- the step to keep


class Scripted:
    """A measure with given values; it remembers the weights it was asked about."""

    def __init__(self, *values: float):
        self.values, self.states = list(values), []

    def __call__(self, model: nn.Module) -> dict[str, float]:
        assert not model.training
        self.states.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"MRR@10": self.values.pop(0), "MAP": 0.9 - 0.1 * len(self.states)}


def test_the_weights_of_the_best_step_are_kept(run, tmp_path):
    validate, model = Scripted(0.1, 0.5, 0.3, 0.4), network()
    result = run(model, plan=replace(PLAN, validate_every=3), validate=validate)
    assert (result.best_step, result.steps) == (6, 12)
    assert_equal(model, validate.states[1])
    lines = log_lines(tmp_path / "checkpoints")
    measured = {line["step"]: line["validation"]["MRR@10"] for line in lines if "validation" in line}
    assert measured == {3: 0.1, 6: 0.5, 9: 0.3, 12: 0.4}
    others = [line["validation"]["MAP"] for line in lines if "validation" in line]
    assert others == sorted(others, reverse=True) and len(others) == 4, "logged, and the first one is not the best step"
    assert lines[-1] == {"step": 12, "finished": True, "steps": 12, "best_step": 6, "seconds": 720.0}


def test_the_first_of_equal_best_steps_is_kept(run):
    validate, model = Scripted(0.2, 0.5, 0.5, 0.5), network()
    assert run(model, plan=replace(PLAN, validate_every=3), validate=validate).best_step == 6
    assert_equal(model, validate.states[1])


def test_the_untrained_model_is_not_eligible_and_the_last_step_always_is(run):
    validate, model = Scripted(0.0, 0.7), network()
    assert run(model, plan=replace(PLAN, validate_every=7), validate=validate).best_step == 12
    assert len(validate.states) == 2  # steps 7 and 12
    assert_equal(model, validate.states[1])


def test_without_validation_the_last_step_is_kept(run):
    model, validate = network(), Scripted(0.1, 0.2)
    assert run(model).best_step is None
    run(network(), plan=replace(PLAN, validate_every=7), validate=validate, folder="other")
    assert_equal(model, validate.states[1])


def test_the_last_step_is_kept_where_the_recipe_says_so(run):
    validate, model = Scripted(0.1, 0.5, 0.3, 0.4), network()
    result = run(model, plan=replace(PLAN, validate_every=3, keep="last"), validate=validate)
    assert result.best_step is None
    assert_equal(model, validate.states[3])


def test_the_best_step_survives_an_interruption(run):
    plan, validate = replace(PLAN, validate_every=3, checkpoint_min=0.5), Scripted(0.9, 0.5)
    with pytest.raises(Killed):
        run(network(), killed_at(8), plan, validate)
    model = network(seed=5)
    assert run(model, plan=plan, validate=Scripted(0.3, 0.4)).best_step == 3
    assert_equal(model, validate.states[0])


def test_a_best_step_after_the_last_checkpoint_is_forgotten_after_a_kill(run):
    """A repeated step may differ in bits on a GPU, so measures of the killed process do not count."""
    plan, validate = replace(PLAN, validate_every=3, checkpoint_min=4.5), Scripted(0.5, 0.9)
    with pytest.raises(Killed):
        run(network(), killed_at(7), plan, validate)  # checkpoint at step 5, step 6 measured once
    model = network(seed=5)
    assert run(model, plan=plan, validate=Scripted(0.3, 0.4, 0.2)).best_step == 3
    assert_equal(model, validate.states[0])


# --- what can go wrong


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_training_with_its_step(run, value):
    def diverging(model, step):
        loss = step_loss(model, step)
        return replace(loss, total=loss.total * value) if step == 4 else loss

    with pytest.raises(InputError, match=r"step 5: the loss is (nan|inf) .not finite: loss, gradient_norm.; lower"):
        run(network(), diverging)


@pytest.mark.parametrize(
    ("sign", "value", "reason"),
    [
        ("empty_passages", 1.0, "step 5: 100% of the passages have no term left"),
        ("score_spread", 0.0, "step 5: all candidates of a query score the same"),
        ("largest_score", 1e7, r"step 5: scores have exploded, the largest is 1e\+07"),
    ],
)
def test_an_unhealthy_training_stops_at_the_next_log_line(run, sign, value, reason):
    def sick(model, step):
        return replace(step_loss(model, step), signs={sign: torch.tensor(value if step >= 3 else 0.1)})

    with pytest.raises(InputError, match=reason):
        run(network(), sick, replace(PLAN, log_every=5, batch_size=16))


def test_a_warning_is_printed_once(run, capsys):
    def drifting(model, step):
        return replace(step_loss(model, step), signs={"largest_score": torch.tensor(2e4)})

    run(network(), drifting)
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert (
        warnings == [warnings[0]] and "warning: step 2: the largest score is 2e+04; if it grows further" in warnings[0]
    )


def test_a_diverged_training_saves_no_checkpoint(run, tmp_path):
    """The next log line is far away, but a checkpoint with NaN weights would break every retry."""

    def diverging(model, step):
        loss = step_loss(model, step)
        return replace(loss, total=loss.total * (float("nan") if step >= 4 else 1))

    with pytest.raises(InputError, match="step 6: the loss is nan"):
        run(network(), diverging, replace(PLAN, log_every=100, checkpoint_steps=3))
    assert [path.name for path in (tmp_path / "checkpoints").glob("state.*")] == ["state.3"]


def test_checkpoints_by_steps_change_no_bit(run, tmp_path, monkeypatch):
    saved_steps, save = [], Checkpoints.save
    monkeypatch.setattr(
        Checkpoints, "save", lambda self, progress: (saved_steps.append(progress.step), save(self, progress))
    )
    whole = network()
    run(whole, folder="whole")
    assert saved_steps == []
    often = network()
    run(often, plan=replace(PLAN, checkpoint_steps=5, checkpoint_min=3.5))
    assert saved_steps == [4, 5, 9, 10]
    assert_equal(often, whole.state_dict())


@pytest.fixture
def scalers(monkeypatch):
    """Give each training a loss scaler that grows every second step, since accelerate makes none on the CPU."""
    prepare, scalers = Accelerator.prepare, []

    def with_scaler(self, *modules):
        self.scaler = torch.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
        scalers.append(self.scaler)
        return prepare(self, *modules)

    monkeypatch.setattr(Accelerator, "prepare", with_scaler)
    return scalers


def overflowing(stop=None):
    """Return a `step_loss` whose gradients overflow once."""

    def loss(model, step):
        value = step_loss(model, step)
        if step == stop:
            raise Killed
        return replace(value, total=value.total * (float("inf") if step == 4 else 1.0))

    return loss


def test_a_step_skipped_by_the_loss_scaler_does_not_advance_the_schedule(run, monkeypatch, scalers):
    rates = []
    monkeypatch.setattr(loop, "learning_rate", lambda *a: rates.append(learning_rate(*a)) or rates[-1])
    run(network(), overflowing(), replace(PLAN, log_every=100))
    assert rates[::2] == rates[1::2], "two groups of parameters"
    assert rates[::2] == [learning_rate(update, PLAN) for update in (0, 1, 2, 3, 4, 4, 5, 6, 7, 8, 9, 10)]


def test_the_loss_scaler_resumes_its_state(run, scalers):
    plan, whole = replace(PLAN, checkpoint_steps=3, log_every=100), network()
    run(whole, overflowing(), plan, folder="whole")
    with pytest.raises(Killed):
        run(network(), overflowing(8), plan)
    resumed = network(seed=5)
    run(resumed, overflowing(), plan)
    # Steps 1 to 4 double it twice, step 5 halves it, steps 6 to 11 double it three times, and step 12 is the next half.
    assert [scaler.get_scale() for scaler in (scalers[0], scalers[-1])] == [8 * 2**4, 8 * 2**4]
    assert_equal(resumed, whole.state_dict())


def test_the_log_holds_the_first_step_every_interval_and_the_last(run, tmp_path):
    run(network(), plan=replace(PLAN, log_every=5))
    lines = log_lines(tmp_path / "checkpoints")
    assert [line["step"] for line in lines] == [1, 5, 10, 12, 12]
    assert set(lines[0]) == {"step", "loss", "error", "learning_rate", "seconds", "speed", "health"}
    assert lines[0]["learning_rate"] == pytest.approx(0.01 / 3)


def test_the_log_has_the_norm_of_the_gradient_before_it_is_clipped(run, tmp_path):
    model, reference = network(dropout=0), network(dropout=0)
    run(model, plan=replace(PLAN, steps=1))
    step_loss(reference, 0).total.backward()
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in reference.parameters()))
    assert norm > PLAN.clip_norm
    assert log_lines(tmp_path / "checkpoints")[0]["health"]["gradient_norm"] == pytest.approx(norm, rel=1e-4)
