"""What an export reads: a results folder, its recipe, and the files of one system on one split."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from led_pipeline.data.tables import count_rows, read_column
from led_pipeline.files.digests import digest, fingerprint
from led_pipeline.files.errors import InputError
from led_pipeline.recipe import needs
from led_pipeline.recipe.errors import nearest
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.layout import Layout
from led_pipeline.recipe.recorded import recorded_recipe
from led_pipeline.recipe.stages import Lexicon

Kind = Literal["dense", "lexicon", "ranker", "bm25"]
Input = Literal["passages", "vectors", "queries", "query vectors", "model"]
BM25 = "bm25"
_KINDS: dict[str, Kind] = {"dense": "dense", "sparse": "lexicon", "scores": "ranker"}
# Files of a model's folder that say how it was made, not what it computes.
_HISTORY = {"train.jsonl", "settings.json", "software.json", "weights.json", "README.md", ".snakemake_timestamp"}


@dataclass(frozen=True)
class Source:
    """One system of a results folder, and the split whose queries measure an export."""

    results: Path
    recipe: Recipe
    system: str
    split: str

    @property
    def kind(self) -> Kind:
        if self.system == BM25:
            return "bm25"
        output = self.recipe.stages[self.system].output
        assert output is not None, "open_source"
        return _KINDS[output]

    @cached_property
    def layout(self) -> Layout:
        return Layout(str(self.results))

    @cached_property
    def _files(self) -> needs.Files:
        return needs.Files(self.recipe, self.layout, (), {})

    @property
    def passages(self) -> Path:
        return Path(self.layout.passages)

    @property
    def queries(self) -> Path:
        return Path(self.layout.queries(self.split))

    @property
    def qrels(self) -> Path:
        return Path(self.layout.qrels(self.split))

    @property
    def ranking(self) -> Path:
        """The run's own ranking of the split."""
        return Path(self.layout.ranking(self.system, self.split))

    @property
    def model(self) -> Path:
        return Path(self.layout.model(self.system))

    @property
    def passage_vectors(self) -> list[Path]:
        return list(map(Path, self._files.passage_vectors(self.system)))

    @property
    def query_vectors(self) -> Path:
        return Path(self._files.query_vectors(self.system, self.split))

    @property
    def quantisation(self) -> int:
        """The impact of a weight of 1 in a lexicon stage's index."""
        stage = self.recipe.stages[self.system]
        assert isinstance(stage, Lexicon), "only lexicon stages have impacts"
        return stage.quantisation

    @cached_property
    def query_ids(self) -> list[str]:
        return read_column(self.queries, "id")

    def check(self, inputs: Sequence[Input]) -> None:
        """Check that files are in the results.

        Raises:
            InputError: some are missing; the message has the command that builds them.
        """
        paths: dict[Input, list[Path]] = {"passages": [self.passages], "queries": [self.queries]}
        if "model" in inputs:
            paths["model"] = [self.model]
        if "vectors" in inputs:
            paths["vectors"] = self.passage_vectors
        if "query vectors" in inputs:
            paths["query vectors"] = [self.query_vectors]
        missing = [path for each in dict.fromkeys(inputs) for path in paths[each] if not path.exists()]
        if missing:
            root = Layout.of(self.recipe.dataset.name).root
            targets = " ".join(f"{root}/{path.relative_to(self.results)}" for path in missing)
            raise InputError(
                f"{missing[0]}: the run has not made this file yet; build it with `snakemake {targets}"
                " --cores all --configfile CONFIG`, where CONFIG is the config of this run"
            )

    def model_digest(self) -> str:
        """Return 16 hex digits that change with the model; for BM25, with the passages."""
        if self.system == BM25:
            return fingerprint(digest(self.passages))
        files = sorted(path for path in self.model.rglob("*") if path.is_file() and path.name not in _HISTORY)
        return fingerprint({str(path.relative_to(self.model)): digest(path) for path in files})

    def passage_count(self) -> int:
        return count_rows(self.passages)


def open_source(results: Path, system: str, split: str | None = None) -> Source:
    """Return a system of a results folder.

    Args:
        split: the split with the queries; default: the first evaluated one.

    Raises:
        InputError: there are no results, or the recipe has no such system or split.
    """
    recipe = recorded_recipe(results)
    systems = [BM25, *recipe.with_output("dense", "sparse", "scores")]
    if system in recipe.variants:
        raise InputError(f"{system}: a variant is made of vectors of '{recipe.variants[system].of}'; export that stage")
    if system not in systems:
        if system in recipe.stages or system in needs.systems(recipe):
            raise InputError(
                f"{system}: only BM25 and stages that rank can be exported; there are {', '.join(systems)}"
            )
        raise InputError(
            f"{system}: no such stage in {results}{nearest(system, systems)}; there are {', '.join(systems)}"
        )
    split = split or recipe.evaluation.splits[0]
    if split not in recipe.dataset.splits:
        splits = recipe.dataset.splits
        raise InputError(f"--split: no split '{split}'{nearest(split, splits)}; there are {', '.join(splits)}")
    return Source(results, recipe, system, split)
