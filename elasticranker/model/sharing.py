"""Checkpoints of one backbone that ship together may have token embeddings in common, which are stored once.

They are a third of a small encoder. A checkpoint that another one lends them to names it in `elastic.json`, with a
digest of what it takes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elasticranker.files import sha256, sha256_file, write_tensors
from elasticranker.model.hub import MANIFEST, resolve
from elasticranker.model.manifest import WEIGHTS, read_manifest, write_manifest

TOKENS = "embeddings.token"


def share_tokens(folder: str | Path, source: str) -> None:
    """Take the token embeddings out of a checkpoint on disk, to be lent by another one from now on.

    Choose it for a checkpoint that is only ever found beside the other: anybody else should get a whole one, which
    `save_pretrained` and `tune` write.

    Args:
        folder: of the checkpoint.
        source: what lends them: `"default"`, or a folder that stays where it is.

    Raises:
        ValueError: its token embeddings are others.

    Example:
        >>> share_tokens("checkpoints/dense", "default")  # doctest: +SKIP
    """
    from safetensors.torch import load_file

    folder, manifest = Path(folder), read_manifest(folder)
    tensors = load_file(folder / WEIGHTS)
    own, theirs = tensors.pop(TOKENS), tokens_of(source)
    if own.dtype != theirs.dtype or not torch.equal(own, theirs):
        raise ValueError(
            f"source={source!r} has other token embeddings than {folder}: train with its own (--tokens {source})"
        )
    manifest["tokens"] = {"of": source, "sha256": _digest(own)}
    _replace(folder, manifest, tensors)


def own_tokens(folder: str | Path) -> None:
    """Give a checkpoint on disk the token embeddings that it is lent; nothing happens to one that has its own.

    Raises:
        ValueError: what lends them isn't what it was.
    """
    from safetensors.torch import load_file

    folder, manifest = Path(folder), read_manifest(folder)
    lent = manifest.pop("tokens", None)
    if lent:
        _replace(folder, manifest, load_file(folder / WEIGHTS) | lent_tokens(lent))


def lent_tokens(lent: dict[str, Any]) -> dict[str, Tensor]:
    """The token embeddings that a checkpoint is lent, by their name.

    Args:
        lent: what its manifest says of them.

    Raises:
        ValueError: what lends them isn't what it was.
    """
    tokens = tokens_of(lent["of"])
    if _digest(tokens) != lent["sha256"]:
        raise ValueError(
            f"the token embeddings of {lent['of']!r} aren't those that this checkpoint was stored without: get the "
            "version of elasticranker that it came with"
        )
    return {TOKENS: tokens}


def tokens_of(source: str | Path) -> Tensor:
    """The token embeddings `[vocabulary, H]` of an elastic checkpoint as they are stored: its own, or what it is lent.

    Args:
        source: `"default"`, a folder, or an id on the Hugging Face hub.

    Raises:
        ValueError: what lends them isn't what it was.

    Example:
        >>> tokens_of("default").shape
        torch.Size([30522, 384])
    """
    from safetensors import safe_open

    folder = Path(resolve(source))
    lent = read_manifest(folder).get("tokens")
    if lent:
        return lent_tokens(lent)[TOKENS]
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        tokens: Tensor = file.get_tensor(TOKENS)
    return tokens


def _digest(tensor: Tensor) -> str:
    return sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes())


def _replace(folder: Path, manifest: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write weights and manifest; in between, the folder doesn't look like a checkpoint."""
    (folder / MANIFEST).unlink()
    write_tensors(folder / WEIGHTS, tensors)
    manifest["files"][WEIGHTS] = sha256_file(folder / WEIGHTS)
    write_manifest(folder, manifest)
