"""Postings: search the posting file of a lexicon stage, with the results of `search.exact_lexicon`, query by query."""

from functools import cached_property
from pathlib import Path

import numpy as np

from led_pipeline.data.vectors import SparseVectors
from led_pipeline.files.errors import InputError
from led_pipeline.files.reading import read_json
from led_pipeline.search.exact_lexicon import open_index, search_one
from led_pipeline.search.indexes import NOTE
from led_pipeline.search.largest_scores import check_scores
from led_pipeline.search.posting_file import Postings
from led_pipeline.use.records import NO_HITS, Hits


class PostingIndex:
    """The index of a lexicon stage with `search.lexicon: exact`.

    Args:
        again: what to do if the index is damaged.
    """

    def __init__(self, folder: Path | str, quantisation: int, again: str = "build it again"):
        self._folder, self._quantisation, self._again = Path(folder), quantisation, again

    @cached_property
    def _postings(self) -> Postings:
        try:
            note = self._folder / NOTE
            passages = int(read_json(note)["passages"]) if note.is_file() else 0
            return open_index(self._folder, passages, self._quantisation)
        except InputError as error:
            raise InputError(f"{error}; {self._again}") from error

    def search_terms(self, query: SparseVectors, depth: int) -> Hits:
        """Return the best passages for the impacts in the only row of `query`.

        Raises:
            InputError: the index is damaged or does not fit, or a score might not fit into 32 bits.
        """
        if not len(query.terms[0]):
            return NO_HITS
        check_scores(self._postings, query, self._folder)
        rows, scores = search_one(self._postings, query, depth)
        return rows, scores.astype(np.float32)
