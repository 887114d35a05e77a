"""Stage models: weights, bytes and work per token that follow from a stage's settings and its shape.

An untied stage has two shapes; adapters leave few weights to learn; queries may need no model at all.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from led_pipeline.plan import assumptions
from led_pipeline.plan.shapes import Shape, shape_of
from led_pipeline.recipe.graph import Recipe
from led_pipeline.recipe.stages import Pretrain, Ranker, Stage, Started


@dataclass(frozen=True)
class StageModel:
    """A stage with the shape of its encoder, and that of its queries' own encoder where it has one."""

    stage: Stage
    shape: Shape
    query: Shape | None = None

    @classmethod
    def of(cls, recipe: Recipe, name: str, results: Path) -> "StageModel":
        """Return the model of a stage, from whatever can be read here."""
        stage, shape = recipe.stages[name], shape_of(recipe, name, results)
        untied = getattr(stage, "untied", False)
        query = _as_read(stage, shape_of(recipe, name, results, queries=True)) if untied else None
        return cls(stage, _as_read(stage, shape), query)

    @property
    def has_head(self) -> bool:
        """Whether the masked-LM head is computed."""
        return self.stage.output == "sparse"

    @property
    def is_known(self) -> bool:
        return all(shape.is_known for shape in self.shapes)

    @property
    def shapes(self) -> list[Shape]:
        return [self.shape] if self.query is None else [self.shape, self.query]

    @property
    def free_queries(self) -> bool:
        """Whether no model reads the queries."""
        return getattr(self.stage, "query_encoder", "model") != "model"

    @property
    def vector(self) -> int:
        """The dimensions of a dense stage's vectors; of an encoder of the user's, the hidden size is assumed."""
        return getattr(self.stage, "head", None) or self.shape.hidden

    @property
    def parameters(self) -> int:
        """All weights of what the stage writes; adapters are merged by then."""
        return sum(shape.parameters for shape in self.shapes) + self._heads

    @property
    def _heads(self) -> int:
        return sum(shape.hidden * (getattr(self.stage, "head", None) or 0) for shape in self.shapes)

    @property
    def adapters(self) -> int:
        """The weights of low-rank adapters."""
        lora = getattr(self.stage, "lora", None)
        return sum(shape.adapters(lora.rank, lora.targets) for shape in self.shapes) if lora else 0

    @property
    def trained(self) -> int:
        """The weights that learn."""
        if not getattr(self.stage, "lora", None):
            return self.parameters
        classifier = isinstance(self.stage, Ranker) and self.stage.scoring == "classifier"
        pooler = self.shape.hidden**2 + 2 * self.shape.hidden if self.shape.kind == "bert" else self.shape.hidden
        return self.adapters + self._heads + (pooler + 1 if classifier else 0)

    @property
    def held_bytes(self) -> float:
        """The bytes of all weights and adapters while it is trained; quantisation covers the layers' matrices."""
        bits = assumptions.FEW_BITS.get(getattr(self.stage, "load_in", None) or "", 32)
        return 4 * (self.parameters + self.adapters) - self._linear * (4 - bits / 8)

    @property
    def state_bytes(self) -> float:
        """The bytes of a checkpoint: all weights, and two moments of those that learn."""
        return self.held_bytes + assumptions.MOMENT_BYTES * self.trained

    def training_flops(self, query_tokens: float, passage_tokens: float) -> float:
        """Return the FLOPs of a step's tokens; a ranker's count as the passages' all."""
        frozen = bool(getattr(self.stage, "lora", None))
        flops = passage_tokens * self.shape.training_flops(self.has_head, frozen)
        if not self.free_queries:
            flops += query_tokens * (self.query or self.shape).training_flops(self.has_head, frozen)
        return flops * self._recomputed

    def masked_flops(self, tokens: float, predicted: float) -> float:
        """Return the FLOPs of a step's tokens of a masked language model, with the head at some of them."""
        head = assumptions.TRAINING_FLOPS * self.shape.head * predicted
        return (tokens * self.shape.training_flops(has_head=False) + head) * self._recomputed

    @property
    def _recomputed(self) -> float:
        """The work of a step with all forward passes, as a multiple of that with one."""
        stage = self._with_batches
        return 1 + (stage.gradient_checkpointing + bool(stage.gradient_cache)) / 3  # each a third more work

    def inference_flops(self, query_tokens: float, passage_tokens: float) -> float:
        flops = passage_tokens * self.shape.inference_flops(self.has_head)
        if not self.free_queries:
            flops += query_tokens * (self.query or self.shape).inference_flops(self.has_head)
        return flops

    def training_memory(
        self, query_tokens: float, passage_tokens: float, length: float, texts: float = 0, everywhere: float = 0
    ) -> float:
        """Return the bytes on each GPU.

        Args:
            query_tokens, passage_tokens: on this GPU.
            length: tokens of a text.
            texts: on this GPU.
            everywhere: texts of the batch, whose vectors every GPU gathers.
        """
        half = self._with_batches.precision != "float32"
        checkpointing = self._with_batches.gradient_checkpointing
        sides = [(self.shape, passage_tokens)]
        if not self.free_queries:
            sides.append((self.query or self.shape, query_tokens))
        activations = sum(shape.activations(tokens, length, half, checkpointing) for shape, tokens in sides)
        weights = self.held_bytes + (assumptions.TRAINING_BYTES - 4) * self.trained
        weights += assumptions.COPY_BYTES * self._linear if half and not getattr(self.stage, "lora", None) else 0
        vectors = (
            self.shape.vocabulary * (assumptions.VOCABULARY_BYTES * texts + 4 * everywhere) if self.has_head else 0
        )
        return weights + activations + vectors + self._logits + assumptions.GPU_RESERVE

    def inference_memory(self) -> float:
        """Return the bytes on a GPU that encodes or scores; both encoders of an untied stage are loaded."""
        widest = max(self.shape.intermediate, self.shape.hidden)
        batch = assumptions.INFERENCE_TOKENS * assumptions.INFERENCE_BYTES_PER_UNIT * widest / 2
        return (
            4 * self.parameters + assumptions.COPY_BYTES * self._linear + batch + self._logits + assumptions.GPU_RESERVE
        )

    @property
    def _with_batches(self) -> Started:
        if isinstance(self.stage, Pretrain):
            raise TypeError("a stage of the family pretrain is computed without batches")
        return self.stage

    @property
    def _linear(self) -> int:
        return sum(shape.linear for shape in self.shapes)

    @property
    def _logits(self) -> float:
        return 3 * assumptions.LOGIT_BYTES if self.has_head else 0


def _as_read(stage: Stage, shape: Shape) -> Shape:
    """Return what a stage reads of an encoder-decoder: all of it, all but the output, or the encoder alone."""
    if getattr(stage, "scoring", "") == "true_false":
        return shape
    decoder = stage.family == "ranker" or getattr(stage, "encoder_decoder", "encoder") == "first_decoder_token"
    return replace(shape, decoder_layers=shape.decoder_layers if decoder else 0, own_output=False)


def stage_models(recipe: Recipe, results: Path) -> dict[str, StageModel]:
    return {name: StageModel.of(recipe, name, results) for name in recipe.stages}
