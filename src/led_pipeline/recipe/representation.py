"""Settings of how a model reads texts: the groups that a saved model keeps (led.json). Imports no torch."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from led_pipeline.recipe.schema import LARGEST, LeftOut, Positive, Section, Share, Temperature
from led_pipeline.recipe.values import UserCode, UserFile, in_user_file

Side = Literal["query", "passage"]


class Start(Section):
    """How `init` is read."""

    reinterpret: bool = False
    """use the model of init in another way than it was made for: with another pooling, prefix, tokenizer and so on"""


class LexiconStart(Start):
    idf: Annotated[str | None, UserFile("collection")] = None
    """the table of query weights: a JSON file from token to weight, or `collection`; that of init by default"""


class Representation(Section):
    """How a model turns texts into vectors or scores; saved with the model (led.json)."""

    query_length: int = Field(32, ge=3, le=LARGEST)
    """tokens of a query, special ones included"""
    passage_length: int = Field(128, ge=5, le=LARGEST)
    """tokens of a passage, title and special ones included"""
    untitled: Literal["text", "empty_title"] = "text"
    """Format of a passage without a title: [CLS] text [SEP], or [CLS] [SEP] text [SEP] as in LED's code."""
    title_separator: Annotated[str | None, LeftOut()] = None
    """Text between title and passage, tokenised separately, instead of the tokenizer's separators: `": "` reads a
    passage as [CLS] title: passage [SEP]."""
    query_prefix: str = ""
    """text before every query, tokenised separately; query_length includes it"""
    passage_prefix: str = ""
    """text before every passage and its title"""

    def length(self, side: Side) -> int:
        """Return the largest number of tokens of a text of one side."""
        return self.query_length if side == "query" else self.passage_length

    def prefix(self, side: Side) -> str:
        """Return the text before every text of one side."""
        return self.query_prefix if side == "query" else self.passage_prefix


class RetrieverRepresentation(Representation):
    temperature: Temperature = 1.0
    """divides the scores in training"""
    untied: bool = False
    """train a separate encoder for queries"""


class DenseRepresentation(RetrieverRepresentation):
    family: Literal["dense"]
    pooling: Annotated[
        str, AfterValidator(lambda v: in_user_file(v, "cls", "mean", "last", kind="function")), UserCode()
    ] = "cls"
    """The vector of the first token, the mean of all, the vector of the last token, or a function file.py:function."""
    normalize: bool = False
    """vectors of length 1, for cosine similarity"""
    head: Positive | None = None
    """project the pooled vector to this number of dimensions, without a bias"""
    encoder_decoder: Literal["encoder", "first_decoder_token"] = "encoder"
    """T5: pool the states of the encoder, or take the vector of the first decoder token."""
    append_eos: bool = False
    """end texts with the eos token, for tokenizers without [CLS] and [SEP]"""
    encoder: Annotated[Annotated[str, AfterValidator(lambda v: in_user_file(v, kind="Class"))] | None, UserCode()] = (
        None
    )
    """A class file.py:Class that replaces pooling, head and normalize."""


class LexiconRepresentation(RetrieverRepresentation):
    family: Literal["lexicon"]
    keep_special_tokens: bool = False
    """include the first and the last token in the pooling"""
    activation: Literal["log1p", "log1p_twice"] = "log1p"
    """function of the highest logit, after relu"""
    query_encoder: Literal["model", "bag_of_words", "idf"] = "model"
    """Encode queries with the model, or take the set of their tokens, with the weight 1 or that of a table (idf)."""
    top_k_queries: Positive | None = None
    """keep only this number of a query's highest weights, in training and afterwards"""
    top_k_passages: Positive | None = None
    """the same for passages"""
    prune_ratio_queries: Share = 0.0
    """drop a query's weights up to this share of its highest weight"""
    prune_ratio_passages: Share = 0.0
    """the same for passages"""


class RankerRepresentation(Representation):
    family: Literal["ranker"]
    scoring: Literal["classifier", "true_false"] = "classifier"
    """classifier: one logit; true_false: the logits of two words of a T5 (monoT5)"""
    template: str = "Query: {query} Document: {passage} Relevant:"
    """true_false: the prompt around the texts; the lengths do not include it."""
    true_word: str = "true"
    """true_false: the word whose logit counts positive"""
    false_word: str = "false"
    """true_false: the word whose logit is subtracted"""
