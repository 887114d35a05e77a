"""Format onnx: every encoder of a stage as an ONNX file, with its tokenizer; checked against the packed encoder.

The graph includes pooling, head and normalisation (dense), or pooling, activation and pruning (lexicon). A file is
written only if its outputs equal the encoder's on texts of the run.
"""

import json
import logging
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from led_pipeline.export.onnx_graphs import Graph, graphs, without_packing
from led_pipeline.export.onnx_sample import Example, examples
from led_pipeline.export.options import Options, Written
from led_pipeline.export.source import Source
from led_pipeline.files.atomic import scratch
from led_pipeline.files.errors import InputError
from led_pipeline.models.limits import positions
from led_pipeline.models.saved_model import SETTINGS, load
from led_pipeline.pretrained.tokenizer import load_tokenizer
from led_pipeline.recipe.representation import RankerRepresentation
from led_pipeline.recipe.step_settings import ModelSettings

OPSET = 18
TOLERANCE = 1e-4  # between the graph and the encoder, relative to the largest output if that is above 1
ONE_FILE = 1_500_000_000  # bytes of weights that are kept inside the file; protobuf's limit is 2 GB

ENCODER = """`{name}/*.onnx`: opset {opset}, from `input_ids` and `attention_mask` to `{output}`{sides}. The
tokenizer and `led.json`, the stage's settings, are beside it. Batch size and length are free.

```python
import numpy as np
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")

def encode(file, texts, length, titles=None):
    parts = (titles, texts) if titles else (texts,)
    batch = tokenizer(*parts, padding=True, truncation="longest_first", max_length=length, return_tensors="np")
    session = onnxruntime.InferenceSession("{name}/" + file)
    return session.run(None, {{name: batch[name] for name in ("input_ids", "attention_mask")}})[0]

query = encode("{query}.onnx", ["{query_prefix}how to open a file"], {query_length})
texts, titles = ["Open a file and return a stream."], ["{passage_prefix}open"]
passage = encode("{passage}.onnx", texts, {passage_length}, titles)
print(query.shape, query @ passage.T)
```

A passage without a title is given {untitled}.
"""
TERMS = """
The columns of `weights` are the entries of the vocabulary:

```python
terms = tokenizer.convert_ids_to_tokens(range(query.shape[1]))
print(sorted(((float(query[0, i]), terms[i]) for i in np.flatnonzero(query[0])), reverse=True)[:10])
```
"""
RANKER = """`{name}/model.onnx`: opset {opset}, from {inputs} to `scores`, one per pair. The tokenizer and
`led.json`, the stage's settings, are beside it. Batch size and length are free.

```python
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{name}")
session = onnxruntime.InferenceSession("{name}/model.onnx")
batch = tokenizer(["how to open a file"] * 2, ["Open a file.", "Close it."], padding=True, truncation="only_second",
                  max_length={length}, return_token_type_ids=True, return_tensors="np")
scores = session.run(None, {{each.name: batch[each.name] for each in session.get_inputs()}})[0]
print(scores)
```

The scores order passages. In training, a query is cut to {query_length} tokens, and a passage with its title before it
(`title [SEP] text`) to {passage_length}.
"""


def write(source: Source, folder: Path, options: Options) -> Written:
    """Write and check the graphs of a stage."""
    model, settings = load(source.model)
    model.eval()
    check_tokenizer(source)
    files = graphs(model, source.system)
    with scratch(folder / "texts") as texts:
        compared = {graph.name: examples(source, model, settings, graph.sides, texts) for graph in files}
    measured: dict[str, Any] = {"opset": OPSET, "files": {}}
    for graph in files:
        without_packing(graph)
    for graph in files:
        path = folder / f"{graph.name}.onnx"
        save(graph, compared[graph.name][0], path)
        difference, largest = differences(path, compared[graph.name])
        if not difference <= TOLERANCE * max(1.0, largest):
            raise InputError(
                f"--formats: {source.system} cannot be ONNX: {path.name} differs from the model by {difference:.1g},"
                f" with outputs up to {largest:.3g}; use its folder under models/ instead"
            )
        texts_compared = sum(len(each.numbers) for each in compared[graph.name])
        measured["files"][path.name] = {"texts": texts_compared, "largest_difference": float(f"{difference:.2g}")}
    copy_tokenizer(source, folder)
    return Written(readme(folder.name, files, settings), measured)


def check_tokenizer(source: Source) -> None:
    """Check that the tokenizer makes the inputs of the graphs by itself.

    Raises:
        InputError: it has no [CLS] and [SEP], so that only this pipeline puts title, text and end together.
    """
    if load_tokenizer(source.model).cls_token_id is None:
        raise InputError(
            f"--formats: {source.system} cannot become ONNX, because its tokenizer has no [CLS] and [SEP] (T5,"
            " decoders) and would build other inputs than this pipeline; use its folder under models/ instead"
        )


def copy_tokenizer(source: Source, folder: Path) -> None:
    """Write the tokenizer and the settings of a stage beside its graphs."""
    load_tokenizer(source.model).save_pretrained(folder)
    shutil.copyfile(source.model / SETTINGS, folder / SETTINGS)


def save(graph: Graph, shape: Example, path: Path) -> None:
    """Write a graph with free batch size and length.

    Args:
        shape: inputs to trace the graph with.
    """
    inputs = {name: torch.from_numpy(shape.inputs[name]) for name in graph.inputs}
    if len(shape.numbers) == 1:  # a batch of one would be traced as a constant
        inputs = {name: values.repeat(2, 1) for name, values in inputs.items()}
    backbone = getattr(graph.module, "backbone", None)
    most = positions(backbone) if backbone is not None else None
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens", max=most)
    weights = sum(value.numel() * value.element_size() for value in graph.module.state_dict().values())
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns about packages that no encoder needs
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own deprecations
        torch.onnx.export(
            nn.Module.eval(graph.module),
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=[graph.output],
            opset_version=OPSET,
            dynamo=True,
            dynamic_shapes={name: {0: batch, 1: tokens} for name in inputs},
            external_data=weights > ONE_FILE,
            verbose=False,
        )


def run(path: Path, examples: Sequence[Example]) -> list[NDArray[np.float32]]:
    """Return the outputs of a file for some batches."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return [session.run(None, {name: each.inputs[name] for name in names})[0] for each in examples]


def differences(path: Path, examples: Sequence[Example]) -> tuple[float, float]:
    """Return the largest difference between a file's and the encoder's outputs, and the largest output."""
    outputs = run(path, examples)
    largest = max(float(np.abs(each.outputs).max()) for each in examples)
    pairs = zip(outputs, examples, strict=True)
    return max(float(np.abs(output - each.outputs).max()) for output, each in pairs), largest


def _quoted(text: str) -> str:
    """Return a text as it is written between double quotes in Python."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def readme(name: str, files: Sequence[Graph], settings: ModelSettings) -> str:
    """Return how to open the files of one folder."""
    lengths = {"query_length": settings.query_length, "passage_length": settings.passage_length}
    if isinstance(settings, RankerRepresentation):
        inputs = ", ".join(f"`{each}`" for each in files[0].inputs)
        length = settings.query_length + settings.passage_length - 1
        return RANKER.format(name=name, opset=OPSET, inputs=inputs, length=length, **lengths)
    names = {side: graph.name for graph in files for side in graph.sides}
    text = ENCODER.format(
        name=name,
        opset=OPSET,
        output=files[0].output,
        sides="" if len(files) == 1 else ", one for queries and one for passages",
        query=names["query"],
        passage=names["passage"],
        query_prefix=_quoted(settings.query_prefix),
        passage_prefix=_quoted(settings.passage_prefix),
        untitled="the empty title" if settings.untitled == "empty_title" else "as a text alone",
        **lengths,
    )
    if settings.title_separator is not None:
        text += f"\nTitle and text are one text, with {settings.title_separator!r} between them: pass no titles.\n"
    return text + (TERMS if files[0].output == "weights" else "")
