"""What a run was made with: versions, and names of places that mean something on another machine."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

from elasticranker.version import __version__

PACKAGES = ("torch", "transformers", "accelerate", "safetensors", "numpy")


def versions() -> dict[str, str]:
    """Versions of this package and of those that training runs on."""
    return {"elasticranker": __version__} | {name: metadata.version(name) for name in PACKAGES}


def place_name(source: str | Path) -> str:
    """A name for an id or a path: the id, or the last part of a path, which means nothing on another machine."""
    return Path(source).resolve().name if Path(source).exists() else str(source)
