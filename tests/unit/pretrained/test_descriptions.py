"""What model folders say about themselves: adopted by stages that leave a key out, an error for those that differ."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from configs import RECIPES, changed
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Dense, Router
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from sentence_transformers.sparse_encoder.modules import MLMTransformer, SparseStaticEmbedding, SpladePooling

from led_pipeline.data.prefixes import with_prefix
from led_pipeline.data.tokens import TokenStore
from led_pipeline.files.errors import InputError
from led_pipeline.models import saved_model
from led_pipeline.models.backbone import to_packed_batch
from led_pipeline.models.bi_encoder import BiEncoder
from led_pipeline.models.starting import with_adopted
from led_pipeline.pretrained.descriptions import describe, of_folders
from led_pipeline.recipe import starts
from led_pipeline.recipe.load import load_recipe
from led_pipeline.recipe.starts import Adoption, contradictions
from led_pipeline.recipe.step_settings import IMPORT

TEXTS = [*tiny.texts(4, 12, seed=5), "a", "", "a b c " * 40]
SAME = {"pooling": "mean", "normalize": True, "query_prefix": "query: ", "passage_prefix": "passage: "}
PROMPTS = {"query": "query: ", "document": "passage: "}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return a folder with models that sentence-transformers saved: dense, head, splade and static."""
    folder = tmp_path_factory.mktemp("models")
    for family in ("dense", "lexicon"):
        tiny.backbone(family).save_pretrained(folder / family)
        tiny.save_tokenizer(folder / family)

    def transformer() -> Transformer:
        return Transformer(str(folder / "dense"), max_seq_length=20)

    def splade() -> list:
        return [MLMTransformer(str(folder / "lexicon"), max_seq_length=24), SpladePooling("max", "log1p_relu")]

    head = Dense(16, 8, bias=False, activation_function=torch.nn.Identity())
    tiny.fill(head)
    pooled = [transformer(), Pooling(16, "mean"), Normalize()]
    SentenceTransformer(modules=pooled, prompts=PROMPTS).save(str(folder / "sentences"))
    projected = [transformer(), Pooling(16, "lasttoken"), head]
    SentenceTransformer(modules=projected, similarity_fn_name="dot").save(str(folder / "head"))
    SparseEncoder(modules=splade()).save(str(folder / "splade"))
    documents = splade()
    weight = torch.linspace(0.1, 2.0, len(tiny.VOCABULARY))
    table = SparseStaticEmbedding(documents[0].tokenizer, weight=weight, frozen=True)
    router = Router.for_query_document(query_modules=[table], document_modules=documents)
    SparseEncoder(modules=[router]).save(str(folder / "static"))
    return folder


def adopted(folder: Path, family: str, **keys_of_recipe):
    """Return the settings of an import that says only some keys and takes the others from the folder."""
    settings = IMPORT[family].model_validate({"family": family, **keys_of_recipe})
    keys = [key for key in (*starts.LENGTHS, *starts.compared(family, trained=False)) if key not in keys_of_recipe]
    return with_adopted(str(folder), settings, Adoption(keys=keys, max_tokens=512))[0]


def encode(folder: Path, settings, side: str, tmp_path: Path) -> np.ndarray:
    """Return our vectors of TEXTS, read as passages without titles or as queries."""
    tiny.save_store(tmp_path / f"{side}.arrow", folder, {"text": TEXTS})
    store = with_prefix(TokenStore.for_stage([tmp_path / f"{side}.arrow"], settings), side, str(folder), settings)
    batch = to_packed_batch(store.texts(range(len(TEXTS)), settings.length(side)), torch.device("cpu"))
    model = tiny.start(folder, settings)
    if isinstance(model, BiEncoder):
        model = (model.query or model.passage) if side == "query" else model.passage
    with torch.no_grad():
        return model.eval()(batch).numpy()


def reference(model, side: str) -> np.ndarray:
    vectors = (model.encode_query if side == "query" else model.encode_document)(TEXTS)
    return vectors.to_dense().numpy() if isinstance(vectors, torch.Tensor) else vectors


# --- adopted


@pytest.mark.parametrize("side", ["query", "passage"])
@pytest.mark.parametrize(("name", "expected"), [
    ("sentences", SAME | {"query_length": 20, "passage_length": 20, "head": None}),
    ("head", {"pooling": "last", "normalize": False, "head": 8, "query_prefix": "", "passage_length": 20}),
])  # fmt: skip
def test_a_dense_stage_that_says_nothing_gives_the_vectors_of_sentence_transformers(
    models, tmp_path, name, expected, side
):
    settings = adopted(models / name, "dense")
    assert {key: getattr(settings, key) for key in expected} == expected
    ours = encode(models / name, settings, side, tmp_path)
    np.testing.assert_allclose(ours, reference(SentenceTransformer(str(models / name)), side), atol=1e-5)


@pytest.mark.parametrize("side", ["query", "passage"])
def test_a_lexicon_stage_that_says_nothing_gives_the_weights_of_sentence_transformers(models, tmp_path, side):
    settings = adopted(models / "splade", "lexicon")
    assert (settings.activation, settings.keep_special_tokens, settings.query_length) == ("log1p_twice", True, 24)
    ours = encode(models / "splade", settings, side, tmp_path)
    np.testing.assert_allclose(ours, reference(SparseEncoder(str(models / "splade")), side), atol=1e-5)


@pytest.mark.parametrize("side", ["query", "passage"])
def test_queries_without_inference_take_the_weights_of_a_router(models, tmp_path, side):
    folder = models / "static" / "document_0_MLMTransformer"
    settings = adopted(folder, "lexicon")
    assert (settings.query_encoder, settings.activation) == ("idf", "log1p_twice")
    ours = encode(folder, settings, side, tmp_path)
    np.testing.assert_allclose(ours, reference(SparseEncoder(str(models / "static")), side), atol=1e-5)


def test_what_the_recipe_says_stays_and_lengths_end_at_the_token_store(models):
    settings = IMPORT["dense"].model_validate({"family": "dense", "query_length": 9})
    adoption = Adoption(keys=["passage_length", "pooling"], max_tokens=16)
    settings, notes = with_adopted(str(models / "sentences"), settings, adoption)
    assert (settings.query_length, settings.passage_length, settings.pooling, settings.normalize) == (
        9,
        16,
        "mean",
        False,
    )
    assert [note.partition(":")[0] for note in notes] == ["passage_length", "pooling"]


def test_a_folder_of_ours_says_everything_in_led_json_even_beside_modules_json(models, tmp_path):
    settings = tiny.import_settings("dense", pooling="last", head=8, untitled="empty_title", reinterpret=True)
    model = tiny.start(models / "head", settings)
    folder = Path(shutil.copytree(models / "sentences", tmp_path / "both"))
    saved_model.save(model, settings, models / "head", folder)
    again = adopted(folder, "dense")
    assert (again.pooling, again.head, again.untitled, again.normalize) == ("last", 8, "empty_title", False)
    assert (again.query_length, again.passage_length) == (settings.query_length, settings.passage_length)
    torch.testing.assert_close(tiny.start(folder, again).state_dict(), model.state_dict(), rtol=0, atol=0)
    with pytest.raises(InputError) as error:
        tiny.start(folder, again.model_copy(update={"pooling": "cls"}))
    assert str(error.value) == (
        f"pooling: '{folder}' is a led_pipeline model with pooling last (led.json), but the recipe has cls; write"
        " pooling: last; or set reinterpret: true to use it that way on purpose"
    )


def test_code_in_a_folder_runs_only_if_the_recipe_names_it(models, tmp_path):
    (tmp_path / "mine.py").write_text(
        "def first(hidden_NH, texts):\n    return hidden_NH[texts.cu_seqlens[:-1].long()]\n"
    )
    settings = tiny.import_settings("dense", pooling=f"{tmp_path / 'mine.py'}:first")
    (tmp_path / "saved").mkdir()
    saved_model.save(tiny.start(models / "dense", settings), settings, models / "dense", tmp_path / "saved")
    with pytest.raises(InputError, match=r"pooling: .*code of its own here \(own_pooling.py:first, in led.json\)"):
        tiny.start(tmp_path / "saved", adopted(tmp_path / "saved", "dense"))
    settings = adopted(tmp_path / "saved", "dense", pooling=f"{tmp_path / 'saved' / 'own_pooling.py'}:first")
    assert tiny.start(tmp_path / "saved", settings).pooling.__name__ == "first"


def test_a_tokenizer_that_ends_texts_with_its_eos_is_read_that_way(tmp_path):
    from tokenizers import processors

    fast = tiny.save_bare_tokenizer(tmp_path)
    fast.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    fast.save_pretrained(tmp_path)
    (tmp_path / "modules.json").write_text(json.dumps([{"path": "", "type": "x.Transformer"}]))
    assert adopted(tmp_path, "dense").append_eos is True


# --- contradicted


@pytest.mark.parametrize(
    ("family", "settings", "sentence"),
    [
        ("dense", SAME | {"pooling": "cls"}, "pooling: '{}' is a sentence-transformers model with mean pooling"
         " (modules.json), but the recipe has cls; write pooling: mean"),
        ("dense", SAME | {"normalize": False}, "'{}' is a sentence-transformers model with vectors of length 1"
         " (modules.json)"),
        ("dense", SAME | {"query_prefix": ""}, "but the recipe has ''; write query_prefix: \"query: \""),
        ("dense", SAME | {"passage_prefix": "text: "}, "with 'passage: ' (config_sentence_transformers.json), but the"
         " recipe has 'te"),
        ("ranker", {}, "family: '{}' is a dense model (modules.json), but the recipe has ranker"),
    ],
)  # fmt: skip
def test_a_recipe_that_contradicts_the_folder_is_an_error_with_key_and_values(models, family, settings, sentence):
    folder = models / "sentences"
    with pytest.raises(InputError) as error:
        tiny.start(folder, tiny.import_settings(family, **settings))
    assert sentence.format(folder) in str(error.value) and "reinterpret: true" in str(error.value)
    if family == "dense":
        again = tiny.import_settings("dense", **settings, reinterpret=True)
        assert tiny.start(folder, again).backbone is not None


def test_a_stage_that_trains_another_family_uses_only_the_transformer(models):
    description = describe(models / "sentences")
    assert contradictions(description, tiny.settings("ranker"), trained=True) == []
    assert adopted(models / "sentences", "ranker").query_prefix == ""


@pytest.mark.parametrize(
    ("modules", "configs", "family", "sentence"),
    [
        (["Pooling", "Dense"], {"out_features": 8}, "dense", "head: .* projects the pooled vector to 8 dimensions .*"
         "with a bias, an activation"),
        (["Pooling", "Dense"], {"out_features": 8, "bias": False, "activation_function": "torch.nn.Identity"}, "dense",
         r"with a projection to 8 dimensions .*, but the recipe has null; write head: 8"),
        (["Pooling", "Normalize", "Dense"], {"out_features": 8, "bias": False, "activation_function":
         "torch.nn.Identity"}, "dense", "in the order Pooling, Normalize, Dense"),
        (["Pooling", "LSTM"], {}, "dense", r"has modules that a recipe cannot express \(LSTM"),
        (["Pooling"], {"pooling_mode_max_tokens": True}, "dense",
         r"with max pooling .*; write pooling: path/to/file\.py"),
        (["Pooling"], {"pooling_mode": ["cls", "mean"]}, "dense", r"with cls\+mean pooling"),
        (["Pooling"], {"pooling_mode": "lasttoken"}, "dense", "write pooling: last"),
        (["SpladePooling"], {"pooling_strategy": "sum"}, "lexicon", "pools by sum over the positions"),
        (["SpladePooling"], {"activation_function": "log1p_relu"}, "lexicon", "activation: log1p_twice"),
        (["SpladePooling"], {"activation_function": "gelu"}, "lexicon", "activation gelu .* not supported"),
        (["SpladePooling"], {}, "lexicon", "write keep_special_tokens: true"),
    ],
)  # fmt: skip
def test_modules_are_read_in_every_format(tmp_path, modules, configs, family, sentence):
    kinds = [("", "Transformer"), *((f"{i + 1}_{kind}", kind) for i, kind in enumerate(modules))]
    entries = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds]
    (tmp_path / "modules.json").write_text(json.dumps(entries))
    for path, _ in kinds[1:]:
        (tmp_path / path).mkdir()
        (tmp_path / path / "config.json").write_text(json.dumps(configs))
    faults = contradictions(describe(tmp_path), tiny.import_settings(family), trained=False)
    assert len(faults) >= 1 and any(re.search(sentence, fault) for fault in faults), faults


def test_a_projection_without_its_weights_is_an_error(models, tmp_path):
    folder = Path(shutil.copytree(models / "head", tmp_path / "head"))
    (folder / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"2_Dense/model.safetensors: no such file, and modules.json"):
        tiny.start(folder, adopted(folder, "dense"))
    save_file({"linear.weight": torch.zeros(8, 15)}, folder / "2_Dense" / "model.safetensors")
    with pytest.raises(InputError, match=r"expected one tensor `linear\.weight` with 16 columns"):
        tiny.start(folder, adopted(folder, "dense"))


def test_a_recipe_that_differs_from_a_folder_is_refused_when_it_is_loaded(models):
    folder = models / "sentences"
    stage = {"family": "dense", "init": str(folder), "train": False, "tokenizer": str(folder), "pooling": "cls"}
    config = changed(RECIPES["demo.yaml"], {"stages.taken": stage})
    with pytest.raises(InputError) as error:
        load_recipe(config, descriptions=of_folders)
    assert str(error.value) == (
        f"recipe: stages.taken.pooling: '{folder}' is a sentence-transformers model with mean pooling (modules.json),"
        " but the recipe has cls; write pooling: mean; or set reinterpret: true to use it that way on purpose"
    )
    load_recipe(changed(config, {"stages.taken.reinterpret": True}), descriptions=of_folders)
    load_recipe(changed(config, {"stages.taken.pooling": "mean"}), descriptions=of_folders)
