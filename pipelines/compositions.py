"""Ready-made pipelines from queries to a reranked list."""

import pyterrier as pt

from elasticranker.budget import Budget
from elasticranker.collections import Collection
from pipelines.indexing import Engine
from pipelines.retrieval import bm25


def text(collection: Collection, *, skip_missing: bool = False) -> pt.Transformer:
    """The documents' texts for a frame of candidates: `collection.text_loader()`, for reading pipelines aloud."""
    return collection.text_loader(skip_missing=skip_missing)


def rerank(
    collection: Collection,
    *,
    budget: str | Budget = "full",
    model: str = "default",
    k: int = 100,
    engine: Engine = "pisa",
    verbose: bool = False,
) -> pt.Transformer:
    """`bm25 >> text >> ElasticRanker(budget)`.

    Choose it where the budget is all you want to say; compose the three by hand, as this function does, for anything
    else.

    Args:
        collection: see `elasticranker.collections.open_collection`.
        budget: what reranking a query may cost: "25%", "20 GFLOPs", "50 ms" or "full".
        model: a checkpoint that is shipped, a local path, or a Hugging Face cross-encoder.
        k: BM25 candidates a query.
        engine: what runs BM25, see `bm25`.
        verbose: progress bars.

    Example:
        >>> rerank(open_collection("python-docs"), budget="25%").search("copy a whole folder")  # doctest: +SKIP
    """
    from elasticranker import ElasticRanker

    candidates = bm25(collection, engine=engine, k=k, verbose=verbose)
    return candidates >> text(collection) >> ElasticRanker(model, budget=budget, verbose=verbose)


def cascade(
    collection: Collection,
    *,
    first: str | Budget = "5%",
    keep: int = 20,
    then: str | Budget = "full",
    model: str = "default",
    k: int = 100,
    engine: Engine = "pisa",
    verbose: bool = False,
) -> pt.Transformer:
    """`bm25 >> text >> ElasticRanker(first) % keep >> ElasticRanker(then)`: a cheap look at many, a good one at a few.

    Choose it where the answer is a short list and each of its documents must have been scored with the second budget;
    `rerank` with one budget spreads it better, and keeps all candidates. The two rankers share their weights.

    Args:
        collection: see `elasticranker.collections.open_collection`.
        first: the budget for all candidates of a query.
        keep: how many candidates a query go on; the others are dropped.
        then: the budget for those; a share of what the full model would cost for them.
        model: a checkpoint that is shipped, a local path, or a Hugging Face cross-encoder.
        k: BM25 candidates a query.
        engine: what runs BM25, see `bm25`.
        verbose: progress bars.

    Raises:
        ValueError: `keep` below 1 or above `k`.
    """
    if not 1 <= keep <= k:
        raise ValueError(f"keep={keep} must be between 1 and k={k}")
    from elasticranker import ElasticRanker

    ranker = ElasticRanker(model, budget=first, verbose=verbose)
    candidates = bm25(collection, engine=engine, k=k, verbose=verbose) >> text(collection)
    return candidates >> ranker % keep >> ranker.with_budget(then)
