"""Ready-made pipelines: BM25 (PISA without a JVM, Terrier with one), texts, and elastic reranking."""

from pipelines.compositions import cascade, rerank, text
from pipelines.retrieval import BM25, bm25

__all__ = ["BM25", "bm25", "cascade", "rerank", "text"]
