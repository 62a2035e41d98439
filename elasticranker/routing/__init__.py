"""E-LANG: which queries are worth the accurate reranker, told from the light one's scores."""

from elasticranker.routing.router import EnergyRouter, query_energies

__all__ = ["EnergyRouter", "query_energies"]
