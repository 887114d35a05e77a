"""What the estimates of `led plan` assume: every constant of them, with its unit and where it comes from.

Nothing here decides a result. Replace a number when a measurement is better; docs/guides/msmarco.md says how they
compared.
"""

# --- computing

ASSUMED_GPU = "A100"  # where no GPU is at hand to ask, or its peak is not known (jobs/peaks.py)
TRAINING_FLOPS = 6  # per weight and token, forward and backward
INFERENCE_FLOPS = 2
# Shares of the peak that a job reaches.
TRAINING_SHARE = 0.30
ENCODING_SHARE = 0.40
SEARCH_SHARE = 0.10
# Of a training's batch on a processor, besides its products: update, token ids.
STEP_OVERHEAD_S = 0.06
# Of the host in a training's batch on a GPU: about 1,000 launches. The GPU computes meanwhile: the longer one counts.
STEP_HOST_S = 0.018
JOB_START_S = 30  # imports, processes, weights
CPU_JOB_START_S = 8  # without a GPU, where the plan's hours leave it out: the demo's smallest encodings took 10 s
SERVER_CORES = 64  # of a machine with GPUs, where none is here
THREADS_PER_GPU = 2  # of a training: a process and the one that brings its batches
LAYOUTS = (1, 2, 4, 8)  # GPUs per training that are compared
# Seconds of one thread per passage, and per pair of a query and a passage: docs/measurements/scale.md.
PROCESSOR_S = {
    "bm25_index": (4.5e-5, 0),
    "bm25_search": (0, 6.4e-9),
}
CPU_GFLOPS = 40  # per thread, in float32: the demo on two cores with AVX-512 reached 20 to 55

# --- searching lexicon stages, processor seconds; both engines rank alike

# Anserini: docs/measurements/scale.md (907 s for 120 million terms; from 100,000 to a million passages the search of a
# training shard takes 68 s more, with queries of 25 terms). Exact search: docs/measurements/performance.md.
LEXICON_INDEX_S = {"anserini": 7.6e-6, "exact": 9e-8}  # per term of a passage
LEXICON_SEARCH_S = {"anserini": 7.7e-10, "exact": 7e-11}  # per term of a query and passage of the collection

# --- GPU memory, bytes

TRAINING_BYTES = 16  # per weight: float32 weight, gradient (in the memory of its bucket), two moments of AdamW
MOMENT_BYTES = 8  # of AdamW, per weight that learns
FEW_BITS = {"8bit": 8, "4bit": 4.13}  # per weight of a layer's matrix; 4bit with the constants of its blocks
COPY_BYTES = 2  # per weight of a layer's matrix: autocast's copy in half precision, of weights that learn
# Activations that a layer keeps per token in half precision, by widths. Per hidden unit: three copies of the input in
# half precision for queries, keys and values, one for the feed-forward part; two inputs of normalisations in float32,
# two masks of dropout. Then queries and output, keys and values, and both sides of the activation function. Together 42
# per hidden unit of a BERT. `benchmarks/fake_step.py` counts them on the tensors of a real step.
LAYER_BYTES_PER_HIDDEN = 18
LAYER_BYTES_PER_HEAD_UNIT = 4
LAYER_BYTES_PER_KEY_UNIT = 4
LAYER_BYTES_PER_INNER = 4
LAYER_BYTES_PER_PAIR = 5  # per head and position, only where attention is computed as a matrix (T5)
EMBEDDING_BYTES_PER_HIDDEN = 12  # per token: normalisation and dropout of the embeddings, the first and the last copies
FLOAT32_ACTIVATIONS = 1.9  # times those in half precision, which has copies of float32 values
LENGTH_SPREAD = 0.45  # standard deviation of a text's tokens, as a share of their mean; benchmarks/workload.py
LARGEST_BATCH = 4  # standard deviations that the largest batch of a training exceeds the mean
VOCABULARY_BYTES = 22  # per text and entry of a lexicon stage: highest logit, its token, weights, logarithm
PREDICTED_BYTES = 14  # per predicted token and entry of a masked language model: logits, their logarithms, gradients
INFERENCE_TOKENS = 131_072  # of a batch: models/inference.py
INFERENCE_BYTES_PER_UNIT = 16  # per token and unit of the widest layer: what is alive at once without gradient
LOGIT_BYTES = 2 * 2**26  # a chunk of a lexicon model's logits in half precision: models/pooled_logits.py
SEARCH_ROWS = 131_072  # a block of passages, twice: search/torch_engine.py
SEARCH_BYTES = 6 * 2**30  # scores of a block, their copies, the best keys, and the context
GPU_RESERVE = 1.5 * 2**30  # CUDA context, libraries, fragmentation

# --- text

BYTES_PER_TOKEN = 4.5  # UTF-8 bytes of English text per word piece of a 30,000-entry vocabulary
QUERY_BYTES = 37
ID_BYTES = 8  # of a passage or a query
# MS MARCO passage ranking, as published: by name of the collection, of the qrels, and what the files hold.
PUBLISHED_PASSAGES = {"collection.tsv": 8_841_823, "scifact.zip/corpus.jsonl": 5_183}
PUBLISHED_QUERIES = {
    "qrels.train.tsv": 502_939,
    "qrels.dev.small.tsv": 6_980,
    "2019qrels-pass.txt": 43,
    "2020qrels-pass.txt": 54,
    "scifact.zip/qrels/train.tsv": 809,
    "scifact.zip/qrels/test.tsv": 300,
}
PUBLISHED_JUDGEMENTS = {  # distinct ones
    "qrels.train.tsv": 532_751,  # in 532,761 lines
    "scifact.zip/qrels/train.tsv": 919,
}
PUBLISHED_TEXT_BYTES = 338  # of a passage; collection.tsv has 3.06 GB
PUBLISHED_TITLE_BYTES = 30
ASSUMED_QUERIES = 7_000  # of a split about which nothing is known
DOCSTRING_BYTES = 515  # of a passage of the embedded data, title included
DOCSTRING_ID_BYTES = 36

# --- files, bytes

PREPARED_SHARE = 0.45  # of the text, in Parquet with zstd
# Active entries of a lexicon vector, as published for SPLADE (docs/measurements/performance.md); FLOPS weights decide.
TERMS = {"passage": 119, "query": 43}
TERM_BYTES = 6  # uint16 and float32
OFFSET_BYTES = 8  # per row and list column of an Arrow file
BM25_INDEX_BYTES = 0.95  # per token
LEXICON_INDEX_BYTES = {"anserini": 1.7, "exact": 3.3}  # per term of a passage
JSON_TERM_BYTES = 11  # per term of the text that Anserini reads, removed when it is indexed
JSON_ROW_BYTES = 40
HIT_BYTES = 6.5  # row and score, compressed
POOL_HIT_BYTES = 7
RUN_LINE_BYTES = 24  # besides the ids and the tag
PUBLISHED_POOL_SHARE = 0.8  # of `mining.published_depth`, on average
TOKENIZER_BYTES = 700_000

# --- checks

DISK_RESERVE = 1.1  # free space asked for, as a multiple of what is still to be written
