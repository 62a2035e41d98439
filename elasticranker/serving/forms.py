"""What clients send and get: the form of text-embeddings-inference (`/rerank`) and that of Cohere and Jina."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    WithJsonSchema,
    field_validator,
    model_validator,
)

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

DEEPEST = 50  # levels of an object: JSON is written and read recursively
_QUOTED_FLAGS = {"true": True, "True": True, "false": False, "False": False}
_QUOTED_COUNT = re.compile("[0-9]{1,9}")


def _unquoted(value: object) -> object:
    """A flag or a count without the quotes that some clients put around it: RAGFlow sends `"true"`."""
    if not isinstance(value, str):
        return value
    return int(value) if _QUOTED_COUNT.fullmatch(value) else _QUOTED_FLAGS.get(value, value)


def _document(value: object) -> str | dict[str, Any]:
    """A text, or an object that can be sent back: not too deep, no NaN, and nothing that UTF-8 cannot hold."""
    if isinstance(value, str):
        return encodable(value)
    if not isinstance(value, dict):
        raise ValueError("send a text, or an object with the field 'text'")
    level: list[Any] = [value]
    for _ in range(DEEPEST):
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
        level = [one for one in level if isinstance(one, dict | list)]
    if level:
        raise ValueError(f"an object of more than {DEEPEST} levels")
    found: dict[str, Any] = json.loads(encodable(json.dumps(value, ensure_ascii=False, allow_nan=False)))
    return found


Flag = Annotated[
    bool,
    BeforeValidator(_unquoted),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, {"type": "string", "enum": list(_QUOTED_FLAGS)}]}),
]
Count = Annotated[
    int,
    Field(ge=0),
    BeforeValidator(_unquoted),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^[0-9]{1,9}$"}]}),
]
Document = Annotated[
    str | dict[str, Any],
    PlainValidator(_document),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object", "properties": {"text": {"type": "string"}}}]}),
]


class _Request(BaseModel):
    model_config = ConfigDict(strict=True)

    query: Text = Field(description="What the texts are ranked for.", examples=["how do I copy a folder"])
    budget: BudgetText | None = None
    exact: Flag | None = Field(
        None,
        description="Spend the budget as it is asked for, or answer 429: the load never makes it less, and the same "
        "request always gets the same ranking. An extension of this server.",
    )
    scores: IncomingScores | None = None

    @field_validator("budget")
    @classmethod
    def _is_budget(cls, budget: str | None) -> str | None:
        if budget is not None:
            Budget(budget)
        return budget

    @model_validator(mode="after")
    def _fits_together(self) -> _Request:
        texts = len(self.candidates)
        if self.scores is not None and len(self.scores) != texts:
            raise ValueError(f"scores: {len(self.scores)} of them for {texts} texts; give one a text")
        if self.exact and (self.budget is None or Budget(self.budget).kind == "time"):
            raise ValueError("exact: name the budget to keep, a share or FLOPs, such as '25%'; a time is never exact")
        return self

    @property
    def candidates(self) -> Sequence[str]:
        """The texts to rank."""
        raise NotImplementedError


class RerankRequest(_Request):
    """A query and texts, as text-embeddings-inference takes them. Put the texts in incoming order, best first."""

    texts: list[Text] = Field(min_length=1, examples=[["shutil.copytree copies a whole folder", "rivers flow"]])
    truncate: Flag | None = Field(
        None, description="Cut texts that are too long (default). `false`: answer 413 if there is one."
    )
    truncation_direction: Literal["Right", "right"] | None = Field(
        None, description="Texts that are too long are cut at their end; cut them yourself to keep another part."
    )
    raw_scores: Flag | None = Field(
        None, description="Scores on the scale of the model's logits, instead of probabilities of relevance."
    )
    return_text: Flag | None = Field(None, description="Send the texts back.")

    @property
    def candidates(self) -> Sequence[str]:
        """The texts to rank."""
        return self.texts


class CohereRequest(_Request):
    """A query and documents, as Cohere and Jina take them. Put the documents in incoming order, best first."""

    model: Text | None = Field(None, description="Ignored: the server has one model.")
    documents: list[Document] = Field(
        min_length=1,
        description="Texts, or objects: these are ranked by their field `text`, or by those that `rank_fields` names.",
        examples=[["shutil.copytree copies a whole folder", {"text": "rivers flow"}]],
    )
    rank_fields: list[Text] | None = Field(
        None,
        max_length=100,
        description="Fields of the objects that they are ranked by, in this order, each as a line `field: value`.",
    )
    top_n: Count | None = Field(None, description="How many results to send, the best ones (default, and 0: all).")
    top_k: Count | None = Field(None, description="The same, for clients that call it so.")
    return_documents: Flag | None = Field(
        None, description="Send the documents back (default: no; at `/rerank`, as vLLM does: yes)."
    )

    @property
    def most(self) -> int | None:
        """How many results to send; None for all."""
        return self.top_n or self.top_k or None

    @cached_property
    def candidates(self) -> Sequence[str]:  # type: ignore[override]
        """The texts to rank."""
        return [self._text(place, document) for place, document in enumerate(self.documents)]

    def _text(self, place: int, document: str | dict[str, Any]) -> str:
        if isinstance(document, str):
            return document
        if not self.rank_fields:
            text = document.get("text")
            if isinstance(text, str):
                return text
            raise ValueError(f"documents.{place}: an object needs a 'text', or name its fields with rank_fields")
        lines = [f"{name}: {_written(document[name])}" for name in self.rank_fields if document.get(name) is not None]
        if not lines:
            raise ValueError(f"documents.{place}: none of the fields that rank_fields names is there")
        return "\n".join(lines)


FORMS = ("text-embeddings-inference", "Cohere")  # how errors name the two


def _form(body: object) -> str:
    """Which form a body of `POST /rerank` has: vLLM's clients send Cohere's there."""
    return FORMS[isinstance(body, dict) and "documents" in body and "texts" not in body]


EitherRequest = Annotated[
    Annotated[RerankRequest, Tag(FORMS[0])] | Annotated[CohereRequest, Tag(FORMS[1])], Discriminator(_form)
]


class Rank(BaseModel):
    """One text's place: `index` counts from 0 in the order of the request."""

    index: int
    score: float
    text: str | None = None


class CohereResult(BaseModel):
    """One document's place: `index` counts from 0 in the order of the request; `relevance_score` is a probability."""

    index: int
    relevance_score: float
    document: dict[str, Any] | None = None


class CohereAnswer(BaseModel):
    """Results from best to worst."""

    id: str
    model: str
    results: list[CohereResult]
    usage: dict[str, int]
    meta: dict[str, Any]


class Model(BaseModel):
    """The model, as OpenAI's API describes one; `created` is when the server started, in seconds since 1970."""

    id: str
    object: str = "model"
    created: int
    owned_by: str = "elasticranker"


class ModelList(BaseModel):
    """All models of the server: the one that it has."""

    object: str = "list"
    data: list[Model]


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


def results(request: CohereRequest, scored: Scored, *, documents: bool) -> list[dict[str, Any]]:
    """The `results` of Cohere's answer, best first.

    Args:
        request: what was asked.
        scored: the ranking.
        documents: send the documents back: objects as they came, texts as `{"text": ...}`.
    """
    rows: list[dict[str, Any]] = [
        {"index": index, "relevance_score": relevance}
        for index, relevance in zip(scored.order[: request.most], scored.relevance[: request.most], strict=True)
    ]
    if documents:
        for row in rows:
            document = request.documents[row["index"]]
            row["document"] = {"text": document} if isinstance(document, str) else document
    return rows


def _written(value: object) -> str:
    """A field's value in a line of text: a text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
