"""How a checkpoint came to be, for whoever reads it later."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from elasticranker.training.origin import place_name, versions
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


def provenance_after(
    earlier: Mapping[str, Any],
    settings: TrainingSettings,
    progress: Progress,
    *,
    backbone: str,
    sources: Mapping[str, int],
    **more: Any,
) -> dict[str, Any]:
    """`provenance` of a run whose weights come from a checkpoint: with its backbone, its data and its own run.

    Args:
        earlier: that checkpoint's provenance; empty where the run began with the backbone itself.
        settings: as `provenance` takes them.
        progress: likewise.
        backbone: what the run was given.
        sources: its own data: queries by source.
        more: as `provenance` takes it.
    """
    data = {**earlier.get("sources", {}), **sources}
    name = earlier.get("backbone", place_name(backbone))
    told = provenance(settings, progress, backbone=name, sources=data, **more)
    before = _gone_on_from(earlier)
    return told | {"before": before} if before else told


def _gone_on_from(earlier: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint's provenance tells of its own run: kept as `before` of a run that goes on from it."""
    told = ("training", "done", "date", "versions", "before")
    return {name: earlier[name] for name in told if name in earlier}
