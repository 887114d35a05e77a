"""User module: a model with its author's pooling or encoder in sentence-transformers; led_modules.py loads it."""

from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from torch import Tensor

from led_pipeline.data.tokens import Batch
from led_pipeline.models import saved_model
from led_pipeline.models.backbone import to_packed_batch
from led_pipeline.models.bi_encoder import encoder_of, size_of
from led_pipeline.models.led_modules import LedModel, Settings
from led_pipeline.pretrained.tokenizer import load_tokenizer


class UserModel(LedModel):
    """Reads texts as any model of ours, and computes their vectors with our own encoder and the author's code."""

    @classmethod
    def of(cls, path: str, settings: Settings, hub: dict[str, Any]) -> "UserModel":
        """Load a folder, or a model of the hub with these arguments of `snapshot_download`."""
        folder = path if Path(path).is_dir() else snapshot_download(path, **hub)
        model, _ = saved_model.load(Path(folder))
        return cls(settings, load_tokenizer(folder), model)

    def save(self, output_path: str, *_: Any, **__: Any) -> None:
        raise NotImplementedError("this model has code of its author; copy its folder instead")

    def get_embedding_dimension(self) -> int:
        return size_of(encoder_of(self.passage, "passage"))

    def _vectors(self, features: dict[str, Any], side: str) -> Tensor:
        mask_BT = features["attention_mask"].bool()
        batch = Batch(features["input_ids"][mask_BT].cpu().numpy(), mask_BT.sum(dim=1).cpu().numpy())
        encoder = encoder_of(self.passage, "query" if side == "query" else "passage")
        vectors: Tensor = encoder(to_packed_batch(batch, mask_BT.device))
        return vectors
