"""Elastify: any cross-encoder made elastic by teaching it itself, from a model and documents to a tuned checkpoint.

`elastify` goes through the phases; `candidates` gathers queries and what a first stage finds for them, `start` gives
the model untrained exits, `forecast` says how long it will take, `finishing` tunes and calibrates, and `moving` says
how far the full model went from what it was.
"""

from elasticranker.training.elastifying.phases import elastify

__all__ = ["elastify"]
