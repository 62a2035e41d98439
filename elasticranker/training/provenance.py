"""How a checkpoint came to be, for whoever reads it later."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import elasticranker
from elasticranker.training.settings import TrainingSettings

if TYPE_CHECKING:
    from elasticranker.training.loop import Progress

PACKAGES = ("torch", "transformers", "accelerate", "safetensors", "numpy")


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


def versions() -> dict[str, str]:
    """Versions of this package and of those that training runs on."""
    return {"elasticranker": elasticranker.__version__} | {name: metadata.version(name) for name in PACKAGES}


def place_name(source: str | Path) -> str:
    """A name for an id or a path: the id, or the last part of a path, which means nothing on another machine."""
    return Path(source).resolve().name if Path(source).exists() else str(source)
