"""The plan of models beyond a single BERT, against weight counts of transformers and peft and bytes by hand."""

from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from peft import LoraConfig, inject_adapter_in_model
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    MistralConfig,
    MistralModel,
    Olmo2Config,
    T5Config,
    T5EncoderModel,
    T5ForConditionalGeneration,
    T5Model,
)

from led_pipeline.models.backbone import FIRST_POSITION
from led_pipeline.plan import assumptions
from led_pipeline.plan.compute import Computer, Speed, tokens_of
from led_pipeline.plan.disk import artefacts
from led_pipeline.plan.shapes import WITHOUT_PADDING, Shape, root
from led_pipeline.plan.stage_models import StageModel, stage_models
from led_pipeline.plan.table import estimate
from led_pipeline.plan.workload import Workload
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.load import load_recipe

NOWHERE = Path("/nowhere/results")
GPT2 = GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=97, n_positions=40)
LLAMA = LlamaConfig(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
                    intermediate_size=80, vocab_size=97)  # fmt: skip
OLMO = Olmo2Config(hidden_size=32, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
                   intermediate_size=80, vocab_size=97)  # fmt: skip
MISTRAL = MistralConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=1,
                        intermediate_size=80, vocab_size=97)  # fmt: skip
T5 = {"d_model": 32, "d_kv": 4, "num_heads": 4, "d_ff": 64, "num_layers": 3, "num_decoder_layers": 2, "vocab_size": 97}
T5_PLAIN = T5Config(**T5)
T5_GATED = T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
TRUE_FALSE = {"family": "ranker", "scoring": "true_false"}


def count(model) -> int:
    return sum(p.numel() for p in model.parameters())


def model_of(config, **stage) -> StageModel:
    """Return the model of a stage that starts from a folder with this config."""
    return stage_models(recipe_of(config, **stage), NOWHERE)["s"]


def recipe_of(config, folder: str | None = None, **stage) -> Recipe:
    start = folder or saved(config)
    return load_recipe(
        {
            "dataset": {"name": "s", "source": "folder", "folder": "x", "splits": {"train": {}, "dev": {}}},
            "tokenizer": start,
            "mining": {"depth": 20, "hits": 30},
            "evaluation": {"depth": 100},
            "stages": {"s": {"init": start, "negatives": ["bm25"], "batch_size": 4, "negatives_per_query": 3} | stage},
        }
    )


FOLDERS: dict[int, str] = {}


def saved(config) -> str:
    return FOLDERS[id(config)]


@pytest.fixture(scope="module", autouse=True)
def _folders(tmp_path_factory):
    for config in (GPT2, LLAMA, MISTRAL, OLMO, T5_PLAIN, T5_GATED, BERT):
        folder = tmp_path_factory.mktemp(config.model_type)
        config.save_pretrained(folder)
        FOLDERS[id(config)] = str(folder)


BERT = BertConfig(**tiny.BERT)


@pytest.mark.parametrize(
    ("config", "model_class", "stage"),
    [
        (GPT2, GPT2Model, {"family": "dense"}),
        (LLAMA, LlamaModel, {"family": "dense"}),
        (MISTRAL, MistralModel, {"family": "dense"}),
        (T5_PLAIN, T5EncoderModel, {"family": "dense"}),
        (T5_GATED, T5EncoderModel, {"family": "dense"}),
        (T5_PLAIN, T5Model, {"family": "dense", "encoder_decoder": "first_decoder_token"}),
        (T5_GATED, T5Model, {"family": "dense", "encoder_decoder": "first_decoder_token"}),
        (T5_PLAIN, T5ForConditionalGeneration, TRUE_FALSE),
        (T5_GATED, T5ForConditionalGeneration, TRUE_FALSE),
    ],
)
def test_weight_counts_equal_transformers(config, model_class, stage):
    model = model_of(config, **stage)
    assert (model.parameters, model.is_known) == (count(model_class(config)), True)
    assert model.trained == model.parameters and model.held_bytes == 4 * model.parameters


@pytest.mark.parametrize("targets", [None, ["q_proj", "k_proj", "v_proj", "o_proj", "down_proj", "up_proj"]])
@pytest.mark.parametrize(
    ("config", "model_class"),
    [
        (BERT, BertModel),
        (DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=64, vocab_size=97), DistilBertModel),
        (GPT2, GPT2Model),
        (LLAMA, LlamaModel),
        (MISTRAL, MistralModel),
        (T5_PLAIN, T5Model),
        (T5_GATED, T5Model),
    ],
)
def test_adapter_counts_equal_peft(config, model_class, targets):
    if config.model_type == "distilbert" or (targets and config not in (LLAMA, MISTRAL)):  # peft asks for names
        targets = {"bert": ["key", "attention.output.dense"], "distilbert": ["lin1"], "gpt2": ["c_proj"]}.get(
            config.model_type, ["o", "wo", "wi_0"]
        )
    backbone = model_class(config)
    inject_adapter_in_model(LoraConfig(r=3, target_modules=targets), backbone)
    adapted = sum(p.numel() for p in backbone.parameters() if p.requires_grad)
    assert Shape.from_config(config.to_dict()).adapters(3, targets) == adapted > 0


def test_weights_of_a_head_and_of_two_encoders_are_counted():
    one, plain = count(BertModel(BERT)), model_of(BERT, family="dense")
    assert plain.parameters == pytest.approx(one, rel=0.1)  # counted with a masked-LM head
    untied = model_of(BERT, family="dense", untied=True, head=5)
    assert untied.parameters == 2 * plain.parameters + 2 * 5 * BERT.hidden_size == untied.trained
    assert untied.state_bytes == 12 * untied.parameters
    assert untied.inference_memory() - plain.inference_memory() == pytest.approx(
        4 * (untied.parameters - plain.parameters) + assumptions.COPY_BYTES * plain.shape.linear
    )


def test_with_adapters_the_rest_has_no_moments_and_no_gradient():
    plain, lora = model_of(LLAMA, family="dense"), model_of(LLAMA, family="dense", lora={"rank": 2})
    adapters = 3 * 2 * ((32 + 64) + (32 + 32))  # layers x rank x (queries, values)
    assert lora.trained == lora.adapters == adapters and lora.parameters == plain.parameters
    assert lora.state_bytes == 4 * plain.parameters + 12 * adapters
    assert lora.training_flops(1, 1) == plain.training_flops(1, 1) * 4 / 6
    # queries and output, keys and values, and three matrices of the feed-forward part
    linear = 3 * (2 * 32 * 64 + 2 * 32 * 32 + 3 * 32 * 80)
    four = model_of(LLAMA, family="dense", lora={"rank": 2}, load_in="4bit")
    assert four.held_bytes == pytest.approx(lora.held_bytes - linear * (4 - 4.13 / 8))
    assert lora.training_memory(9, 9, 9) - four.training_memory(9, 9, 9) == pytest.approx(linear * (4 - 4.13 / 8))


def test_seven_billion_weights_of_a_mistral():
    published = {"model_type": "mistral", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
                 "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 32000, "rms_norm_eps": 1e-5,
                 "torch_dtype": "bfloat16", "max_position_embeddings": 32768}  # fmt: skip
    shape = Shape.from_config(published)
    assert shape.parameters + 32_000 * 4_096 == 7_241_732_096  # the published count, output embeddings included
    assert (shape.stored_bytes, shape.padded) == (2, False)


def test_a_bert_layer_keeps_42_bytes_per_unit_for_the_gradient():
    shape = Shape(hidden=64, layers=2, heads=4, intermediate=256)
    layer, embeddings = (18 + 4 + 4 + 4 * 4) * 64, 12 * 64
    assert shape.activations(10, 8, half=True, checkpointing=False) == 10 * (2 * layer + embeddings)
    float32 = shape.activations(10, 8, half=False, checkpointing=False)
    assert float32 == pytest.approx(1.9 * 10 * (2 * layer + embeddings))
    assert shape.activations(10, 8, half=True, checkpointing=True) == 10 * (layer + 2 * 2 * 64 + embeddings)
    # Attention is a matrix of heads and positions in a T5 alone.
    assert replace(shape, kind="t5").activations(10, 8, half=True, checkpointing=False) == 10 * (
        2 * (layer + 5 * 4 * 8) + embeddings
    )


def test_model_types_without_padding_equal_those_of_the_backbone():
    assert set(WITHOUT_PADDING) == set(FIRST_POSITION)


# --- bytes and hours

LOAD = Workload(passages=1_000, text_bytes=450, queries={"train": 50, "dev": 10}, examples=40, basis="by hand")
QUERY, PASSAGE = 37 / 4.5 + 2, 100 + 3  # mean tokens


def bytes_of(recipe: Recipe, folder: str) -> float:
    files = artefacts(recipe, LOAD, stage_models(recipe, NOWHERE))
    return sum(a.bytes for a in files if a.folder == folder and not a.transient)


def cost(recipe: Recipe):
    return Computer(recipe, LOAD, stage_models(recipe, NOWHERE), Speed()).all()["s"]


def cpu_hours(flops: float, threads: int = 1) -> float:
    return flops / (threads * assumptions.CPU_GFLOPS * 1e9) / 3600


def test_a_heads_vectors_are_smaller_on_disk_and_searched_faster():
    wide, narrow = (recipe_of(BERT, family="dense", head=head) for head in (None, 4))
    assert bytes_of(wide, "vectors") == 2 * BERT.hidden_size * (1_000 + 10)
    assert bytes_of(narrow, "vectors") == 2 * 4 * (1_000 + 10)
    assert cost(narrow).hours["search"] == pytest.approx(cpu_hours(2 * 10 * 1_000 * 4))


def test_queries_without_a_model_cost_nothing_and_have_few_terms():
    lexicon = {"family": "lexicon", "top_k_passages": 50, "flops_queries": 0, "max_steps": 10}
    model, free = (recipe_of(BERT, **lexicon, query_encoder=kind) for kind in ("model", "bag_of_words"))
    assert bytes_of(model, "vectors") == 1_000 * (50 * 6 + 16) + 10 * (43 * 6 + 16)
    assert bytes_of(free, "vectors") == pytest.approx(1_000 * (50 * 6 + 16) + 10 * (37 / 4.5 * 6 + 16))
    assert bytes_of(model, "index") - bytes_of(free, "index") == 0
    shape = StageModel.of(model, "s", NOWHERE).shape
    encoded = [cost(recipe).hours["encode"] for recipe in (model, free)]
    assert encoded[0] - encoded[1] == pytest.approx(cpu_hours(10 * QUERY * shape.inference_flops("lexicon")))
    assert encoded[1] == pytest.approx(cpu_hours(1_000 * PASSAGE * shape.inference_flops("lexicon")))
    trained = [cost(recipe).hours["train"] for recipe in (model, free)]
    assert trained[0] - trained[1] == pytest.approx(cpu_hours(10 * 4 * QUERY * shape.training_flops("lexicon")))


def test_a_separate_query_encoder_encodes_queries_only():
    recipe = recipe_of(BERT, family="dense", untied=True, query_init=saved(GPT2), max_steps=10)
    model = StageModel.of(recipe, "s", NOWHERE)
    assert (root(recipe, "s"), root(recipe, "s", queries=True)) == (saved(BERT), saved(GPT2))
    assert model.query.kind == "gpt2" and model.parameters == model.shape.parameters + count(GPT2Model(GPT2))
    flops = 2 * (1_000 * PASSAGE * model.shape.body + 10 * QUERY * model.query.body)
    assert cost(recipe).hours["encode"] == pytest.approx(cpu_hours(flops))
    assert bytes_of(recipe, "models") == 4 * model.parameters


def test_texts_that_are_padded_together_count_with_the_longest():
    recipe = recipe_of(OLMO, family="dense", max_steps=10, query_length=16, passage_length=64)
    body = 3 * (2 * 32 * 64 + 2 * 32 * 32 + 3 * 32 * 80)
    # 10 steps of 4 queries with 4 passages, all 64 tokens long
    flops = 10 * 4 * (1 + 4) * 64 * 6 * body
    assert cost(recipe).hours["train"] == pytest.approx(cpu_hours(flops) + 10 * assumptions.STEP_OVERHEAD_S / 3600)


def test_prefixes_and_a_question_make_texts_longer():
    assert tokens_of("Query: {query} Document: {passage} Relevant:") == len("Query:  Document:  Relevant:") / 4.5
    prefixed = recipe_of(BERT, family="dense", query_prefix="x" * 9, query_length=11, passage_prefix="x" * 45)
    flops = 2 * (1_000 * (PASSAGE + 10) + 10 * 11) * StageModel.of(prefixed, "s", NOWHERE).shape.body
    assert cost(prefixed).hours["encode"] == pytest.approx(cpu_hours(flops))
    true_false = recipe_of(T5_PLAIN, **TRUE_FALSE, rerank={"depth": 5})
    # of a T5 the encoder and, per token, the keys and values of the decoder's two layers
    body = 3 * (4 * 32 * 16 + 2 * 32 * 64) + 2 * 2 * 32 * 16
    tokens = QUERY + PASSAGE + tokens_of("Query: {query} Document: {passage} Relevant:")
    assert cost(true_false).hours["score"] == pytest.approx(cpu_hours(10 * 5 * tokens * 2 * body))


def test_an_epoch_with_one_positive_per_query_has_an_example_of_every_query():
    load = replace(LOAD, examples=80)
    steps = []
    for kind in ("all", "one"):
        recipe = recipe_of(BERT, family="dense", positives_per_epoch=kind, validation=False, epochs=2)
        hours = Computer(recipe, load, stage_models(recipe, NOWHERE), Speed()).all()["s"].hours["train"]
        flops = 4 * (4 * PASSAGE + QUERY) * 6 * StageModel.of(recipe, "s", NOWHERE).shape.body
        steps.append(hours / (cpu_hours(flops) + assumptions.STEP_OVERHEAD_S / 3600))
    assert steps == [pytest.approx(2 * 20), pytest.approx(2 * 13)]  # 80 pairs or 50 queries by 4


def test_a_hub_model_that_only_queries_start_from_is_planned(tmp_path):
    folder = tmp_path / "hub" / "org--queries"
    folder.mkdir(parents=True)
    GPT2.save_pretrained(folder)
    forecast = estimate(recipe_of(BERT, family="dense", untied=True, query_init="org/queries"), tmp_path)
    assert forecast.by_folder()["hub"] == 4 * count(GPT2Model(GPT2)) + assumptions.TOKENIZER_BYTES


def test_a_teacher_of_the_whole_batch_needs_its_vectors_of_the_training_queries():
    recipe = recipe_of(BERT, family="dense", max_steps=10)
    stages = {"t": recipe.stages["s"].model_dump() | {"train": False, "head": 4}}
    teachers = [{"stage": "t", "loss": "kl", "candidates": "batch"}]
    stages["s"] = recipe.stages["s"].model_dump() | {"teachers": teachers}
    taught = load_recipe(recipe.model_dump() | {"stages": stages})
    assert bytes_of(taught, "vectors") == 2 * BERT.hidden_size * (1_000 + 10) + 2 * 4 * (1_000 + 10 + 50)
    own_group = load_recipe(recipe.model_dump() | {"stages": stages | {"s": stages["s"] | {"teachers": [
        {"stage": "t", "loss": "kl"}]}}})  # fmt: skip
    assert bytes_of(own_group, "trainsets") > bytes_of(taught, "trainsets") == bytes_of(recipe, "trainsets")


@pytest.mark.parametrize(
    ("family", "layers", "queries", "candidates", "measured"),
    [
        ("dense", 12, 16, 33, 17.1),
        ("dense", 12, 4, 33, 5.7),
        ("dense", 12, 2, 33, 3.8),
        ("dense", 12, 16, 8, 5.6),
        ("lexicon", 6, 48, 6, 5.6),
    ],
)
def test_the_memory_of_a_training_is_that_of_a_real_steps_tensors(family, layers, queries, candidates, measured):
    """Measured in GB by benchmarks/fake_step.py; 15 % are for chunks that live for a moment."""
    model = StageModel(model_of(BERT, family=family).stage, Shape(layers=layers))
    texts = queries * (candidates + 1)
    memory = model.training_memory(9 * queries, 75 * queries * candidates, 128, texts) - assumptions.GPU_RESERVE
    assert measured <= memory / 1e9 < 1.15 * measured


def test_the_longer_of_host_and_gpu_counts_in_a_step():
    recipe = recipe_of(BERT, family="dense", max_steps=10)
    train = recipe.resources.train.model_copy(update={"gpu": 1})
    gpus = recipe.model_copy(update={"resources": recipe.resources.model_copy(update={"train": train})})
    fast = Computer(gpus, LOAD, stage_models(gpus, NOWHERE), Speed("H200")).all()["s"].hours["train"]
    assert fast * 3600 == pytest.approx(10 * assumptions.STEP_HOST_S + assumptions.JOB_START_S)
