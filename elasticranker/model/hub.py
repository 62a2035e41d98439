"""From what a model is named by to a folder: a shipped checkpoint, a folder, or a snapshot of the Hugging Face hub.

Everything else reads folders, so that an id, a folder and a shipped checkpoint are loaded, checked and identified
alike. Cache, token and off-line mode are huggingface_hub's own (`HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`).
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

MANIFEST = "elastic.json"
CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"
SHIPPED = {"default": CHECKPOINTS / "default", "default-dense": CHECKPOINTS / "dense"}  # ranker's and denser's
SETTINGS = [  # all small: what says how a checkpoint is to be read
    MANIFEST,
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "modules.json",
    "*_Pooling/config.json",
    "*_Dense/config.json",
    "*_LayerNorm/config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "adapter_config.json",
]
WEIGHTS = [  # the first form that is there, of the model and of a head in modules
    [
        "model.safetensors",
        "model.safetensors.index.json",
        "model-*.safetensors",
        "*_Dense/model.safetensors",
        "*_LayerNorm/model.safetensors",
    ],
    [
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "pytorch_model-*.bin",
        "*_Dense/pytorch_model.bin",
        "*_LayerNorm/pytorch_model.bin",
    ],
]


def is_at_hand(source: str | Path) -> bool:
    """Is it a shipped checkpoint or a folder, so that reading it asks no network?"""
    return str(source) in SHIPPED or Path(source).is_dir()


def check_name(source: str | Path, revision: str | None = None) -> None:
    """Refuse a name that can't be a model's. Asks no network.

    Raises:
        ValueError: a folder that isn't there, a name that no repository can have, or a revision of a folder.
    """
    text = str(source)
    local = is_at_hand(text)
    if text in SHIPPED and not (SHIPPED[text] / MANIFEST).exists():
        raise ValueError(
            f"model={text!r}: this installation carries no checkpoint in {SHIPPED[text]}; name another model"
        )
    if local and revision is not None:
        raise ValueError(f"revision={revision!r}: {text!r} is a folder, only a model of the hub has revisions")
    if local:
        return
    if Path(text).exists():
        raise ValueError(f"model={text!r}: this is a file; name the folder that the model is in")
    if text.startswith((".", "/", "~")) or text.count("/") > 1:
        raise ValueError(f"model={text!r}: there is no such folder")
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    try:
        validate_repo_id(text)
    except HFValidationError as error:
        raise ValueError(f"model={text!r}: there is no such folder, and no id of the hub reads so ({error})") from error


def resolve(source: str | Path, revision: str | None = None) -> str:
    """The folder of a model: of an id on the hub, the snapshot, fetched as far as it isn't in the cache.

    Args:
        source: `"default"` or `"default-dense"`, a folder, or an id on the Hugging Face hub.
        revision: branch, tag or commit of an id; by default its main branch.

    Returns:
        A folder. An id is resolved once a process, so that all that is read of it is of one commit.

    Raises:
        ValueError: there is no such model, or it can't be fetched.

    Example:
        >>> resolve("owner/reranker", "v1.0")  # doctest: +SKIP
    """
    check_name(source, revision)
    if str(source) in SHIPPED:
        return str(SHIPPED[str(source)])
    return str(source) if Path(source).is_dir() else _snapshot(str(source), revision)


@cache
def _snapshot(name: str, revision: str | None) -> str:
    """The snapshot folder of an id with what we read of it: settings first, they tell which weights."""
    from huggingface_hub import snapshot_download

    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=SETTINGS))
        for patterns in [_named(folder / MANIFEST)] if (folder / MANIFEST).exists() else WEIGHTS:
            snapshot_download(name, revision=folder.name, allow_patterns=patterns)  # of the same commit
            if any((folder / pattern).exists() for pattern in patterns[:2]):
                break
    except OSError as error:
        raise ValueError(_reason(name, revision, error)) from error
    return str(folder)


def _named(manifest: Path) -> list[str]:
    """The files that an elastic checkpoint names; whoever loads it says what is wrong with a damaged manifest."""
    try:
        return list(json.loads(manifest.read_text(encoding="utf-8"))["files"])
    except (ValueError, KeyError, TypeError):
        return [WEIGHTS[0][0]]


def _reason(name: str, revision: str | None, error: OSError) -> str:
    """What went wrong with the hub, and what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, RevisionNotFoundError):
        return f"revision={revision!r}: {name!r} has no such branch, tag or commit on the Hugging Face hub"
    if isinstance(error, GatedRepoError):
        return (
            f"model={name!r}: its owners ask for agreement first: give it on the hub, and log in with `hf auth login` "
            "or set HF_TOKEN"
        )
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"model={name!r}: neither a folder here nor a model on the Hugging Face hub (or a private one): check the "
            "name; for a private one log in with `hf auth login` or set HF_TOKEN"
        )
    if isinstance(error, LocalEntryNotFoundError):
        at = "" if revision is None else f" at revision {revision!r}"
        return (
            f"model={name!r}: neither a folder here nor whole in the Hugging Face cache{at}, and the hub can't be "
            f"asked ({error.__cause__ or error}): fetch it once with a connection and without HF_HUB_OFFLINE "
            f"(`hf download {name}`), or name a folder"
        )
    return f"model={name!r}: the Hugging Face hub didn't give it ({error}); try again, or name a folder"
