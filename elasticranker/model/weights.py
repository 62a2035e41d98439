"""Weights are the checkpoint's, or there are none: what a file lacks is refused by name, never made up."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from elasticranker.files import read_json

SHOWN = 4  # names of tensors in a message


def refuse_other_weights(
    place: str | Path,
    *,
    missing: Collection[str],
    unexpected: Collection[str] = (),
    mismatched: Mapping[str, str] | None = None,
    remedy: str,
) -> None:
    """Refuse weights that aren't those of the model that a checkpoint's configuration describes.

    Without this, what is missing would keep its random start, and two loads would rank differently.

    Args:
        place: the checkpoint, for the message.
        missing: names of tensors that the model reads and the checkpoint lacks.
        unexpected: names of tensors that the checkpoint has and the model has no place for.
        mismatched: by name, tensors of another shape and what is wrong with it.
        remedy: what to do.

    Raises:
        ValueError: there are some of any kind; they are named.

    Example:
        >>> refuse_other_weights("model", missing=["classifier.weight"], remedy="get it again")
        Traceback (most recent call last):
        ValueError: the weights in model aren't those of its model: they lack classifier.weight; get it again
    """
    wrong = []
    if missing:
        wrong.append(f"they lack {_listed(missing)}")
    if mismatched:
        wrong.append("of another shape are " + _listed([f"{name} ({how})" for name, how in mismatched.items()]))
    if unexpected:
        wrong.append(f"the model has no place for {_listed(unexpected)}")
    if wrong:
        raise ValueError(f"the weights in {place} aren't those of its model: {'; '.join(wrong)}; {remedy}")


def tensor_names(folder: str | Path) -> frozenset[str]:
    """Names of the tensors in a Hugging Face folder, without loading them where its form allows that."""
    folder = Path(folder)
    for index in (folder / "model.safetensors.index.json", folder / "pytorch_model.bin.index.json"):
        if index.exists():
            return frozenset(read_json(index)["weight_map"])
    if (folder / "model.safetensors").exists():
        from safetensors import safe_open

        with safe_open(folder / "model.safetensors", framework="pt") as file:
            return frozenset(file.keys())
    if (folder / "pytorch_model.bin").exists():
        return frozenset(torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True))
    return frozenset()


def as_stored(tensors: Mapping[str, Tensor], dtype: str | None = None) -> dict[str, Tensor]:
    """An encoder's tensors as they go to disk.

    Args:
        tensors: its state.
        dtype: `float32`, `bfloat16` or `float16`, to which they are rounded. By default nothing is rounded: they get
            the smallest that holds all embeddings and layers as they are, which is the one that they were stored in
            before they were loaded; an exit that it doesn't hold (an untrained one) stays as it is.

    Raises:
        ValueError: another `dtype`.
    """
    known = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
    if dtype is not None:
        if dtype not in known:
            raise ValueError(f"dtype={dtype!r}: weights are stored as {', '.join(known)}")
        return {name: tensor.to(known[dtype]) for name, tensor in tensors.items()}
    body = [tensor for name, tensor in tensors.items() if not name.startswith("exits.")]
    smallest = next(kind for kind in known.values() if all(_holds(kind, tensor) for tensor in body))
    return {name: tensor.to(smallest) if _holds(smallest, tensor) else tensor for name, tensor in tensors.items()}


def _holds(dtype: torch.dtype, tensor: Tensor) -> bool:
    return dtype == torch.float32 or torch.equal(tensor.to(dtype).to(tensor.dtype), tensor)


def _listed(names: Collection[str]) -> str:
    """The first few names, and how many more."""
    shown = sorted(names)[:SHOWN]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
