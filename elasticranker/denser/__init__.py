"""Dense retrieval whose cost per query you choose: `ElasticDenser`, a bi-encoder of pyterrier_dr (extra `dense`)."""

from elasticranker.extras import missing

try:
    import pyterrier_dr  # noqa: F401
except ImportError as error:
    raise missing("dense retrieval", "dense", error) from error

from elasticranker.denser.transformer import ElasticDenser

__all__ = ["ElasticDenser"]
