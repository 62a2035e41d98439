"""How a checkpoint came to be, for whoever reads it later."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from elasticranker.training.origin import versions
from elasticranker.training.settings import TrainingSettings
from elasticranker.training.trainer.loop import Progress


def provenance(settings: TrainingSettings, progress: Progress, **more: Any) -> dict[str, Any]:
    """What is kept with a checkpoint: `more`, the settings, how far the run went, the date and the packages.

    Args:
        settings: of the run.
        progress: where it ended.
        more: backbone, teacher, data and whatever else a stage wants to tell.
    """
    given = {name: value for name, value in asdict(settings).items() if value not in ((), {})}
    done = {"steps": progress.step, "pairs": progress.pairs, "seconds": round(progress.seconds)}
    today = datetime.date.today().isoformat()
    return more | {"training": given, "done": done, "date": today, "versions": versions()}


def gone_on_from(earlier: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint's provenance tells of its own run: kept as `before` of a run that goes on from it."""
    told = ("training", "done", "date", "versions", "before")
    return {name: earlier[name] for name in told if name in earlier}
