"""One scale for the scores of all sub-networks: a line each, from raw scores to log-odds of relevance (Platt 1999).

Raw scores of different exits cannot be compared: one pair may get 12 after seven layers and 20 after eleven. Lines put
them on log-odds, and from there, backwards along the whole model's own line, on the scale of the whole model's logits.
So a score means the same whichever sub-network it comes from, and the whole model's scores stay its logits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elasticranker.planning.subnet import SubNet

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """`slope * score + intercept`: the log-odds of relevance that a raw score stands for. It always rises."""

    slope: float = 1.0
    intercept: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.slope < math.inf or not math.isfinite(self.intercept):
            raise ValueError(f"{self}: a calibration's slope must be above 0, and both its numbers finite")


@dataclass(frozen=True)
class Calibration:
    """What the scores of a checkpoint's sub-networks mean.

    Without lines, every raw score is taken for log-odds: right for the logit of an ordinary cross-encoder, a guess for
    exits that nobody calibrated.

    Attributes:
        lines: one for each sub-network of the checkpoint, or none at all; also for some that read a document's first
            tokens alone, which otherwise share the line of those that read it all.
        unread: log-odds of relevance of a candidate that nothing scored.

    Example:
        >>> calibration = Calibration({SubNet(1): Line(0.5, -3.0), SubNet(12): Line(2.0, -5.0)})
        >>> calibration.scores(SubNet(1), np.array([4.0, 6.0])).tolist()  # log-odds -1 and 0
        [2.0, 2.5]
        >>> calibration.relevance([2.5]).tolist()
        [0.5]
    """

    lines: Mapping[SubNet, Line] = field(default_factory=dict)
    unread: float = 0.0

    @property
    def _whole(self) -> Line:
        """The line of the whole model, the greatest of the sub-networks."""
        return self.lines[max(self.lines)] if self.lines else Line()

    def _line(self, subnet: SubNet) -> Line:
        """A sub-network's line; of one that reads the whole document, where the cut one has none of its own."""
        if not self.lines:
            return Line()
        return self.lines[subnet if subnet in self.lines else replace(subnet, tokens=None)]

    def scores(self, subnet: SubNet, raw: Floats) -> Floats:
        """`[n]` raw scores of a sub-network on the scale of the whole model's logits; those of the whole model itself
        come back unchanged.
        """
        line = self._line(subnet)
        return raw if line == self._whole else self._logits(line.slope * raw + line.intercept)

    def unread_scores(self, count: int) -> Floats:
        """`[count]` equal scores, for candidates that nothing scored."""
        return self._logits(np.full(count, self.unread))

    def relevance(self, scores: Iterable[float]) -> Floats:
        """`[n]` probabilities of relevance, from 0 to 1, that scores on the scale of the whole model's logits mean."""
        from scipy.special import expit

        odds = self._whole.slope * np.asarray(scores, dtype=np.float64) + self._whole.intercept
        return np.asarray(expit(odds))

    def _logits(self, odds: Floats) -> Floats:
        """Log-odds as the logits of the whole model that would stand for them."""
        return (odds - self._whole.intercept) / self._whole.slope

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers, for `elastic.json`."""
        exits = [
            subnet.to_json() | {"slope": line.slope, "intercept": line.intercept}
            for subnet, line in sorted(self.lines.items())
        ]
        return {"unread": self.unread, "exits": exits}

    @classmethod
    def from_json(cls, found: dict[str, Any], subnets: Iterable[SubNet]) -> Calibration:
        """What `to_json` wrote.

        Args:
            found: the value.
            subnets: what the checkpoint holds: each needs its line.

        Raises:
            ValueError: not of that form, or the line of a sub-network is missing.
        """
        try:
            lines = {
                SubNet.from_json(exit): Line(float(exit["slope"]), float(exit["intercept"])) for exit in found["exits"]
            }
            unread = float(found["unread"])
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"the calibration in elastic.json is malformed ({type(error).__name__}: {error})"
            ) from error
        if missing := sorted(set(subnets) - set(lines)):
            raise ValueError(
                f"the calibration in elastic.json lacks sub-networks ({', '.join(map(str, missing))}): make it again "
                "with `elasticranker calibrate`"
            )
        return cls(lines, unread)
