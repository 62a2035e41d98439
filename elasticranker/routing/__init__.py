"""E-LANG: which inputs are worth the accurate model, told from the light one's scores."""

from elasticranker.routing.adapters import classifier, generator
from elasticranker.routing.exits import exit_of
from elasticranker.routing.joint import JointInference, JointOutputs
from elasticranker.routing.outputs import Outputs, output_energy
from elasticranker.routing.router import EnergyRouter, query_energies

__all__ = [
    "EnergyRouter",
    "JointInference",
    "JointOutputs",
    "Outputs",
    "classifier",
    "exit_of",
    "generator",
    "output_energy",
    "query_energies",
]
