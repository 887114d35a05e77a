"""Format onnx-int8: the ONNX files of a stage with int8 weights, four times smaller, and what that loses.

onnxruntime quantises the weights of matrix products per tensor, and the activations while it computes (dynamic
quantisation). The loss is measured on texts of the run: the cosine with the model's vectors, and MRR@10 of queries that
the int8 file encodes, searched among the run's own vectors of passages.

# Q = queries, D = dimensions
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from led_pipeline.data.ragged import Ragged
from led_pipeline.data.tables import Ranking, read_rows, write_matrix
from led_pipeline.data.vectors import SparseVectors
from led_pipeline.export import onnx
from led_pipeline.export.measured import MEASURE, mean_reciprocal_rank
from led_pipeline.export.onnx_graphs import graphs
from led_pipeline.export.onnx_sample import Example, example, examples, store
from led_pipeline.export.options import Options, Written
from led_pipeline.export.source import Source
from led_pipeline.files.atomic import scratch, tree_bytes
from led_pipeline.models.bi_encoder import encoder_of
from led_pipeline.models.saved_model import load
from led_pipeline.recipe.representation import RankerRepresentation
from led_pipeline.recipe.step_settings import ModelSettings, RetrieverSettings

QUERIES = 200  # of the split, from its start, for MRR@10
AT_ONCE = 8
HITS = 10


def write(source: Source, folder: Path, options: Options) -> Written:
    """Quantise the graphs of a stage and measure the loss."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model, settings = load(source.model)
    model.eval()
    measured: dict[str, Any] = {"opset": onnx.OPSET, "files": {}}
    with scratch(folder / "float") as temporary:
        floats = folder.parent / "onnx"
        if not floats.is_dir():
            onnx.write(source, temporary, options)
            floats = temporary
        for graph in graphs(model, source.system):
            path, whole = folder / f"{graph.name}.onnx", floats / f"{graph.name}.onnx"
            logging.disable(logging.WARNING)  # its advice to optimise the graph first
            try:
                quantize_dynamic(str(whole), str(path), weight_type=QuantType.QInt8)
            finally:
                logging.disable(logging.NOTSET)
            compared = examples(source, model, settings, graph.sides, temporary)
            sizes = {"bytes": tree_bytes(path), "bytes_of_float32": tree_bytes(whole)}
            measured["files"][path.name] = sizes | agreement(path, compared)
        if not isinstance(settings, RankerRepresentation):
            measured |= _rank_loss(source, model, settings, folder, temporary, options.threads)
    onnx.copy_tokenizer(source, folder)
    return Written(onnx.readme(folder.name, graphs(model, source.system), settings), measured)


def agreement(path: Path, compared: Sequence[Example]) -> dict[str, float]:
    """Return the cosine of a file's vectors with the model's; for scores, their correlation."""
    outputs = onnx.run(path, compared)
    if outputs[0].ndim == 1:
        pair = np.concatenate(outputs), np.concatenate([each.outputs for each in compared])
        return {"correlation": round(float(np.corrcoef(*pair)[0, 1]), 6)}
    cosines = np.concatenate([cosine(a, b.outputs) for a, b in zip(outputs, compared, strict=True)])
    return {"mean_cosine": round(float(cosines.mean()), 6), "lowest_cosine": round(float(cosines.min()), 6)}


def cosine(one: NDArray[np.float32], two: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the cosine of each row of one matrix with that of the other; 1 where both are zero."""
    products = (one.astype(np.float64) * two).sum(axis=1)
    lengths = np.linalg.norm(one.astype(np.float64), axis=1) * np.linalg.norm(two.astype(np.float64), axis=1)
    return np.where(lengths > 0, products / np.where(lengths > 0, lengths, 1), np.equal(one, two).all(axis=1))


def _rank_loss(
    source: Source, model: nn.Module, settings: RetrieverSettings, folder: Path, temporary: Path, threads: int
) -> dict[str, Any]:
    """Return MRR@10 of the first queries by the model and by the int8 file; nothing without vectors or qrels."""
    if not all(path.is_file() for path in source.passage_vectors) or not source.qrels.is_file():
        return {}
    count = min(QUERIES, len(source.query_ids))
    texts = [text for batch in read_rows(source.queries, 0, count, ["text"]) for text in batch["text"]]
    batches = _query_batches(source, model, settings, texts, temporary)
    path = folder / ("query.onnx" if (folder / "query.onnx").is_file() else "model.onnx")
    outputs = np.concatenate(onnx.run(path, batches))
    order = np.argsort(np.concatenate([each.numbers for each in batches]))
    exact = np.concatenate([each.outputs for each in batches])
    values = {
        f"{MEASURE}{name}": mean_reciprocal_rank(source, _search(source, vectors[order], temporary, threads), count)
        for name, vectors in (("", outputs), (" float32", exact))
    }
    return {"queries": count} | values


def _query_batches(
    source: Source, model: nn.Module, settings: ModelSettings, texts: list[str], temporary: Path
) -> list[Example]:
    queries = store(source, {"text": texts}, "query", settings, temporary)
    encoder = encoder_of(model, "query")
    groups = [np.arange(first, min(first + AT_ONCE, len(texts))) for first in range(0, len(texts), AT_ONCE)]
    length = settings.query_length
    return [example(model, encoder, queries.texts(rows, length), rows) for rows in groups]


def _search(source: Source, queries_QD: NDArray[np.float32], temporary: Path, threads: int) -> Ranking:
    """Return the best passages of query rows 0..Q-1 by the run's vectors of passages."""
    if source.kind == "dense":
        from led_pipeline.search.faiss_index import search

        path = temporary / "queries.npy"
        write_matrix(path, queries_QD.astype(np.float16))
        return search(source.passage_vectors, path, HITS, threads)
    from led_pipeline.search.exact import exact_sparse

    rows = [np.flatnonzero(query > 0) for query in queries_QD]
    weights = [query[terms] for query, terms in zip(queries_QD, rows, strict=True)]
    queries = SparseVectors(Ragged.from_rows(rows, np.int32), Ragged.from_rows(weights, np.float32))
    files = [SparseVectors.read(each) for each in source.passage_vectors]
    passages = files[0]
    if len(files) > 1:
        joined = (Ragged.joined([file.terms for file in files], np.int32), [file.weights for file in files])
        passages = SparseVectors(joined[0], Ragged.joined(joined[1], np.float32))
    return exact_sparse(queries, passages, HITS)
