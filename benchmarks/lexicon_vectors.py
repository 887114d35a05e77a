"""Generate sparse vectors with the statistics of SPLADE vectors of MS MARCO, correlated by topic.

The published anchors are those of SPLADE (CoCondenser, ensemble distillation) on MS MARCO: 119 terms per passage and 43
per query on average (Seismic, arXiv:2404.18812), and 3.8 to 5.4 products of weights per pair of a query and a random
passage (the FLOPS of naver/splade's README, for distilSPLADE_max and the large CoCondenser model). The model:

- A passage has one topic. The numbers of passages per topic follow a power law with the exponent 0.7; the mean is 250.
- A topic has 256 terms in an order of its own, drawn by the frequency of terms; a passage draws about 76 of them, early
  ones more often, and about 56 background terms. The frequencies of terms follow a power law with the exponent 0.75
  after the first 40 ranks, so the most frequent terms occur in about a quarter of the passages.
- A weight is log(1 + x) as in SPLADE. Topic terms are heavier the earlier they come in their topic and the rarer they
  are (0.2 to 3.2); background terms have 0.02 to 0.8. Passages of a topic share its weights up to log-normal noise.
- A query belongs to a passage: it has the 9 heaviest terms of it, 22 draws of its topic with lower weights, and 16
  background terms.

`describe` returns what a sample has of all this.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from led_pipeline.data.ragged import Ragged
from led_pipeline.data.vectors import SparseVectors

VOCABULARY = 30_522
TOPIC_TERMS = 256
TOPIC_PASSAGES = 250
TOPIC_DRAWS, BACKGROUND_DRAWS = 84, 62  # of a passage; terms that are drawn twice count once
OWN_TERMS, QUERY_TOPIC_DRAWS, QUERY_BACKGROUND_DRAWS = 9, 22, 17  # of a query
OFFSET, EXPONENT = 8, 0.95  # of the frequencies of terms
SPREAD = 0.3  # standard deviation of the logarithm of a passage's number of draws
FLATTER = 0.78  # topics have rarer terms than the background
NOISE = 0.35  # the same of a weight around that of its topic
BLOCK = 25_000  # passages that are drawn at once


@dataclass(frozen=True)
class Topics:
    """The terms of each topic with their weights, (T, 256), and the frequencies of all terms."""

    terms: NDArray[np.int32]
    weights: NDArray[np.float32]
    sizes: NDArray[np.float64]  # cumulative share of the passages by topic
    frequency: NDArray[np.float64]  # cumulative, by term

    @classmethod
    def draw(cls, passages: int, random: np.random.Generator) -> "Topics":
        count = max(4, passages // TOPIC_PASSAGES)
        cumulative = np.cumsum(1 / np.arange(OFFSET, VOCABULARY + OFFSET) ** EXPONENT)
        cumulative /= cumulative[-1]
        # A topic's terms are rarer than the background's: the power flattens the distribution.
        terms = np.searchsorted(cumulative, random.random((count, TOPIC_TERMS)) ** FLATTER).astype(np.int32)
        rarity = np.log1p(terms) / np.log(VOCABULARY)
        place = np.exp(-np.arange(TOPIC_TERMS) / 60)
        weights = np.log1p(5 * place * rarity * random.lognormal(-0.1, 0.5, terms.shape))
        sizes = np.cumsum(1 / np.arange(1, count + 1) ** 0.7)
        return cls(terms, weights.astype(np.float32), sizes / sizes[-1], cumulative)

    def background(self, rows: NDArray, random: np.random.Generator) -> tuple[NDArray, NDArray]:
        """Return a background term and its weight for every entry of `rows`."""
        terms = np.minimum(np.searchsorted(self.frequency, random.random(len(rows))), VOCABULARY - 1)
        return terms.astype(np.int32), np.log1p(0.25 * random.lognormal(0, 0.8, len(rows))).astype(np.float32)

    def of(self, topics: NDArray, random: np.random.Generator) -> tuple[NDArray, NDArray]:
        """Return a term of each of the topics and its weight."""
        places = (TOPIC_TERMS * random.random(len(topics)) ** 1.7).astype(np.int64)
        noise = random.lognormal(0, NOISE, len(topics)).astype(np.float32)
        return self.terms[topics, places], self.weights[topics, places] * noise


def _joined(rows: NDArray, terms: NDArray, weights: NDArray, count: int) -> SparseVectors:
    """Return vectors of drawn (row, term, weight); of a term that was drawn twice, the larger weight."""
    order = np.lexsort((-weights, rows * np.int64(VOCABULARY) + terms))
    keys = (rows * np.int64(VOCABULARY) + terms)[order]
    first = np.flatnonzero(np.diff(keys, prepend=-1))
    larger = order[first]
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows[larger], minlength=count))])
    return SparseVectors(
        Ragged(terms[larger].astype(np.uint16), offsets), Ragged(weights[larger].astype(np.float32), offsets)
    )


def _passages(topics: Topics, numbers: NDArray, random: np.random.Generator) -> SparseVectors:
    """Return the vectors of one passage of each of the topics."""
    parts = []
    for draws in (TOPIC_DRAWS, BACKGROUND_DRAWS):
        lengths = np.maximum(1, np.rint(random.lognormal(np.log(draws) - SPREAD**2 / 2, SPREAD, len(numbers))))
        rows = np.repeat(np.arange(len(numbers)), lengths.astype(np.int64))
        terms = topics.of(numbers[rows], random) if draws == TOPIC_DRAWS else topics.background(rows, random)
        parts.append((rows, *terms))
    return _joined(*(np.concatenate(column) for column in zip(*parts, strict=True)), count=len(numbers))


def passages(count: int, seed: int = 1) -> Iterator[tuple[SparseVectors, NDArray, Topics]]:
    """Yield blocks of passages with their topics."""
    random = np.random.default_rng(seed)
    topics = Topics.draw(count, random)
    for start in range(0, count, BLOCK):
        numbers = np.searchsorted(topics.sizes, random.random(min(BLOCK, count - start)))
        yield _passages(topics, numbers, random), numbers, topics


def draw(count: int, queries: int, seed: int = 1) -> tuple[list[SparseVectors], SparseVectors]:
    """Return the vectors of all passages in blocks, and those of queries about random passages."""
    blocks, numbers = [], []
    topics: Topics
    for block, of_block, topics in passages(count, seed):  # noqa: B007
        blocks.append(block)
        numbers.append(of_block)
    random = np.random.default_rng(seed + 1)
    chosen = np.sort(random.choice(count, queries, replace=queries > count))
    return blocks, _queries(blocks, np.concatenate(numbers), topics, chosen, random)


def _queries(
    blocks: list[SparseVectors], numbers: NDArray, topics: Topics, chosen: NDArray, random: np.random.Generator
) -> SparseVectors:
    parts = []
    order = random.permutation(len(chosen))  # queries are not in the order of their passages
    for query, row in zip(order, chosen, strict=True):
        block, place = blocks[row // BLOCK], row % BLOCK
        terms, weights = block.terms[place], block.weights[place]
        best = np.argsort(-weights)[:OWN_TERMS]
        parts.append((np.full(len(best), query), terms[best].astype(np.int32), weights[best] * np.float32(0.9)))
    rows = np.repeat(order, QUERY_TOPIC_DRAWS)
    terms, weights = topics.of(np.repeat(numbers[chosen], QUERY_TOPIC_DRAWS), random)
    parts.append((rows, terms, weights * np.float32(0.4)))
    rows = np.repeat(order, QUERY_BACKGROUND_DRAWS)
    parts.append((rows, *topics.background(rows, random)))
    return _joined(*(np.concatenate(column) for column in zip(*parts, strict=True)), count=len(chosen))


def describe(blocks: list[SparseVectors], queries: SparseVectors) -> dict[str, float]:
    """Return statistics of vectors: terms, document frequencies, products per pair, weights."""
    count = sum(map(len, blocks))
    frequency = sum(np.bincount(block.terms.values, minlength=VOCABULARY) for block in blocks) / count
    weights = blocks[0].weights.values
    return {
        "terms of a passage": float(sum(len(block.terms.values) for block in blocks) / count),
        "terms of a query": float(queries.terms.lengths.mean()),
        "products per pair": float(frequency[queries.terms.values].sum() / len(queries)),
        "largest share of passages with a term": float(frequency.max()),
        "median weight": float(np.median(weights)),
        "99th percentile of weights": float(np.percentile(weights, 99)),
        "share of weights above 2.55": float((weights > 2.55).mean()),
    }
