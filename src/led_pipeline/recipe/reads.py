"""Which keys of a stage the output of a rule depends on; a key that stands nowhere here re-runs nothing."""

# What the output of a rule depends on. Everything else may change without re-running it.
_REPRESENTATION = (
    "activation", "head", "untied", "encoder_decoder", "append_eos", "encoder", "query_encoder", "idf", "top_k_queries",
    "top_k_passages", "prune_ratio_queries", "prune_ratio_passages", "scoring", "template", "true_word", "false_word",
)  # fmt: skip
_LENGTHS = ("query_length", "passage_length", "untitled", "query_prefix", "passage_prefix")
READS: dict[str, tuple[str, ...]] = {
    "trainset": (
        "negatives", "negatives_per_query", "negatives_depth", "deduplicate", "epochs", "max_steps", "batch_size",
        "seed", "only_scored", "positive_from", "positives_per_epoch", "more_positives", "sampling",
    ),
    "train": (
        "family", "pooling", "normalize", "temperature", "dual_weight", "keep_special_tokens", "flops_passages",
        "flops_queries", "teachers", "contrastive_weight", "batch_size", "epochs", "max_steps", "learning_rate",
        "weight_decay", "warmup_fraction", "clip_norm", "precision", "gradient_checkpointing", "gradient_cache",
        "seed",
        *_LENGTHS,
        "contrastive_candidates", "mask_positives", "l1_passages", "l1_queries", "anti_zero", "regulariser_warmup",
        "flops_threshold", "flops_grouped", "extra_loss", "extra_loss_weight",
        *_REPRESENTATION, "lora", "load_in", "idf_trained", "idf_learning_rate", "ranking_loss", "ranking_margin",
        "new_head", "reinterpret",
    ),
    "running": ("checkpoint_min", "checkpoint_steps", "tracking"),  # a training's own; no result depends on them
    "import": (
        "family", "pooling", "normalize", "temperature", "keep_special_tokens", *_LENGTHS, *_REPRESENTATION,
        "reinterpret",
    ),
    "inference": ("inference_precision",),  # vectors, and a ranker's scores
    "pretrain": (
        "vocabulary", "hidden", "layers", "heads", "intermediate", "positions", "dropout", "output_scale", "seed",
    ),
}  # fmt: skip
