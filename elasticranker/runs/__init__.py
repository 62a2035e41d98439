"""TREC run files: read, written, and reranked in pieces that may be killed."""

from elasticranker.trec import format_run, read_run, write_run

__all__ = ["format_run", "read_run", "write_run"]
