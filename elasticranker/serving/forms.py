"""What clients send and get: the form of text-embeddings-inference (`/rerank`) and that of Cohere and Jina."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from elasticranker.encodable import encodable
from elasticranker.planning.budget import Budget
from elasticranker.serving.scoring import Scored

Text = Annotated[str, AfterValidator(encodable)]
BUDGET_PATTERN = r"^(full|[0-9]{1,2}(\.[0-9]{1,6})?%|100%|[0-9]{1,9}(\.[0-9]{1,6})? ?([KMGTP]?FLOPs|us|ms|s))$"
BudgetText = Annotated[
    str,
    Field(
        description="What this request may cost at most: a share of the full cost, FLOPs, or a time. The load may make "
        "it less. An extension of this server.",
        examples=["25%", "20 GFLOPs", "50 ms", "full"],
        json_schema_extra={"pattern": BUDGET_PATTERN},
    ),
]
IncomingScores = Annotated[
    list[Annotated[float, Field(allow_inf_nan=False)]],
    Field(
        description="Scores that the texts come with, such as BM25's, as many as there are texts: a small budget mixes "
        "them with its own. An extension of this server."
    ),
]


class _Request(BaseModel):
    model_config = ConfigDict(strict=True)

    query: Text = Field(description="What the texts are ranked for.", examples=["how do I copy a folder"])
    budget: BudgetText | None = None
    scores: IncomingScores | None = None

    @field_validator("budget")
    @classmethod
    def _is_budget(cls, budget: str | None) -> str | None:
        if budget is not None:
            Budget(budget)
        return budget

    @model_validator(mode="after")
    def _one_score_a_text(self) -> _Request:
        if self.scores is not None and len(self.scores) != len(self.candidates):
            raise ValueError(f"scores: {len(self.scores)} of them for {len(self.candidates)} texts; give one a text")
        return self

    @property
    def candidates(self) -> Sequence[str]:
        """The texts to rank."""
        raise NotImplementedError


class RerankRequest(_Request):
    """A query and texts, as text-embeddings-inference takes them. Put the texts in incoming order, best first."""

    texts: list[Text] = Field(min_length=1, examples=[["shutil.copytree copies a whole folder", "rivers flow"]])
    truncate: bool | None = Field(
        None, description="Cut texts that are too long (default). `false`: answer 413 if there is one."
    )
    raw_scores: bool | None = Field(
        None, description="Scores on the scale of the model's logits, instead of probabilities of relevance."
    )
    return_text: bool | None = Field(None, description="Send the texts back.")

    @property
    def candidates(self) -> Sequence[str]:
        """The texts to rank."""
        return self.texts


class Document(BaseModel):
    """A document as an object; other fields than `text` are ignored."""

    model_config = ConfigDict(strict=True)

    text: Text


class CohereRequest(_Request):
    """A query and documents, as Cohere and Jina take them. Put the documents in incoming order, best first."""

    model: Text | None = Field(None, description="Ignored: the server has one model.")
    documents: list[Text | Document] = Field(
        min_length=1, examples=[["shutil.copytree copies a whole folder", {"text": "rivers flow"}]]
    )
    top_n: int | None = Field(None, ge=1, description="How many results to send, the best ones (default: all).")
    return_documents: bool | None = Field(None, description="Send the documents back.")

    @property
    def candidates(self) -> Sequence[str]:
        """The texts to rank."""
        return [document if isinstance(document, str) else document.text for document in self.documents]


class Rank(BaseModel):
    """One text's place: `index` counts from 0 in the order of the request."""

    index: int
    score: float
    text: str | None = None


class CohereResult(BaseModel):
    """One document's place: `index` counts from 0 in the order of the request; `relevance_score` is a probability."""

    index: int
    relevance_score: float
    document: Document | None = None


class CohereAnswer(BaseModel):
    """Results from best to worst."""

    id: str
    model: str
    results: list[CohereResult]
    usage: dict[str, int]
    meta: dict[str, Any]


class ErrorAnswer(BaseModel):
    """Why there is no answer, in the form of text-embeddings-inference."""

    error: str
    error_type: str


def ranks(request: RerankRequest, scored: Scored) -> list[dict[str, Any]]:
    """The answer to `POST /rerank`, best first. The order is that of raw scores, also where probabilities are equal."""
    scores = scored.scores if request.raw_scores else scored.relevance
    rows: list[dict[str, Any]] = [
        {"index": index, "score": score} for index, score in zip(scored.order, scores, strict=True)
    ]
    if request.return_text:
        for row in rows:
            row["text"] = request.texts[row["index"]]
    return rows


def results(request: CohereRequest, scored: Scored) -> list[dict[str, Any]]:
    """The `results` of the answer to `POST /v1/rerank`, best first."""
    rows: list[dict[str, Any]] = [
        {"index": index, "relevance_score": relevance}
        for index, relevance in zip(scored.order[: request.top_n], scored.relevance[: request.top_n], strict=True)
    ]
    if request.return_documents:
        candidates = request.candidates
        for row in rows:
            row["document"] = {"text": candidates[row["index"]]}
    return rows
