"""A calibration with what a checkpoint keeps of how it was fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from elasticranker.planning.calibration import Calibration
from elasticranker.planning.plan import SubNet
from elasticranker.training.tuning.calibrating import Reliability, calibrate, reliability
from elasticranker.training.tuning.tables import Table


class Fitted(NamedTuple):
    """A calibration, how far it can be trusted, and on what it was fitted.

    `about` is what `set_calibration` keeps of that, beside `collection` and `queries`.
    """

    calibration: Calibration
    errors: dict[SubNet, Reliability]
    about: dict[str, Any]


def fit_calibration(tables: Sequence[Table], others: Sequence[Table], *, level: float) -> Fitted:
    """Fit a calibration, and say on what.

    Args:
        tables: of judged queries and a first stage's candidates.
        others: of the same queries and candidates of others.
        level: lowest gain that counts as relevant.
    """
    calibration, errors = calibrate(tables, others, level=level), reliability(tables, others, level=level)
    strangers = sum(len(table.labels) for table in others)
    about = {
        "pairs": strangers + sum(len(table.labels) for table in tables),
        "strangers": strangers,
        "level": level,
        "errors": [
            {"exit": str(subnet)}
            | {name: None if math.isnan(value) else round(value, 4) for name, value in vars(error).items()}
            for subnet, error in errors.items()
        ],
    }
    return Fitted(calibration, errors, about)
