"""An exit of an elastic classifier as a black box of `JointInference`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from elasticranker.planning.subnet import SubNet
from elasticranker.routing.outputs import Outputs

if TYPE_CHECKING:
    from pathlib import Path

    from elasticranker.model.checkpoint import Checkpoint
    from elasticranker.model.classifier import ElasticClassifier


class Exit:
    """One sub-network of an elastic classifier: a callable from texts, or pairs of texts, to `Outputs`.

    `exit_of` makes it. `flops` is its price list, for `JointInference.calibrate(..., swift_cost=exit.flops)`.
    """

    def __init__(self, classifier: ElasticClassifier, subnet: SubNet) -> None:
        classifier.check(subnet)
        self.classifier, self.subnet = classifier, subnet

    def __call__(self, inputs: list[Any]) -> Outputs:
        """Class numbers and logits."""
        logits = self.classifier.logits(inputs, self.subnet)
        return Outputs(logits.argmax(-1).tolist(), logits)

    def flops(self, inputs: Sequence[Any]) -> list[int]:
        """Floating point operations of each input's answer, exactly as PyTorch's counter sees them."""
        return self.classifier.flops(inputs, self.subnet)

    def __repr__(self) -> str:
        return f"exit_of(..., {self.subnet.depth}, {self.subnet.width:g})"


def exit_of(classifier: ElasticClassifier | Checkpoint | str | Path, depth: int, width: float = 1.0) -> Exit:
    """A sub-network of an elastic classifier as a model for `JointInference`.

    Swift and Super may be two exits of one classifier: give both the same object, so that it is loaded once. Super
    still starts from the text, as a black box does.

    Args:
        classifier: an `ElasticClassifier`, or a checkpoint or its folder to make one of.
        depth: layers of the exit.
        width: share of each layer's heads and neurons, one that it was trained at.

    Raises:
        ValueError: it is a reranker or a regression, or it has no such exit or width.

    Example:
        >>> elastic = ElasticClassifier("run/checkpoint")  # doctest: +SKIP
        >>> joint = JointInference(exit_of(elastic, 3), exit_of(elastic, 12), super_share=0.2)  # doctest: +SKIP
    """
    from elasticranker.model.classifier import ElasticClassifier

    made = classifier if isinstance(classifier, ElasticClassifier) else ElasticClassifier(classifier)
    if made.labels < 2:
        raise ValueError(
            "this classifier is a regression: one number has no energy that would say how sure it is; use a classifier "
            "of two or more classes"
        )
    return Exit(made, SubNet(depth, width))
