"""First-stage retrieval: BM25 without a JVM (PISA) or with one (Terrier), its indexes built once and kept."""

from elasticranker.retrieval.indexing import Engine
from elasticranker.retrieval.searching import BM25, bm25

__all__ = ["BM25", "Engine", "bm25"]
