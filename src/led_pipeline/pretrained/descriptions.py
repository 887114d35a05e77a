"""Descriptions: what a model folder says about itself, in the keys of a recipe.

led_pipeline writes led.json, which says everything; sentence-transformers writes modules.json and files next to it. In
a folder with both, led.json counts.
"""

from collections.abc import Iterator
from pathlib import Path

from led_pipeline import user_code
from led_pipeline.files.reading import read_json
from led_pipeline.pretrained import model_folder_modules as st
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.representation import DenseRepresentation, RankerRepresentation
from led_pipeline.recipe.starts import LENGTHS, PREFIXES, PROMPT, Description, Value, compared, for_sentence, outside
from led_pipeline.recipe.step_settings import MODEL, validated_family

POOLINGS = {"cls": "cls", "mean": "mean", "lasttoken": "last"}  # sentence-transformers' name -> the recipe's
ACTIVATIONS = {"relu": "log1p", "log1p_relu": "log1p_twice"}
CODE = ("pooling", "encoder")  # keys that may name code of the user
LEAST = {"query_length": 3, "passage_length": 5}  # tokens


def describe(folder: Path) -> Description | None:
    """Return what a folder says about its model, or None if it says nothing.

    Raises:
        InputError: one of its files cannot be read, or does not have the format of its library.
    """
    if (folder / st.OURS).is_file():
        return _of_led(folder)
    modules = st.read_modules(folder)
    if modules is None:
        return None
    values, problems = dict(_values(modules, folder)), dict(_problems(modules))
    return Description(modules.folder, "sentence-transformers", modules.family, st.MODULES, values, problems)


def of_folders(recipe: Recipe) -> dict[str, Description | None]:
    """Return what the folders on this machine that stages start from say about themselves, by name.

    Raises:
        InputError: as `describe`.
    """
    return {name: describe(Path(name)) for name in outside(recipe) if Path(name).is_dir()}


def _of_led(folder: Path) -> Description:
    settings = validated_family(MODEL, read_json(folder / st.OURS), str(folder / st.OURS))
    family = settings.family
    values, problems = {}, {}
    # A stage may begin a head of its own, and classifiers have no prompt.
    classifier = isinstance(settings, RankerRepresentation) and settings.scoring == "classifier"
    for key in (*LENGTHS, *compared(family, trained=False)):
        value = getattr(settings, key)
        if key in CODE and user_code.is_reference(value):
            problems[key] = (
                f"'{folder}' has code of its own here ({value}, in {st.OURS}), which runs only if the recipe names it;"
                f' write {key}: "{folder / str(value)}"'
            )
        elif not ((key == "head" and value is None) or (key in PROMPT and classifier)):
            values[key] = Value(value, f"{key} {for_sentence(key, value)} ({st.OURS})")
    if isinstance(settings, DenseRepresentation) and settings.encoder:
        values = {key: value for key, value in values.items() if key in (*LENGTHS, *PREFIXES, "untitled", "append_eos")}
    return Description(folder, "led_pipeline", family, st.OURS, values, problems)


# --- of sentence-transformers


def _values(modules: st.Modules, folder: Path) -> Iterator[tuple[str, Value]]:
    """Yield the keys that a folder decides, with their values."""
    if modules.family == "ranker":
        return
    for key, side in PREFIXES.items():
        prompt = modules.prompt(side)
        yield key, Value(prompt, f"{prompt!r} ({st.SETTINGS})")
    for key, least in LEAST.items():
        if modules.length is not None and modules.length >= least:
            yield key, Value(modules.length, f"{modules.length} tokens")
    yield from (_lexicon if modules.family == "lexicon" else _dense)(modules, folder)


def _dense(modules: st.Modules, folder: Path) -> Iterator[tuple[str, Value]]:
    if pooling := POOLINGS.get(modules.pooling or ""):
        yield "pooling", Value(pooling, f"{modules.pooling} pooling ({st.MODULES})")
        yield "encoder_decoder", Value("encoder", f"{modules.pooling} pooling ({st.MODULES})")
    head = modules.first("Dense")
    if head and st.plain_projection(head):
        size = head.config["out_features"]
        yield "head", Value(size, f"a projection to {size} dimensions ({st.MODULES}, Dense)")
    if "Normalize" in modules.kinds:
        yield "normalize", Value(True, f"vectors of length 1 ({st.MODULES})")
    elif modules.similarity in ("dot", "dot_product"):
        yield "normalize", Value(False, f"dot products of vectors of any length ({st.SETTINGS})")
    elif modules.similarity == "cosine":
        yield "normalize", Value(True, f"the cosine as similarity ({st.SETTINGS})")
    if (ends := _appends_eos(folder)) is not None:
        yield "append_eos", Value(ends, f"a tokenizer that {'ends' if ends else 'does not end'} texts with its eos")


def _appends_eos(folder: Path) -> bool | None:
    """Return whether the tokenizer of a folder ends every text with a token, without [CLS] and [SEP]; None: unknown."""
    if st.json_object(folder / "tokenizer_config.json").get("cls_token"):
        return None
    processor = st.json_object(folder / "tokenizer.json").get("post_processor")
    if not isinstance(processor, dict):
        return None
    steps = [processor, *(processor.get("processors") or [])]
    templates = [step.get("single") for step in steps if isinstance(step, dict) and step.get("single")]
    if not templates or not isinstance(templates[0], list):
        return None
    last = templates[0][-1]
    return isinstance(last, dict) and "SpecialToken" in last


def _lexicon(modules: st.Modules, folder: Path) -> Iterator[tuple[str, Value]]:
    step = modules.first("SpladePooling")
    name = str(step.config.get("activation_function") or "relu") if step else "relu"
    if name in ACTIVATIONS:
        yield "activation", Value(ACTIVATIONS[name], f"{name} ({st.MODULES})")
    yield "keep_special_tokens", Value(True, f"a maximum over all positions, [CLS] and [SEP] too ({st.MODULES})")
    if st.table_of_queries(modules):
        yield "query_encoder", Value("idf", f"a table of query weights ({st.ROUTER}, {st.STATIC})")


def _problems(modules: st.Modules) -> Iterator[tuple[str, str]]:
    """Yield what no key can express: the key that comes nearest, and a sentence."""
    folder = f"'{modules.folder}'"
    if unknown := list(st.unsupported_steps(modules)):
        yield (
            "init",
            f"{folder} has modules that a recipe cannot express ({', '.join(unknown)}, in {st.MODULES}); name another"
            " model",
        )
    if modules.query_steps and not st.table_of_queries(modules):
        yield (
            "untied",
            f"{folder} reads queries with other modules than passages ({st.ROUTER}), which is not supported; name the"
            " folder of each transformer as init and query_init of a stage with untied: true",
        )
    if modules.family == "lexicon":
        yield from _lexicon_problems(modules)
    elif modules.family == "dense":
        yield from _dense_problems(modules)


def _lexicon_problems(modules: st.Modules) -> Iterator[tuple[str, str]]:
    step = modules.first("SpladePooling")
    pooling = step.config.get("pooling_strategy", "max") if step else "max"
    if pooling != "max":
        yield (
            "init",
            f"'{modules.folder}' pools by {pooling} over the positions ({st.MODULES}), only max is supported; name"
            " another model",
        )
    name = str(step.config.get("activation_function") or "relu") if step else "relu"
    if name not in ACTIVATIONS:
        yield (
            "activation",
            f"'{modules.folder}' uses the activation {name} ({st.MODULES}), which is not supported; name another model",
        )


def _dense_problems(modules: st.Modules) -> Iterator[tuple[str, str]]:
    folder = f"'{modules.folder}'"
    if modules.pooling and modules.pooling not in POOLINGS:
        yield (
            "pooling",
            f"{folder} is a sentence-transformers model with {modules.pooling} pooling ({st.MODULES}), which is not"
            " built in; write pooling: path/to/file.py:function, with a function of your own",
        )
    elif modules.without_prompt and any(modules.prompt(side) for side in st.SIDES):
        yield (
            "pooling",
            f"{folder} excludes the tokens of the prompt from its pooling (include_prompt), which is not supported;"
            " name another model",
        )
    if modules.similarity not in (None, "cosine", "dot", "dot_product"):
        yield (
            "normalize",
            f"{folder} compares vectors by {modules.similarity} ({st.SETTINGS}), which is not supported; name another"
            " model",
        )
    heads = [step for step in modules.steps if step.kind == "Dense"]
    order = [kind for kind in modules.kinds if kind in ("Pooling", "Dense", "Normalize")]
    if len(heads) > 1 or (heads and not st.plain_projection(heads[0])):
        yield (
            "head",
            f"{folder} projects the pooled vector to {heads[0].config.get('out_features')} dimensions ({st.MODULES},"
            " Dense) with a bias, an activation or several layers, and a head has none of these; pool, project and"
            " normalise with a class of your own (encoder: path/to/file.py:Class)",
        )
    elif order != sorted(order, key=("Pooling", "Dense", "Normalize").index):
        yield (
            "head",
            f"{folder} runs its modules in the order {', '.join(order)} ({st.MODULES}), expected Pooling, Dense,"
            " Normalize; pool, project and normalise with a class of your own (encoder: path/to/file.py:Class)",
        )
