"""What the estimates of `led plan` assume: every constant of them, with its unit and where it comes from.

Nothing here decides a result. Replace a number when a measurement is better; docs/guides/msmarco.md says how they
compared.
"""

# --- computing

# Dense half-precision peak, TFLOP/s, from the vendors' data sheets, by a part of the name that nvidia-smi prints.
PEAK_TFLOPS = {
    "H200": 989,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "RTX 4090": 165,
    "A6000": 155,
    "A10": 125,
    "V100": 125,
    "L4": 121,
    "RTX 3090": 71,
    "T4": 65,
}
ASSUMED_GPU = "A100"  # where no GPU is at hand to ask
TRAINING_FLOPS = 6  # per weight and token, forward and backward
INFERENCE_FLOPS = 2
# Shares of the peak that a job reaches.
TRAINING_SHARE = 0.30
ENCODING_SHARE = 0.40
SEARCH_SHARE = 0.10
STEP_OVERHEAD_S = 0.06  # of an optimizer step: launches, gradient exchange, update, the batch's token ids
JOB_START_S = 30  # imports, processes, weights
CPU_JOB_START_S = 8  # without a GPU, where the plan's hours leave it out: the demo's smallest encodings took 10 s
CPU_GFLOPS = 40  # per thread, in float32: the demo on two cores with AVX-512 reached 20 to 55

# --- searching lexicon stages, processor seconds; both engines rank alike

# At a million passages: Anserini in docs/measurements/scale.md (907 s for 120 million terms, 76 s for 3,555 queries of
# 25 terms), exact search in docs/measurements/performance.md.
LEXICON_INDEX_S = {"anserini": 7.6e-6, "exact": 9e-8}  # per term of a passage
LEXICON_SEARCH_S = {"anserini": 8.6e-10, "exact": 7e-11}  # per term of a query and passage of the collection

# --- GPU memory, bytes

TRAINING_BYTES = 20  # per weight: float32 weight, gradient, its communication buffer, two moments of AdamW
MOMENT_BYTES = 8  # of AdamW, per weight that learns
FEW_BITS = {"8bit": 8, "4bit": 4.13}  # per weight of a layer's matrix; 4bit with the constants of its blocks
COPY_BYTES = 2  # per weight of a layer's matrix: autocast's copy in half precision, of weights that learn
# Activations of a layer per token in half precision, by the widths of what is kept: hidden states, queries and output,
# keys and values, and the feed-forward part (twice as much if gated); together 34 per hidden unit of a BERT. And 5 per
# head and position. Source: Reducing Activation Recomputation in Large Transformer Models (arXiv:2205.05198), 4.1.
LAYER_BYTES_PER_HIDDEN = 10
LAYER_BYTES_PER_HEAD_UNIT = 4
LAYER_BYTES_PER_KEY_UNIT = 4
LAYER_BYTES_PER_INNER = 4
LAYER_BYTES_PER_PAIR = 5
INFERENCE_TOKENS = 131_072  # of a batch: models/inference.py
INFERENCE_BYTES_PER_UNIT = 16  # per token and unit of the widest layer: what is alive at once without gradient
LOGIT_BYTES = 4 * 2**26  # a chunk of a lexicon model's logits: models/pooled_logits.py
SEARCH_ROWS = 1_048_576  # a block of passages: search/faiss_index.py
SEARCH_BYTES = 6 * 2**30  # what FAISS takes besides, its own reserve included
GPU_RESERVE = 1.5 * 2**30  # CUDA context, libraries, fragmentation

# --- text

BYTES_PER_TOKEN = 4.5  # UTF-8 bytes of English text per word piece of a 30,000-entry vocabulary
QUERY_BYTES = 37
ID_BYTES = 8  # of a passage or a query
# MS MARCO passage ranking, as published: by name of the collection, of the qrels, and what the files hold.
PUBLISHED_PASSAGES = {"collection.tsv": 8_841_823}
PUBLISHED_QUERIES = {
    "qrels.train.tsv": 502_939,
    "qrels.dev.small.tsv": 6_980,
    "2019qrels-pass.txt": 43,
    "2020qrels-pass.txt": 54,
}
PUBLISHED_JUDGEMENTS = {"qrels.train.tsv": 532_751}  # distinct ones, in 532,761 lines
PUBLISHED_TEXT_BYTES = 338  # of a passage; collection.tsv has 3.06 GB
PUBLISHED_TITLE_BYTES = 30
ASSUMED_QUERIES = 7_000  # of a split about which nothing is known
DOCSTRING_BYTES = 515  # of a passage of the embedded data, title included
DOCSTRING_ID_BYTES = 36

# --- files, bytes

PREPARED_SHARE = 0.45  # of the text, in Parquet with zstd
TERMS = {"passage": 200, "query": 60}  # active entries of a lexicon vector; the FLOPS weights decide
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
