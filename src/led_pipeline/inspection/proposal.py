"""Choose a recipe for a dataset and a machine: pure functions of the counts of both.

The values come from the recipes of this project: a model from scratch as in config/demo.yaml, or a hub model as in
config/config.yaml. What grows with the data (steps, validation, shards) is computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from led_pipeline.inspection.source_texts import Source, Split
from led_pipeline.recipe.dataset import FILES

TOKENS_PER_WORD = 1.4  # of English word pieces
CPU_QUERIES = 20_000  # training queries without a GPU; about an hour on two cores
STEPS = 300  # fewest optimizer steps of a training
SHARD = 500_000  # passages of a shard
SPECIAL_TOKENS = 3


@dataclass(frozen=True)
class Machine:
    """What the recipe has to fit."""

    cores: int
    memory: int
    """Bytes."""
    gpus: int


@dataclass(frozen=True)
class Sizes:
    """The numbers of a recipe that depend on the data and the machine."""

    examples: int
    batch_size: int
    epochs: int
    gpus: int
    passage_length: int
    query_length: int
    max_tokens: int
    depth: int
    mining_depth: int
    shards: int
    validation_every: int | None
    validation_queries: int

    @property
    def steps(self) -> int:
        """The optimizer steps of a training."""
        return self.epochs * ceil(self.examples / self.batch_size)


def power_of_two(limit: int) -> int:
    """Return the largest power of two up to a limit, at least 1."""
    return 1 << max(limit.bit_length() - 1, 0)


def multiple(count: float, step: int, least: int, most: int) -> int:
    """Return a count rounded up to a multiple of a step, within bounds."""
    return min(max(ceil(count / step) * step, least), most)


def dev_sample(train: Split) -> int:
    """Return the number of training queries to hold out where there is no dev split."""
    return max(1, min(1_000, train.judged // 10))


def limit_of(train: Split, held_out: int, machine: Machine) -> int | None:
    """Return the number of training queries to sample; None for all."""
    return CPU_QUERIES if not machine.gpus and train.judged - held_out > CPU_QUERIES else None


def sizes_of(source: Source, machine: Machine, train: Split, dev_queries: int, pretrained: bool) -> Sizes:
    """Return the numbers of a recipe.

    Args:
        dev_queries: queries of the dev split, held out from the training queries if there is none.
        pretrained: whether models start from a hub model or a folder.
    """
    held_out = 0 if any(split.files.name == "dev" for split in source.splits) else dev_queries
    pairs_per_query = max(1.0, train.judgements / max(train.judged, 1)) if max(train.grades) <= 1 else 1.0
    queries = limit_of(train, held_out, machine) or max(train.judged - held_out, 1)
    examples = max(1, round(queries * pairs_per_query))
    batch_size = power_of_two(min(32 if pretrained else 64, max(4, examples // 8)))
    gpus = min(power_of_two(machine.gpus), batch_size // 4) if machine.gpus else 0
    least = 3 if pretrained else 2
    epochs = min(max(least, ceil(STEPS * batch_size / examples)), 10)
    steps = epochs * ceil(examples / batch_size)
    total = source.passages.total
    longest = 256 if machine.gpus else 128
    depth = min(1_000 if machine.gpus else 100, total)
    mining = max(1, min(200 if machine.gpus else 50, total // 10))
    return Sizes(
        examples=examples,
        batch_size=batch_size,
        epochs=epochs,
        gpus=gpus,
        passage_length=multiple(source.passages.at_most(0.95) * TOKENS_PER_WORD + SPECIAL_TOKENS, 32, 32, longest),
        query_length=multiple(source.query_words * TOKENS_PER_WORD + SPECIAL_TOKENS, 16, 16, 64),
        max_tokens=multiple(source.passages.at_most(0.99) * TOKENS_PER_WORD, 128, longest, 512),
        depth=depth,
        mining_depth=mining,
        shards=max(1, ceil(total / SHARD)),
        validation_every=max(10, steps // 5) if steps >= 100 and dev_queries >= 50 else None,
        validation_queries=min(1_000 if machine.gpus else 200, dev_queries),
    )


def splits_of(source: Source, machine: Machine) -> dict[str, dict[str, Any]]:
    """Return the mapping `dataset.splits`: files only where they do not have the default names."""
    defaults, splits = FILES[source.files.format], {}
    names = {split.files.name: split for split in source.splits}
    for name, split in names.items():
        entry: dict[str, Any] = {}
        if split.files.queries != defaults.queries.format(split=name):
            entry["queries"] = split.files.queries
        if split.files.qrels != defaults.qrels.format(split=name):
            entry["qrels"] = split.files.qrels
        if max(split.grades) > 1:
            entry["relevant_from"] = 2 if max(split.grades) > 2 else 1
        splits[name] = entry
    if train := names.get("train"):
        held_out = 0 if "dev" in names else dev_sample(train)
        if held_out:
            splits["dev"] = {"sample_of": "train", "limit": held_out}
        if limit := limit_of(train, held_out, machine):
            splits["train"]["limit"] = limit
    order = ["train", "dev"]
    return {name: splits[name] for name in sorted(splits, key=lambda n: (order.index(n) if n in order else 2, n))}


def training_split(source: Source) -> Split | None:
    """Return the split to train on."""
    return next((split for split in source.splits if split.files.name == "train"), None)


def memory_mb(machine: Machine, wanted_mb: float) -> int:
    """Return the memory of a job in MB: what it takes, and no more than most of this machine has."""
    return max(1_000, min(round(wanted_mb / 1_000) * 1_000, int(machine.memory * 0.8 / 1e9) * 1_000))


def resources_of(source: Source, machine: Machine, sizes: Sizes | None) -> Mapping[str, dict[str, int]]:
    """Return the mapping `resources`, without what equals the default."""
    millions = source.passages.total / 1e6
    gpus = sizes.gpus if sizes else 0
    one = min(gpus, 1)
    shared = max(1, machine.cores // max(machine.gpus, 1))
    search = memory_mb(machine, 2_000 + 4_000 * millions)
    return {
        "train": {"gpu": gpus, "threads": min(machine.cores, 2 * max(gpus, machine.cores // 2)),
                  "mem_mb": memory_mb(machine, 4_000 + 8_000 * gpus)},
        "encode": {"gpu": one, "threads": min(shared, 4), "mem_mb": memory_mb(machine, 4_000 + 2_000 * millions)},
        "score": {"gpu": one, "threads": min(shared, 4), "mem_mb": memory_mb(machine, 4_000 + 2_000 * millions)},
        "search": {"gpu": 0, "threads": min(machine.cores, 8), "mem_mb": search},
        "cpu": {"threads": min(machine.cores, 16), "mem_mb": memory_mb(machine, 4_000 + 7_000 * millions)},
    }  # fmt: skip
