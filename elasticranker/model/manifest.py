"""`elastic.json`: what an elastic checkpoint holds, with a digest of itself."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from elasticranker.files import write_json
from elasticranker.model.hub import MANIFEST

FORMAT = 2  # 1 knew no split layout
READABLE = (1, 2)
WEIGHTS = "model.safetensors"


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """`elastic.json`, checked.

    Raises:
        ValueError: malformed, of another format, or changed by hand.
    """
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found, expected = manifest.get("format"), manifest.get("digest")
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}): the checkpoint is damaged, get it again") from error
    if found not in READABLE:
        raise ValueError(
            f"{path} is of format {found}; this version reads formats {', '.join(map(str, READABLE))}: update "
            "elasticranker, or train it again"
        )
    if expected != digest_of({key: value for key, value in manifest.items() if key != "digest"}):
        raise ValueError(f"{path} does not match its own digest: it was changed or damaged, get the checkpoint again")
    return dict(manifest)


def write_manifest(folder: str | Path, manifest: dict[str, Any]) -> None:
    """Write `elastic.json` with its own digest, whole or not at all."""
    manifest = {key: value for key, value in manifest.items() if key != "digest"}
    manifest["digest"] = digest_of(manifest)
    write_json(Path(folder) / MANIFEST, manifest)


def digest_of(value: dict[str, Any]) -> str:
    """A digest of what JSON makes of a value, in whatever order its entries are."""
    as_read = json.loads(json.dumps(value))  # keys that are numbers become texts, which sort otherwise
    return hashlib.sha256(json.dumps(as_read, sort_keys=True).encode()).hexdigest()
