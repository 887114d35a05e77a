"""True or false: a ranker that asks an encoder-decoder (T5) whether a passage is relevant to a query.

The score is the logit of one word at the first decoder step minus the logit of another. monoT5 ranks by its sigmoid,
the probability of the first word among the two.

# P = query-passage pairs, N = tokens of all pairs, T = token positions
"""

import re
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from led_pipeline.files.errors import InputError
from led_pipeline.models.backbone import PackedBatch, in_float32, start_token
from led_pipeline.models.encoder import Encoder

TEMPLATE = re.compile(r"(.*)\{query\}(.*)\{passage\}(.*)", re.DOTALL)


@dataclass(frozen=True)
class Question:
    """The token ids around a query and a passage, and those of the two answers."""

    before: list[int]
    between: list[int]
    after: list[int]
    true: int
    false: int

    @classmethod
    def read(cls, template: str, true: str, false: str, tokenizer: PreTrainedTokenizerBase) -> "Question":
        """Cut a template with {query} and {passage}, in this order, and two words into tokens.

        Raises:
            InputError: the template has another form, or a word is not one token.
        """
        match = TEMPLATE.fullmatch(template)
        if not match:
            raise InputError(f"template: expected {{query}} and then {{passage}} in it, got {template!r}")
        parts = [tokenizer.encode(part.strip(), add_special_tokens=False) for part in match.groups()]
        words = {key: tokenizer.encode(word, add_special_tokens=False) for key, word in
                 (("true_word", true), ("false_word", false))}  # fmt: skip
        for key, ids in words.items():
            if len(ids) != 1:
                raise InputError(f"{key}: it is cut into {len(ids)} tokens, expected a word that is one token")
        end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        return cls(parts[0], parts[1], parts[2] + end, words["true_word"][0], words["false_word"][0])

    def ask(self, texts: PackedBatch, padding: int) -> tuple[Tensor, Tensor]:
        """Return the ids of the filled-in template (P, T) and their mask; the tokens of passages have the type 1."""
        assert texts.types_N is not None, "a batch of pairs has token types"
        count, device = len(texts), texts.ids_N.device
        lengths = texts.cu_seqlens.diff().long()
        pair_N = torch.arange(count, device=device).repeat_interleave(lengths, output_size=len(texts.ids_N))
        queries = torch.zeros_like(lengths).index_add_(0, pair_N, 1 - texts.types_N)
        before, between, after = (torch.tensor(ids, device=device) for ids in (self.before, self.between, self.after))
        around = len(before) + len(between) + len(after)
        ids_PT = torch.full((count, texts.longest + around), padding, device=device)
        mask_PT = torch.arange(ids_PT.shape[1], device=device) < (lengths + around).unsqueeze(1)
        ids_PT[pair_N, len(before) + texts.positions_N + len(between) * texts.types_N] = texts.ids_N
        ends = len(before) + lengths + len(between)
        for part, first in ((before, torch.zeros_like(ends)), (between, len(before) + queries), (after, ends)):
            columns = first.unsqueeze(1) + torch.arange(len(part), device=device)
            ids_PT.scatter_(1, columns, part.long().expand(count, -1))
        return ids_PT, mask_PT.long()


class TrueFalseRanker(Encoder):
    """An encoder-decoder that is asked a question about every query and passage.

    Source: monoT5 (arXiv:2003.06713); query, passage and template are cut into tokens apart.
    """

    def __init__(self, backbone: PreTrainedModel, question: Question):
        super().__init__()
        self.backbone, self.question = backbone, question
        in_float32(backbone.get_output_embeddings())  # as in `Ranker`: scores of half precision tie

    def forward(self, texts: PackedBatch) -> Tensor:
        """Return one float32 score per pair (P,)."""
        ids_PT, mask_PT = self.question.ask(texts, self.backbone.config.pad_token_id or 0)
        start = torch.full((len(texts), 1), start_token(self.backbone), device=ids_PT.device)
        output = self.backbone(input_ids=ids_PT, attention_mask=mask_PT, decoder_input_ids=start, use_cache=False)
        first = output.logits[:, 0].float()
        return texts.restore(first[:, self.question.true] - first[:, self.question.false])
