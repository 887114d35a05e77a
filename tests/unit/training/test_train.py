import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
import transformers

from led_pipeline.data import tokens
from led_pipeline.data.tables import Ragged, write_arrow
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.models.backbone import to_packed_batch
from led_pipeline.models.saved_model import load
from led_pipeline.recipe.step_settings import RunningSettings, ValidationSettings
from led_pipeline.training import losses, modules, objectives, ranker_losses, train
from led_pipeline.training.inputs import Training
from led_pipeline.training.modules import Retriever, trainable
from led_pipeline.training.plan import build_plan

CPU = torch.device("cpu")
ROWS = np.array([3, 0, 7, 12])  # of two epochs with ten examples each
RANK = tiny.TEACHER | {"stage": "lex", "loss": "rank", "weight": 1.2, "with_positive": False}
KL = tiny.TEACHER | {"stage": "lex", "loss": "kl", "weight": 1.5, "temperature": 3.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    tiny.save_dataset(folder)
    return folder


@pytest.fixture(scope="module")
def data(folder):
    return objectives.TrainingData.read(
        folder / "trainset.arrow", folder / "queries.arrow", [folder / "passages.arrow"], tiny.settings("dense")
    )


def vectors(encoder, store, rows, length: int) -> list[torch.Tensor]:
    """Return the vectors of some texts, each encoded alone."""
    return [encoder(to_packed_batch(store.texts([row], length), CPU))[0] for row in rows]


def loss_of(folder, data, settings, model=None):
    encoder = tiny.start(folder / settings.family, settings)
    module = model or (encoder if settings.family == "ranker" else Retriever(encoder))
    objective = objectives.ranker_loss if settings.family == "ranker" else objectives.retriever_loss
    loss = objective(module, data, ROWS, slice(0, 4), settings, CPU)
    return encoder, loss.total.item(), {name: term.item() for name, term in loss.terms.items()}


def cross_entropy(scores: list[float], positive: int) -> float:
    return math.log(sum(math.exp(s) for s in scores)) - scores[positive]


@pytest.mark.parametrize("family", ["dense", "lexicon"])
@torch.no_grad()
def test_a_retrievers_loss_is_the_sum_of_its_weighted_terms(folder, data, family):
    changes = {"dense": {"temperature": 0.5}, "lexicon": {}}[family]
    settings = tiny.settings(family, teachers=[RANK, KL], contrastive_weight=0.7, **changes)
    encoder, loss, terms = loss_of(folder, data, settings)

    passages = np.stack([data.trainset.passages[row] for row in ROWS])
    queries = vectors(encoder, data.queries, data.trainset.query[ROWS], 8)
    all_passages = vectors(encoder, data.passages, passages.ravel(), 20)
    temperature = settings.temperature
    scores = [[(q @ p).item() / temperature for p in all_passages] for q in queries]
    groups = torch.tensor([row[4 * i : 4 * i + 4] for i, row in enumerate(scores)])
    teacher = torch.from_numpy(np.stack([data.trainset.scores["lex"][row] for row in ROWS]))
    expected = {
        "contrastive": sum(cross_entropy(row, 4 * i) for i, row in enumerate(scores)) / 4,
        "rank_lex": losses.rank(groups[:, 1:], teacher[:, 1:]).item(),
        "kl_lex": losses.kl(groups, teacher, temperature=3.0).item(),
    }
    total = 0.7 * expected["contrastive"] + 1.2 * expected["rank_lex"] + 1.5 * expected["kl_lex"]
    if family == "lexicon":
        expected["flops_passages"] = (sum(all_passages) / 16).square().sum().item()
        expected["flops_queries"] = (sum(queries) / 4).square().sum().item()
        total += 0.01 * expected["flops_passages"] + 0.02 * expected["flops_queries"]
    assert terms == pytest.approx(expected, rel=1e-4)
    assert loss == pytest.approx(total, rel=1e-4)


@torch.no_grad()
def test_a_rankers_loss_compares_a_querys_own_candidates(folder, data):
    encoder, loss, terms = loss_of(folder, data, tiny.settings("ranker", teachers=[KL]))
    scores = []
    for row in ROWS:
        query, passages = data.trainset.query[row], data.trainset.passages[row]
        pairs = [tokens.pairs(data.queries, [query], 8, data.passages, [passage], 20) for passage in passages]
        scores.append([encoder(to_packed_batch(pair, CPU)).item() for pair in pairs])
    contrastive = sum(cross_entropy(row, 0) for row in scores) / 4
    teacher = torch.from_numpy(np.stack([data.trainset.scores["lex"][row] for row in ROWS]))
    kl = losses.kl(torch.tensor(scores), teacher, temperature=3.0).item()
    assert terms == pytest.approx({"contrastive": contrastive, "kl_lex": kl}, rel=1e-4)
    assert loss == pytest.approx(contrastive + 1.5 * kl, rel=1e-4)


def gradients_of(folder, data, settings, module) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    loss = objectives.retriever_loss(module, data, ROWS, slice(0, 4), settings, CPU).total
    loss.backward()
    return {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}


def test_a_gradient_cache_computes_again_with_the_same_dropout(folder, data, monkeypatch):
    settings, gradients = tiny.settings("dense", gradient_cache=6), []
    for keep_activations in (False, True):
        encoder = tiny.start(folder / "dense", settings)
        for module in encoder.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.3
        if keep_activations:
            monkeypatch.setattr(modules, "checkpoint", lambda encoder, part, use_reentrant: encoder(part))
        gradients.append(gradients_of(folder, data, settings, trainable(encoder, settings).train()))
    for name, value in gradients[1].items():
        torch.testing.assert_close(gradients[0][name], value, rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize("family", ["dense", "lexicon"])
@pytest.mark.parametrize("chunk", [None, 7])
def test_gradient_checkpointing_changes_no_gradient(folder, data, family, chunk):
    gradients = []
    for changes in ({}, {"gradient_checkpointing": True, "gradient_cache": chunk}):
        settings = tiny.settings(family, teachers=[RANK], **changes)
        module = trainable(tiny.start(folder / family, settings), settings).double().train()
        gradients.append(gradients_of(folder, data, settings, module))
    for gradient, value in zip(gradients[1].values(), gradients[0].values(), strict=True):
        torch.testing.assert_close(gradient, value, rtol=1e-6, atol=1e-9)


@torch.no_grad()
def test_dual_regularisation_averages_two_passes_and_adds_their_divergence(folder, data):
    class Passes:
        """A model whose two passes over the passages differ."""

        def __init__(self):
            random = torch.Generator().manual_seed(0)
            self.queries, self.first, self.second = (torch.randn(n, 6, generator=random) for n in (4, 16, 16))

        def __call__(self, _texts, counts):
            return self.queries, *(self.first, self.second)[: len(counts) - 1]

    model = Passes()
    _, loss, terms = loss_of(folder, data, tiny.settings("dense", dual_weight=0.3), model)
    scores = [model.queries @ passages.T for passages in (model.first, model.second)]
    contrastive = sum(losses.contrastive(s, torch.arange(4) * 4).item() for s in scores) / 2
    assert terms == pytest.approx({"contrastive": contrastive, "dual": losses.dual(*scores).item()}, rel=1e-5)
    assert loss == pytest.approx(contrastive + 0.3 * terms["dual"], rel=1e-5)
    assert loss_of(folder, data, tiny.settings("dense"), model)[2].keys() == {"contrastive"}


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_gradient_cache_gives_the_gradients_of_the_whole_batch_from_chunks(folder, data, family):
    tensors, sizes = {}, []
    for chunk in (None, 3):
        settings = tiny.settings(family, teachers=[KL], gradient_cache=chunk)
        encoder = tiny.start(folder / family, settings)
        encoder.register_forward_pre_hook(lambda _, inputs, chunk=chunk: sizes.append((chunk, len(inputs[0]))))
        objective = objectives.ranker_loss if family == "ranker" else objectives.retriever_loss
        loss = objective(trainable(encoder, settings), data, ROWS, slice(0, 4), settings, CPU).total
        loss.backward()
        tensors[chunk] = [loss, *(p.grad for p in encoder.parameters() if p.grad is not None)]
    assert {size for chunk, size in sizes if chunk is None} == {16 if family == "ranker" else 20}
    assert {size for chunk, size in sizes if chunk} == {3, 1 if family == "ranker" else 2}, "three at a time"
    assert len([chunk for chunk, _ in sizes if chunk]) == 2 * (6 if family == "ranker" else 7), "each twice"
    for cached, whole in zip(tensors[3], tensors[None], strict=True):
        torch.testing.assert_close(cached, whole, rtol=1e-4, atol=1e-6)


class Bf16(torch.nn.Module):
    """A retriever as accelerate prepares it, with autocast in its forward pass; it keeps its outputs."""

    def __init__(self, module):
        super().__init__()
        self.module, self.outputs = module, None

    def forward(self, *inputs):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            self.outputs = self.module(*inputs)
        return self.outputs


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("around", [False, True])
def test_similarities_and_losses_are_float32_whatever_the_autocast_type(folder, data, monkeypatch, family, around):
    settings = tiny.settings(family, teachers=[RANK, KL], **({"temperature": 0.5} if family == "dense" else {}))
    encoder = tiny.start(folder / family, settings)
    model = Bf16(encoder if family == "ranker" else Retriever(encoder))
    module, name = (ranker_losses, "ranking") if family == "ranker" else (losses, "contrastive")
    captured, compute = [], getattr(module, name)
    monkeypatch.setattr(module, name, lambda scores, *others: (captured.append(scores), compute(scores, *others))[1])
    objective = objectives.ranker_loss if family == "ranker" else objectives.retriever_loss
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=around):
        loss = objective(model, data, ROWS, slice(0, 4), settings, CPU)
    (scores,) = captured
    assert {tensor.dtype for tensor in (scores, loss.total, *loss.terms.values())} == {torch.float32}
    if family == "ranker":
        expected = model.outputs.view(4, 4)
        assert not torch.equal(expected, expected.bfloat16().float()), "its head runs in float32"
    else:
        queries, passages = model.outputs
        expected = (queries.double() @ passages.double().T / settings.temperature).float()
        rounded = (queries.bfloat16() @ passages.bfloat16().T / settings.temperature).float()
        assert not torch.allclose(rounded, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(scores, expected, rtol=1e-6, atol=1e-5)
    positives = torch.arange(4) * (0 if family == "ranker" else 4)
    assert loss.terms["contrastive"].item() == pytest.approx(losses.contrastive(expected, positives).item(), rel=1e-6)


@torch.no_grad()
def test_huge_scores_of_a_lexicon_stage_are_clamped(folder, data):
    huge = torch.full((4, 2), 200.0), torch.full((16, 2), 200.0)
    huge[1][::4] = 400.0  # the positives score 160,000, the others 80,000
    _, _, terms = loss_of(folder, data, tiny.settings("lexicon"), lambda *_: huge)
    assert terms["contrastive"] == pytest.approx(math.log(16))


@pytest.mark.parametrize(("steps", "log_every"), [(10, 1), (99, 1), (100, 2), (4_000, 80), (99_891, 100)])
def test_a_training_logs_about_fifty_times_and_at_least_every_hundred_steps(steps, log_every):
    settings = tiny.settings("dense", batch_size=1, epochs=1)
    plan = build_plan(settings, RunningSettings(checkpoint_min=5.0), steps, ValidationSettings(every=7))
    assert (plan.steps, plan.log_every, plan.validate_every, plan.checkpoint_min) == (steps, log_every, 7, 5.0)
    assert build_plan(settings, RunningSettings(), steps, None).validate_every == 0


def test_a_trained_stage_is_a_checkpoint_with_its_log_and_settings(folder, tmp_path):
    settings = tiny.settings("dense", max_steps=3, teachers=[RANK])
    train.train(tiny.training(folder, settings, tmp_path / "model"))
    assert read_json(tmp_path / "model/settings.json") == settings.model_dump(mode="json")
    assert read_json(tmp_path / "model/software.json")["transformers"] == transformers.__version__
    lines = [json.loads(line) for line in (tmp_path / "model/train.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 3]
    trained, loaded = load(tmp_path / "model")
    assert loaded.family == "dense" and loaded.query_length == settings.query_length
    initial = tiny.start(folder / "dense", settings)
    changed = [n for n, p in trained.named_parameters() if not torch.equal(p, initial.get_parameter(n))]
    assert any("word_embeddings" in n for n in changed) and not any("pooler" in n for n in changed)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_models_on_the_way_are_those_of_shorter_trainings_and_change_no_bit(folder, tmp_path, family):
    settings = tiny.settings(family, max_steps=5, schedule="constant", warmup_steps=0)
    running = RunningSettings(save_model_steps=2)
    train.train(tiny.training(folder, settings, tmp_path / "saving", running=running))
    train.train(tiny.training(folder, settings, tmp_path / "plain"))
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("saving", "plain")]
    assert weights[0] == weights[1]
    models = tmp_path / "saving.checkpoints/models"
    assert sorted(path.name for path in models.iterdir()) == ["step.2", "step.4"]
    for steps in (2, 4):
        train.train(tiny.training(folder, tiny.changed(settings, max_steps=steps), tmp_path / f"{steps}"))
        shorter, on_the_way = load(tmp_path / f"{steps}")[0], load(models / f"step.{steps}")[0]
        for name, value in shorter.state_dict().items():
            torch.testing.assert_close(on_the_way.state_dict()[name], value, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_seed_decides_the_bits_of_a_training(folder, tmp_path, family):
    """Dropout is on, so another seed must give other weights."""
    tiny.backbone(family, hidden_dropout_prob=0.2).save_pretrained(tmp_path / "initial")
    for name, seed in (("a", 42), ("b", 42), ("c", 43)):
        settings = tiny.settings(family, max_steps=3, seed=seed)
        train.train(tiny.training(folder, settings, tmp_path / name, init=str(tmp_path / "initial")))
    first, second, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("a", "b", "c"))
    assert first == second != other


@torch.no_grad()
def positives_first(model, data) -> float:
    """Return the share of queries whose positive, the passage of the same row, scores highest among the first ten."""
    queries, passages = (
        torch.stack(vectors(model, store, range(10), length))
        for store, length in ((data.queries, 8), (data.passages, 20))
    )
    return ((queries @ passages.T).argmax(dim=1) == torch.arange(10)).float().mean().item()


@pytest.mark.parametrize("family", ["dense", "lexicon"])
def test_a_training_learns_to_rank_its_positives_first(tmp_path, family):
    tiny.save_dataset(tmp_path, epochs=20)
    settings = tiny.settings(family, learning_rate=0.01, epochs=20)
    train.train(tiny.training(tmp_path, settings, tmp_path / "model"))
    files = tmp_path / "trainset.arrow", tmp_path / "queries.arrow", [tmp_path / "passages.arrow"]
    data = objectives.TrainingData.read(*files, settings)
    before, after = (
        positives_first(tiny.start(source, settings).eval(), data) for source in (tmp_path / family, tmp_path / "model")
    )
    assert before < 0.5 and after > 0.8, (before, after)


MODEL_FILES = ["dense/weights", "query/weights"]
DATA_FILES = ["trainset.arrow", "queries.arrow", "passages.arrow", "ranking", "dev.arrow", "dev.qrels", "lex.arrow"]


@pytest.fixture
def fingerprinted(tmp_path) -> Training:
    """Return a training whose files each contain one word."""
    for name in MODEL_FILES:
        (tmp_path / name).parent.mkdir()
    for name in MODEL_FILES + DATA_FILES:
        (tmp_path / name).write_text(name)
    validation = replace(tiny.validation(tmp_path, "ranking", every=2), queries=tmp_path / "dev.arrow")
    others = {"query_init": str(tmp_path / "query"), "teacher_vectors": {"lex": [tmp_path / "lex.arrow"]}}
    return tiny.training(tmp_path, tiny.settings("dense"), tmp_path / "out", validation=validation, **others)


@pytest.mark.parametrize("file", MODEL_FILES + DATA_FILES)
def test_a_checkpoint_belongs_to_the_content_of_every_file_that_decides_the_weights(fingerprinted, tmp_path, file):
    before = fingerprinted.fingerprint(1)
    assert fingerprinted.fingerprint(1) == before
    (tmp_path / file).write_text("something else")
    assert fingerprinted.fingerprint(1) != before


def test_a_checkpoint_belongs_to_settings_validation_and_number_of_processes(fingerprinted):
    before = fingerprinted.fingerprint(1)
    assert fingerprinted.fingerprint(2) != before
    validation = replace(fingerprinted.validation, settings=ValidationSettings(every=3))
    for changes in ({"settings": tiny.settings("dense", seed=43)}, {"validation": validation}):
        assert replace(fingerprinted, **changes).fingerprint(1) != before
    assert replace(fingerprinted, running=RunningSettings(checkpoint_min=5)).fingerprint(1) == before


# --- batches of one query


def train_on(folder: Path, family: str, passages: list[str], queries: list[str], lists: list[list[int]]) -> list[dict]:
    """Train for two epochs with batches of one query, query i with the i-th list; return the lines of the log."""
    tiny.save_tokenizer(folder / "tokenizer")
    tiny.save_store(folder / "queries.arrow", folder / "tokenizer", {"text": queries})
    tiny.save_store(folder / "passages.arrow", folder / "tokenizer", {"title": [""] * len(passages), "text": passages})
    tiny.backbone(family).save_pretrained(folder / family)
    write_arrow(
        folder / "trainset.arrow",
        {
            "query": np.tile(np.arange(len(lists), dtype=np.int32), 2),
            "epoch": np.repeat(np.arange(2, dtype=np.int16), len(lists)),
            "passages": Ragged.from_rows([np.array(row) for row in lists * 2], np.int32),
        },
        {"examples": str(len(lists))},
    )
    settings = tiny.settings(family, batch_size=1)
    train.train(tiny.training(folder, settings, folder / "model"))
    return [json.loads(line) for line in (folder / "model/train.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("family", ["dense", "ranker"])
def test_a_negative_with_the_text_of_the_positive_stops_no_training(tmp_path, family):
    log = train_on(tmp_path, family, ["a b c", "A b c", "d e f"], ["a b", "d e"], [[0, 1], [2, 0]])
    assert [("score_spread" in line["health"]) for line in log if "loss" in line] == [False, True] * 2


def test_a_query_without_tokens_stops_no_training(tmp_path):
    log = train_on(tmp_path, "lexicon", ["a b c", "d e f"], ["a b", " "], [[0, 1], [1, 0]])
    assert [("empty_queries" in line["health"]) for line in log if "loss" in line] == [True, False] * 2


@pytest.mark.parametrize(("requested", "examples", "processes", "size"), [(64, 5, 1, 5), (64, 6, 2, 6), (4, 100, 4, 4)])
def test_a_batch_holds_no_more_than_an_epoch(requested, examples, processes, size):
    assert train.batch_size(requested, examples, processes) == size


def test_an_epoch_that_the_processes_cannot_share_is_an_error_with_the_numbers():
    with pytest.raises(InputError, match=r"5 queries, all 5 examples of an epoch, cannot .* over 2 proc.* 4"):
        train.batch_size(64, 5, 2)
