"""The sum of a stage's terms: candidates, teachers, regularisers and their schedule."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from led_pipeline.data.tables import Ragged, read_arrow
from led_pipeline.files.errors import InputError
from led_pipeline.recipe.step_settings import RunningSettings
from led_pipeline.training import losses, objectives, objectives_candidates, train
from led_pipeline.training.teachers import StoredVectors

CPU = torch.device("cpu")
ROWS = np.array([3, 0, 7, 12])
B, C = 4, 4
OWN_FILE = """
import torch

def doubled(student, teacher):
    return 2 * (student - teacher).abs().mean()

def spread(batch):
    return batch.own_scores_BC.std() + batch.step

def vectors(batch):
    return (batch.queries_BD.sum() + batch.passages_ND.sum()) / batch.scores_BN.numel()

def told(batch):
    return batch.masked_BN.sum().float()

def by_query(student, teacher):
    return student.sum(dim=1)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objectives")
    tiny.save_dataset(folder)
    (folder / "own.py").write_text(OWN_FILE)
    return folder


@pytest.fixture(scope="module")
def data(folder):
    vectors = {name: StoredVectors.read(*files) for name, files in tiny.save_vectors(folder).items()}
    stores = folder / "queries.arrow", [folder / "passages.arrow"]
    return objectives.TrainingData.read(folder / "trainset.arrow", *stores, tiny.settings("dense"), vectors)


def vectors_of(family: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return vectors of the batch's queries and passages, as a model would give them."""
    random = torch.Generator().manual_seed(9)
    queries, passages = torch.randn(B, 12, generator=random), torch.randn(B * C, 12, generator=random)
    return (queries.relu(), passages.relu()) if family == "lexicon" else (queries, passages)


def loss_of(data, step=0, family="dense", **changes):
    """Return the loss, its terms, and the scores of all queries and passages, for fixed vectors."""
    settings = tiny.settings(family, **changes)
    if family == "ranker":
        scores = torch.randn(B * C, generator=torch.Generator().manual_seed(9))
        loss = objectives.ranker_loss(lambda *_: scores, data, ROWS, slice(0, B), settings, CPU, step)
        return loss.total.item(), loss.terms, scores.view(B, C).tolist()
    queries, passages = vectors_of(family)
    model = lambda *_: (queries, passages)  # noqa: E731
    loss = objectives.retriever_loss(model, data, ROWS, slice(0, B), settings, CPU, step)
    return loss.total.item(), loss.terms, [[(q @ p).item() for p in passages] for q in queries]


def cross_entropy(scores: list[float], positive: int = 0) -> float:
    return math.log(sum(math.exp(s) for s in scores)) - scores[positive]


def candidates(row: list, query: int, among: str) -> list:
    """Return a query's candidates from its row, the positive first, by a plain loop."""
    entries = [row[query * C]]
    for j in [*range(query * C, B * C), *range(query * C)]:
        others_positive = j % C == 0
        is_own = j // C == query
        if j != query * C and (is_own if among == "own" else not (others_positive and among == "batch_negatives")):
            entries.append(row[j])
    return entries


# --- candidates


def test_the_candidates_of_two_queries_with_two_passages_each():
    assert objectives_candidates.candidate_columns(2, 4, "own").tolist() == [[0, 1], [2, 3]]
    assert objectives_candidates.candidate_columns(2, 4, "batch").tolist() == [[0, 1, 2, 3], [2, 3, 0, 1]]
    assert objectives_candidates.candidate_columns(2, 4, "batch_negatives").tolist() == [[0, 1, 3], [2, 3, 1]]


@pytest.mark.parametrize("family", ["dense", "lexicon"])
@pytest.mark.parametrize("among", ["batch", "batch_negatives", "own"])
def test_the_contrastive_loss_uses_the_configured_candidates(data, family, among):
    _, terms, scores = loss_of(data, family=family, contrastive_candidates=among, temperature=0.5)
    expected = [cross_entropy([2 * s for s in candidates(row, i, among)]) for i, row in enumerate(scores)]
    assert terms["contrastive"].item() == pytest.approx(sum(expected) / B, rel=1e-5)


# --- positives among the negatives of a batch


@pytest.fixture(scope="module")
def crowded(data):
    """Return the data with texts that repeat: query i has the texts i and i + 1 as positives, of five in all."""
    passages = data.trainset.passages
    positives = [np.unique([row % 5, (row + 1) % 5]) for row in range(len(passages))]
    texts = passages.values % 5
    texts[passages.offsets[:-1]] = np.arange(len(passages)) % 5
    columns = {"texts": Ragged(texts, passages.offsets), "positives": Ragged.from_rows(positives, np.int32)}
    return replace(data, trainset=replace(data.trainset, **columns))


def stays(data, query: int, column: int) -> bool:
    """Return whether a passage is the query's own positive, or no positive of the query at all."""
    text = data.trainset.texts[ROWS[column // C]][column % C]
    return column == query * C or text not in data.trainset.positives[ROWS[query]]


def counting(data, row: list, query: int, among: str) -> list:
    """Return a query's candidates without its other positives, its own positive first."""
    columns = candidates(list(range(B * C)), query, among)
    return [row[column] for column in columns if among == "own" or stays(data, query, column)]


@pytest.mark.parametrize("family", ["dense", "lexicon"])
@pytest.mark.parametrize("among", ["batch", "batch_negatives", "own"])
def test_other_positives_of_a_query_are_masked_in_the_batch(crowded, family, among):
    changes = {"contrastive_candidates": among, "mask_positives": True}
    _, terms, scores = loss_of(crowded, family=family, **changes)
    expected = [cross_entropy(counting(crowded, row, i, among)) for i, row in enumerate(scores)]
    assert terms["contrastive"].item() == pytest.approx(sum(expected) / B, rel=1e-5)
    masked = sum(not stays(crowded, query, column) for query in range(B) for column in range(B * C))
    assert terms["masked"].item() == masked > 10


def test_without_masking_other_positives_of_a_query_are_negatives(crowded, data):
    _, terms, _ = loss_of(crowded, mask_positives=False)
    _, expected, _ = loss_of(data)
    assert terms["contrastive"].item() == expected["contrastive"].item() and "masked" not in terms


@pytest.mark.parametrize("loss", losses.DISTILLATION)
@pytest.mark.parametrize("among", ["batch", "batch_negatives"])
def test_teachers_over_the_batch_skip_masked_positives(crowded, teacher_scores, loss, among):
    teacher = {"stage": None, "stages": ["den", "lex"], "scale": 5.0, "loss": loss, "candidates": among}
    teachers = [tiny.TEACHER | teacher]
    _, terms, scores = loss_of(crowded, teachers=teachers, mask_positives=True)
    values, weights = [], []
    for i in range(B):
        normalised = [min_max(counting(crowded, teacher_scores[name][i].tolist(), i, among)) for name in ("den", "lex")]
        mixed = [5 * (a + b) / 2 for a, b in zip(*normalised, strict=True)]
        student = counting(crowded, scores[i], i, among)
        n, alone = len(student), losses.DISTILLATION[loss]
        values.append(alone(torch.tensor([student]), torch.tensor([mixed])).item())
        pairs = {"rank": n * (n - 1) / 2, "margin_mse": n - 1}
        weights.append(pairs.get(loss, n * n if loss.startswith("margin_mse_") else 1))
    expected = sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)
    assert terms[f"{loss}_den_lex_{among}"].item() == pytest.approx(expected, rel=1e-4)


def test_a_trainset_without_text_numbers_cannot_mask_positives(data):
    older = replace(data, trainset=replace(data.trainset, texts=None))
    with pytest.raises(InputError, match=r"no column 'texts', by which mask_positives .* draw it again"):
        loss_of(older, mask_positives=True)


def test_an_extra_loss_gets_the_masked_positives(crowded, folder):
    changes = {"extra_loss": f"{folder}/own.py:told", "mask_positives": True}
    _, terms, _ = loss_of(crowded, **changes)
    assert terms["told"].item() == terms["masked"].item() > 0


# --- teachers


def min_max(row: list[float]) -> list[float]:
    return [(s - min(row)) / (max(row) - min(row) + 1e-6) for s in row]


@pytest.fixture(scope="module")
def teacher_scores(folder, data):
    """Return every system's scores of the batch's queries and passages, read straight from the files."""
    scores = {}
    for name, (queries, *passages) in tiny.save_vectors(folder).items():
        matrices = []
        for path in (queries, *passages):
            if path.suffix == ".npy":
                matrices.append(np.load(path).astype(np.float64))
            else:
                columns, _ = read_arrow(path)
                matrix = np.zeros((len(columns["terms"]), 12))
                for i in range(len(matrix)):
                    matrix[i, columns["terms"][i]] = columns["weights"][i]
                matrices.append(matrix)
        rows = data.passages_of(ROWS).ravel()
        scores[name] = matrices[0][data.trainset.query[ROWS]] @ np.concatenate(matrices[1:])[rows].T
    return scores


@pytest.mark.parametrize("loss", ["kl", "margin_mse", "margin_mse_pairs"])
@pytest.mark.parametrize("among", ["batch", "batch_negatives"])
def test_a_teacher_of_several_systems_scores_the_batch_from_their_vectors(data, teacher_scores, loss, among):
    teacher = {"stage": None, "stages": ["den", "lex"], "weights": [1.0, 3.0], "scale": 30.0}
    teacher = tiny.TEACHER | teacher | {"loss": loss, "candidates": among, "weight": 0.3}
    total, terms, scores = loss_of(data, teachers=[teacher], contrastive_weight=0.0)
    mixed, student = [], []
    for i in range(B):
        den, lex = (min_max(candidates(teacher_scores[name][i].tolist(), i, among)) for name in ("den", "lex"))
        mixed.append([30 * (a + 3 * b) / 4 for a, b in zip(den, lex, strict=True)])
        student.append(candidates(scores[i], i, among))
    expected = losses.DISTILLATION[loss](torch.tensor(student), torch.tensor(mixed)).item()
    name = f"{loss}_den_lex_{among}"
    assert terms[name].item() == pytest.approx(expected, rel=1e-4)
    assert total == pytest.approx(0.3 * expected, rel=1e-4)


@pytest.mark.parametrize("family", ["dense", "lexicon"])
@pytest.mark.parametrize("system", ["den", "lex"])
def test_a_retriever_of_either_family_learns_from_the_batch_scores_of_either_family(
    data, teacher_scores, system, family
):
    teacher = tiny.TEACHER | {"stage": system, "loss": "kl", "candidates": "batch", "temperature": 2.0}
    _, terms, scores = loss_of(data, 0, family, teachers=[teacher])
    divergences = []
    for i in range(B):
        taught, learnt = ([s / 2 for s in candidates(rows[i], i, "batch")] for rows in (teacher_scores[system], scores))
        logs = [[s - math.log(sum(map(math.exp, row))) for s in row] for row in (taught, learnt)]
        divergences.append(4 * sum(math.exp(t) * (t - s) for t, s in zip(*logs, strict=True)))
    assert terms[f"kl_{system}_batch"].item() == pytest.approx(sum(divergences) / B, rel=1e-4)


def test_a_teacher_of_several_systems_scores_the_own_group_from_the_trainset(data, teacher_scores):
    first = data.trainset.scores["lex"]
    second = Ragged(-0.2 * first.values + np.arange(len(first.values)) % 3, first.offsets)
    trainset = data.trainset.with_scores({"den": second})
    with_two = objectives.TrainingData(data.queries, data.passages, trainset)
    teacher = tiny.TEACHER | {"stage": None, "stages": ["lex", "den"], "loss": "kl", "scale": 10.0}
    _, terms, scores = loss_of(with_two, teachers=[teacher])
    stored = [[trainset.scores[name][row].tolist() for row in ROWS] for name in ("lex", "den")]
    mixed = [[5 * (a + b) for a, b in zip(*map(min_max, rows), strict=True)] for rows in zip(*stored, strict=True)]
    student = [candidates(row, i, "own") for i, row in enumerate(scores)]
    expected = losses.kl(torch.tensor(student), torch.tensor(mixed)).item()
    assert terms["kl_lex_den"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("among", ["batch", "batch_negatives"])
def test_graded_labels_of_other_queries_passages_are_0_whatever_the_own_offset(data, among, offset):
    stored = data.trainset.scores["lex"]
    grades = (np.arange(len(stored.values)) % 4).astype(np.float32)
    trainset = data.trainset.with_scores({"labels": Ragged(grades, stored.offsets)})
    with_labels = objectives.TrainingData(data.queries, data.passages, trainset)
    teacher = {"stage": "labels", "loss": "kl", "candidates": among, "scale": 2.0, "own_offset": offset}
    teacher = tiny.TEACHER | teacher
    _, terms, scores = loss_of(with_labels, teachers=[teacher])
    labels, student = [], []
    for i, row in enumerate(ROWS):
        whole = [0.0] * (B * C)
        whole[i * C : (i + 1) * C] = [2.0 * grade + offset for grade in trainset.scores["labels"][row].tolist()]
        labels.append(candidates(whole, i, among))
        student.append(candidates(scores[i], i, among))
    expected = losses.kl(torch.tensor(student), torch.tensor(labels)).item()
    assert terms[f"kl_labels_{among}"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("normalize", "scale"), [(False, 2.0), (True, 7.0)])
def test_a_teachers_scores_are_normalised_and_then_scaled(data, normalize, scale):
    teacher = {"stage": "lex", "loss": "margin_mse", "normalize": normalize, "scale": scale}
    _, terms, scores = loss_of(data, teachers=[tiny.TEACHER | teacher])
    errors = []
    for i, row in enumerate(ROWS):
        stored = data.trainset.scores["lex"][row].tolist()
        stored = [scale * t for t in (min_max(stored) if normalize else stored)]
        group = candidates(scores[i], i, "own")
        errors += [((group[0] - s) - (stored[0] - t)) ** 2 for s, t in zip(group[1:], stored[1:], strict=True)]
    assert terms["margin_mse_lex"].item() == pytest.approx(sum(errors) / len(errors), rel=1e-4)


@pytest.mark.parametrize(("family", "changes"), [
    ("dense", {}), ("lexicon", {"contrastive_candidates": "own"}), ("ranker", {"ranking_loss": "softmax"}),
])  # fmt: skip
def test_the_label_of_every_family_is_smoothed(data, family, changes):
    _, terms, scores = loss_of(data, 0, family, label_smoothing=0.3, **changes)
    among = changes.get("contrastive_candidates", "batch")
    rows = scores if family == "ranker" else [candidates(row, i, among) for i, row in enumerate(scores)]
    smoothed = [
        0.7 * cross_entropy(row) + 0.3 * sum(cross_entropy(row, i) for i in range(len(row))) / len(row) for row in rows
    ]
    assert terms["contrastive"].item() == pytest.approx(sum(smoothed) / B, rel=1e-4)


def test_the_weighted_sum_of_splade_is_expressible(data):
    teachers = [
        tiny.TEACHER | {"stage": "lex", "loss": loss, "weight": weight}
        for loss, weight in (("margin_mse_pairs", 0.05), ("kl", 0.99))
    ]
    changes = {"contrastive_candidates": "batch_negatives", "contrastive_weight": 0.01}
    total, terms, _ = loss_of(data, teachers=teachers, **changes)
    parts = 0.01 * terms["contrastive"] + 0.05 * terms["margin_mse_pairs_lex"] + 0.99 * terms["kl_lex"]
    assert total == pytest.approx(parts.item(), rel=1e-5)


# --- regularisers

LAMBDAS = {"flops_passages": 0.3, "flops_queries": 0.2, "l1_passages": 0.04, "l1_queries": 0.05}


@pytest.mark.parametrize(("step", "share"), [(0, 0.0625), (1, 0.25), (3, 1.0), (99, 1.0)])
def test_the_weights_of_the_regularisers_grow_quadratically_with_the_steps(data, step, share):
    changes = LAMBDAS | {"anti_zero": 5.0, "regulariser_warmup": 4}
    total, terms, _ = loss_of(data, step, "lexicon", **changes)
    regularisers = share * sum(weight * terms[name].item() for name, weight in LAMBDAS.items())
    expected = terms["contrastive"].item() + regularisers + 5.0 * terms["anti_zero"].item()
    assert total == pytest.approx(expected, rel=1e-5)


def test_regularisers_have_full_weight_without_warm_up(data):
    total, terms, _ = loss_of(data, 0, "lexicon", **LAMBDAS)
    expected = terms["contrastive"] + sum(weight * terms[name] for name, weight in LAMBDAS.items())
    assert total == pytest.approx(expected.item(), rel=1e-5)
    assert "anti_zero" not in terms


def test_l1_and_anti_zero_follow_their_formulas(data):
    queries, passages = (side.tolist() for side in vectors_of("lexicon"))
    _, terms, _ = loss_of(data, 0, "lexicon", **LAMBDAS, anti_zero=1.0)
    assert terms["l1_queries"].item() == pytest.approx(sum(map(sum, queries)) / B, rel=1e-5)
    assert terms["l1_passages"].item() == pytest.approx(sum(map(sum, passages)) / (B * C), rel=1e-5)
    expected = sum(map(sum, queries)) ** -2 + sum(map(sum, passages)) ** -2
    assert terms["anti_zero"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("threshold", [None, 5])
def test_passage_flops_can_skip_short_texts_and_group_by_place(data, grouped, threshold):
    _, terms, _ = loss_of(data, 0, "lexicon", flops_threshold=threshold, flops_grouped=grouped)
    queries, passages = (side.tolist() for side in vectors_of("lexicon"))
    counted = [p if sum(w > 0 for w in p) > (threshold or -1) else [0.0] * 12 for p in passages]
    assert (counted != passages) == bool(threshold)
    places = [counted[place::C] for place in range(C)] if grouped else [counted]
    expected = sum((sum(p[v] for p in rows) / len(rows)) ** 2 for rows in places for v in range(12))
    assert terms["flops_passages"].item() == pytest.approx(expected, rel=1e-5)
    of_queries = sum((sum(q[v] for q in queries) / B) ** 2 for v in range(12))
    assert terms["flops_queries"].item() == pytest.approx(of_queries, rel=1e-5), "queries are always taken whole"


@pytest.mark.parametrize(("warmup", "shares"), [(0, [1, 1, 1]), (6, [1 / 36, 4 / 36, 9 / 36])])
def test_a_training_warms_up_its_regularisers_step_by_step(folder, tmp_path, warmup, shares):
    settings = tiny.settings("lexicon", max_steps=3, regulariser_warmup=warmup, flops_passages=0.5)
    train.train(tiny.training(folder, settings, tmp_path / "model"))
    log = [json.loads(line) for line in (tmp_path / "model/train.jsonl").read_text().splitlines()]
    for line, share in zip([line for line in log if "loss" in line], shares, strict=True):
        expected = line["contrastive"] + share * (0.5 * line["flops_passages"] + 0.02 * line["flops_queries"])
        assert line["loss"] == pytest.approx(expected, rel=1e-4)
        assert line["health"]["terms_per_passage"] > 0


def test_a_resumed_training_continues_the_warm_up(folder, tmp_path, monkeypatch):
    settings = tiny.settings("lexicon", max_steps=4, regulariser_warmup=6, flops_passages=0.5)
    train.train(tiny.training(folder, settings, tmp_path / "whole"))
    killed = tiny.training(folder, settings, tmp_path / "killed", running=RunningSettings(checkpoint_steps=1))
    whole = train.retriever_loss

    def until_the_third_step(*arguments):
        if arguments[-1] == 2:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(train, "retriever_loss", until_the_third_step)
    with pytest.raises(KeyboardInterrupt):
        train.train(killed)
    monkeypatch.setattr(train, "retriever_loss", whole)
    train.train(killed)
    first, second = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed"))
    assert first == second


# --- losses from the user's file


def test_a_teachers_loss_may_be_a_user_function(folder, data):
    teacher = tiny.TEACHER | {"stage": "lex", "loss": f"{folder}/own.py:doubled", "weight": 0.5, "scale": 3.0}
    total, terms, scores = loss_of(data, teachers=[teacher], contrastive_weight=0.0)
    stored = [[3 * t for t in data.trainset.scores["lex"][row]] for row in ROWS]
    groups = [candidates(row, i, "own") for i, row in enumerate(scores)]
    expected = 2 * np.abs(np.array(groups) - np.array(stored)).mean()
    assert terms["doubled_lex"].item() == pytest.approx(expected, rel=1e-4)
    assert total == pytest.approx(0.5 * expected, rel=1e-4)


@pytest.mark.parametrize("family", ["dense", "lexicon", "ranker"])
def test_an_extra_user_loss_gets_the_batch_and_the_step(folder, data, family):
    changes = {"extra_loss": f"{folder}/own.py:spread", "extra_loss_weight": 0.25}
    total, terms, scores = loss_of(data, 2, family, **changes)
    without, _, _ = loss_of(data, 2, family)
    groups = scores if family == "ranker" else [candidates(row, i, "own") for i, row in enumerate(scores)]
    expected = np.std(groups, ddof=1) + 2
    assert terms["spread"].item() == pytest.approx(expected, rel=1e-4)
    assert total - without == pytest.approx(0.25 * expected, rel=1e-3)


def test_an_extra_loss_of_a_retriever_gets_all_vectors_and_scores(folder, data):
    queries, passages = vectors_of("dense")
    _, terms, _ = loss_of(data, extra_loss=f"{folder}/own.py:vectors")
    assert terms["vectors"].item() == pytest.approx((queries.sum() + passages.sum()).item() / (B * B * C), rel=1e-4)


def test_error_names_a_loss_that_is_not_a_scalar(folder, data):
    teacher = tiny.TEACHER | {"stage": "lex", "loss": f"{folder}/own.py:by_query"}
    with pytest.raises(InputError, match=r"own.py:by_query: .* returned a tensor of shape \(4,\)"):
        loss_of(data, teachers=[teacher])


def test_edited_user_code_or_other_vectors_change_the_fingerprint(folder, tmp_path):
    (user_file := tmp_path / "own.py").write_text(OWN_FILE)
    settings = tiny.settings("dense", extra_loss=f"{user_file}:spread")
    vectors = tiny.save_vectors(folder)["den"]
    training = tiny.training(folder, settings, tmp_path / "model", teacher_vectors={"den": vectors})
    before = training.fingerprint(1)
    assert training.fingerprint(1) == before
    user_file.write_text(OWN_FILE + "\n")
    edited = training.fingerprint(1)
    fewer = replace(training, teacher_vectors={"den": vectors[:-1]})
    assert len({before, edited, fewer.fingerprint(1)}) == 3


def test_a_training_reads_the_vectors_of_its_teachers(folder, tmp_path):
    teacher = {"stage": None, "stages": ["den", "lex"], "loss": "kl", "candidates": "batch", "scale": 10.0}
    settings = tiny.settings("dense", max_steps=2, teachers=[tiny.TEACHER | teacher])
    vectors = tiny.save_vectors(folder)
    train.train(tiny.training(folder, settings, tmp_path / "model", teacher_vectors=vectors))
    first = json.loads((tmp_path / "model/train.jsonl").read_text().splitlines()[0])
    assert first["kl_den_lex_batch"] > 0
