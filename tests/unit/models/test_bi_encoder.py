"""Retrievers that encode queries and passages differently: untied encoders, pruned weights, heads."""

import numpy as np
import pytest
import tiny
import torch
from accelerate import Accelerator

from led_pipeline.data.tokens import Batch
from led_pipeline.files.errors import InputError
from led_pipeline.inference import encode
from led_pipeline.models import bi_encoder, saved_model
from led_pipeline.models.backbone import to_packed_batch
from led_pipeline.models.bi_encoder import BiEncoder, Pruning
from led_pipeline.training import modules, train
from led_pipeline.training.validation import Reranking

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sides")
    tiny.save_dataset(folder)
    tiny.backbone("dense", seed=5).save_pretrained(folder / "other")
    tiny.backbone("lexicon", seed=5).save_pretrained(folder / "other_lexicon")
    return folder


def loaded(folder, family, query_init=None, **changes):
    settings = tiny.settings(family, **changes)
    return tiny.start(folder / family, settings, folder / "tokenizer", query_init=query_init), settings


def saved(model, settings, folder, out):
    out.mkdir()
    saved_model.save(model, settings, folder / "tokenizer", out)
    return saved_model.load(out)[0]


def batch(*lengths: int, seed: int = 0) -> Batch:
    ids, mask = tiny.batch(lengths, seed)
    return Batch(ids[mask.bool()].numpy(), mask.sum(dim=1).numpy())


# --- texts of one side


@pytest.mark.parametrize("lengths", [[3, 9, 2, 5, 9, 4], [9, 8, 7, 6, 5, 4], [2, 3, 4, 5, 6, 7], [4, 4, 4, 4, 4, 4]])
def test_a_part_of_a_batch_equals_a_batch_of_that_side_alone(lengths):
    queries, passages = batch(*lengths[:2], seed=1), batch(*lengths[2:], seed=2)
    both = to_packed_batch(queries.followed_by(passages), CPU)
    for part, side in ((both.between(0, 2), queries), (both.between(2, 6), passages)):
        alone = to_packed_batch(side, CPU)
        for name in ("ids_N", "positions_N", "cu_seqlens"):
            assert torch.equal(getattr(part, name), getattr(alone, name)), name
        rows = torch.arange(len(side))
        assert part.restore(rows).tolist() == alone.restore(rows).tolist()
        assert (part.runs, part.longest) == (alone.runs, alone.longest)


# --- pruning


def test_top_k_keeps_the_highest_weights_and_the_ratio_drops_small_ones():
    weights = torch.tensor([[0.5, 2.0, 0.0, 1.0, 1.5], [0.0, 0.0, 0.0, 0.0, 0.0]])
    assert Pruning(top_k=2)(weights).tolist() == [[0, 2, 0, 0, 1.5], [0] * 5]
    assert Pruning(ratio=0.5)(weights).tolist() == [[0, 2, 0, 0, 1.5], [0] * 5], "1.0 is not more than half of 2.0"
    assert Pruning(ratio=0.4)(weights).tolist() == [[0, 2, 0, 1, 1.5], [0] * 5]
    assert Pruning(top_k=1, ratio=0.4)(weights).tolist() == [[0, 2, 0, 0, 0], [0] * 5]
    assert torch.equal(Pruning(top_k=9)(weights), weights)


def test_top_k_equals_sorting():
    weights = torch.rand(4, 30, generator=torch.Generator().manual_seed(0))
    expected = np.where(weights.numpy() >= np.sort(weights.numpy())[:, -7:-6], weights.numpy(), 0)
    np.testing.assert_array_equal(Pruning(top_k=7)(weights), expected)


def test_pruned_weights_get_no_gradient():
    weights = torch.tensor([[0.5, 2.0, 1.0]], requires_grad=True)
    (Pruning(top_k=2)(weights) * torch.tensor([3.0, 5.0, 7.0])).sum().backward()
    assert weights.grad.tolist() == [[0.0, 5.0, 7.0]]


def test_each_side_has_its_own_top_k_in_training_and_encoding(folder, tmp_path):
    model, settings = loaded(folder, "lexicon", top_k_queries=2, top_k_passages=5)
    queries, passages = batch(9, 7, 8, seed=1), batch(12, 9, seed=2)
    with torch.no_grad():
        sides = modules.Retriever(model)(to_packed_batch(queries.followed_by(passages), CPU), [3, 2])
    assert [(vectors > 0).sum(dim=1).tolist() for vectors in sides] == [[2, 2, 2], [5, 5]]
    again, store = (
        saved(model, settings, folder, tmp_path / "model").eval(),
        encode.TokenStore([folder / "passages.arrow"]),
    )
    for name, most in (("query", 2), ("passage", 5)):
        rows = encode.sparse_rows(bi_encoder.encoder_of(again, name), store, np.arange(30), 20, CPU)
        assert rows["terms"].lengths.max() == most


# --- untied


@pytest.mark.parametrize("family", ["dense", "lexicon"])
def test_an_untied_model_starts_from_two_equal_encoders_or_from_query_init(folder, family):
    texts = to_packed_batch(batch(9, 5, 7), CPU)
    plain = loaded(folder, family)[0](texts)
    model = loaded(folder, family, untied=True)[0]
    assert torch.equal(model.encode(texts, "query"), plain) and torch.equal(model.encode(texts, "passage"), plain)
    other = str(folder / ("other" if family == "dense" else "other_lexicon"))
    model = loaded(folder, family, untied=True, query_init=other)[0]
    expected = tiny.start(other, tiny.settings(family))(texts)
    assert torch.equal(model.encode(texts, "query"), expected) and not torch.equal(expected, plain)
    assert torch.equal(model.encode(texts, "passage"), plain)


@pytest.mark.parametrize("family", ["dense", "lexicon"])
def test_both_encoders_learn_and_are_saved_separately(folder, tmp_path, family):
    settings = tiny.settings(family, untied=True, max_steps=3, batch_size=4)
    train.train(tiny.training(folder, settings, tmp_path / "model"))
    model, texts = saved_model.load(tmp_path / "model")[0].eval(), to_packed_batch(batch(9, 5, 7), CPU)
    first = loaded(folder, family)[0](texts)
    query, passage = model.encode(texts, "query"), model.encode(texts, "passage")
    for one, other in ((query, first), (passage, first), (query, passage)):
        assert (one - other).abs().max() > 1e-4
    stage = tiny.settings(family, untied=True)
    assert torch.equal(tiny.start(tmp_path / "model", stage).encode(texts, "query"), query), "as init of a stage"
    with pytest.raises(InputError, match=r"untied: '.*model' is .* with untied true .*; write untied: true"):
        tiny.start(tmp_path / "model", tiny.import_settings(family))
    with pytest.raises(InputError, match=r"untied: '.*model' has a query encoder of its own; set untied: true"):
        tiny.start(tmp_path / "model", tiny.import_settings(family, reinterpret=True))


def test_a_batch_of_both_sides_equals_each_side_alone_even_in_chunks(folder):
    settings = tiny.settings("dense", untied=True)
    queries, passages = batch(3, 9, seed=1), batch(5, 12, 2, 7, seed=2)
    gradients = {}
    for name, cut in (("whole", None), ("chunks", 2)):
        model = tiny.start(folder / "dense", settings, query_init=str(folder / "other"))
        vectors = modules.trainable(model, tiny.changed(settings, gradient_cache=cut))(
            to_packed_batch(queries.followed_by(passages, passages), CPU), [2, 4, 4]
        )
        torch.testing.assert_close(
            vectors[0], model.encode(to_packed_batch(queries, CPU), "query"), rtol=1e-5, atol=1e-6
        )
        torch.testing.assert_close(
            vectors[2], model.encode(to_packed_batch(passages, CPU), "passage"), rtol=1e-5, atol=1e-6
        )
        sum(part.square().sum() for part in vectors).backward()
        gradients[name] = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert {name.partition(".")[0] for name in gradients["whole"]} == {"query", "passage"}
    for name, gradient in gradients["whole"].items():
        torch.testing.assert_close(gradients["chunks"][name], gradient, rtol=1e-4, atol=1e-5, msg=name)


# --- heads


def test_a_head_projects_the_pooled_vector_and_is_saved_with_the_model(folder, tmp_path):
    model, settings = loaded(folder, "dense", head=5, pooling="mean", normalize=True)
    texts = to_packed_batch(batch(9, 5, 7), CPU)
    pooled = loaded(folder, "dense", pooling="mean")[0](texts)
    expected = torch.nn.functional.normalize(pooled @ model.head.weight.T, dim=1)
    torch.testing.assert_close(model(texts), expected, rtol=1e-5, atol=1e-6)
    assert model.size == 5
    again = saved(model, settings, folder, tmp_path / "model")
    torch.testing.assert_close(again.eval()(texts), model.eval()(texts), rtol=0, atol=0)
    rows = encode.dense_rows(again, encode.TokenStore([folder / "queries.arrow"]), np.arange(4), 8, CPU)
    assert rows.shape == (4, 5)
    with pytest.raises(InputError, match=r"head: '.*model' is .* with head 5 \(led.json\).*; write head: 5"):
        tiny.start(tmp_path / "model", tiny.import_settings("dense"))
    with pytest.raises(InputError, match=r"head: '.*model' has a linear head of 5 dimensions"):
        tiny.start(tmp_path / "model", tiny.import_settings("dense", reinterpret=True))


def test_initial_weights_of_a_head_depend_on_the_seed_alone(folder):
    heads = []
    for seed, other in ((1, 7), (1, 8), (2, 7)):
        torch.manual_seed(other)
        heads.append(loaded(folder, "dense", head=5, seed=seed)[0].head.weight)
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])


def test_a_plain_retriever_is_not_a_bi_encoder(folder):
    assert not isinstance(loaded(folder, "dense")[0], BiEncoder) and not isinstance(
        loaded(folder, "lexicon")[0], BiEncoder
    )


def test_validation_scores_queries_and_passages_each_with_their_own_encoder(folder):
    settings = tiny.settings("dense", untied=True)
    model = tiny.start(folder / "dense", settings, query_init=str(folder / "other")).eval()
    stores = [encode.TokenStore([folder / f"{name}.arrow"]) for name in ("queries", "passages")]
    rest = {"ranking": None, "grades": {}, "sample": None, "depth": 9, "measures": ["MRR@10"], "settings": settings}
    reranking = Reranking(*stores, **rest, accelerator=Accelerator(cpu=True))
    scores = reranking._dot_products(model, np.array([3, 3, 0]), np.array([1, 29, 29]))
    for (query, passage), score in zip(((3, 1), (3, 29), (0, 29)), scores, strict=True):
        left = model.encode(to_packed_batch(stores[0].texts([query], 8), CPU), "query")
        right = model.encode(to_packed_batch(stores[1].texts([passage], 20), CPU), "passage")
        assert score == pytest.approx((left @ right.T).item(), rel=1e-4)
