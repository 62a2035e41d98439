"""How a checkpoint wants to be read: its tokenizer, its limit and its prompt are honoured, anything else is refused.

sentence-transformers keeps such settings beside the model: versions 3 to 5 in the tokenizer's `model_max_length`,
version 6 in `modules.json`, `sentence_bert_config.json` and `config_sentence_transformers.json` as well. They are read
as its `CrossEncoder` reads them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elasticranker.model.hub import resolve

VOCABULARIES = [("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"), ("sentencepiece.bpe.model",)]
UNLIMITED = 1_000_000  # transformers writes a huge `model_max_length` where there is none
# Of a tokenizer: how it was read this time, which its files would tell, and a fingerprint with them, were it saved.
THIS_TIME = ("is_local", "local_files_only")
# Of the module `Transformer`: what changes no score of a pair of texts.
HARMLESS = {"modality_config", "module_output_name", "unpad_inputs", "query_length", "document_length"}


@dataclass(frozen=True)
class SavedSettings:
    """What a checkpoint says of its texts.

    Attributes:
        max_length: most tokens of a pair (of a text, for a bi-encoder); None where it names no limit.
        prompt: put before every query.
        prompts: all that it knows, by name; only a default one is put before queries by itself.
        pooling: how a bi-encoder makes a vector of a text's states: "mean" (also where it doesn't say) or another.
    """

    max_length: int | None = None
    prompt: str = ""
    prompts: dict[str, str] | None = None
    pooling: str = "mean"


def read_tokenizer(source: str | Path, vocabulary: int | None = None) -> Any:
    """The tokenizer of a checkpoint.

    Args:
        source: a folder or an id on the hub.
        vocabulary: tokens that the model has embeddings for.

    Raises:
        ValueError: its files aren't there (transformers would make one that knows no word), or aren't the model's.
    """
    from transformers import AutoTokenizer

    folder = Path(resolve(source))
    if not any(all((folder / name).exists() for name in names) for names in VOCABULARIES):
        files = ", ".join(" with ".join(names) for names in VOCABULARIES)
        raise ValueError(f"{source} has no tokenizer (one of {files}): put the files of its tokenizer beside the model")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except OSError as error:
        raise ValueError(f"the tokenizer in {source} can't be read: {error}") from error
    for name in THIS_TIME:
        tokenizer.init_kwargs.pop(name, None)
    if vocabulary is not None and len(tokenizer) > vocabulary:
        raise ValueError(
            f"the tokenizer in {source} makes {len(tokenizer)} different tokens, the model knows {vocabulary}: they "
            "aren't of one checkpoint"
        )
    return tokenizer


def limit_of(tokenizer: Any) -> int | None:
    """Most tokens that a tokenizer says its model takes; None where it doesn't say."""
    limit = tokenizer.model_max_length
    return int(limit) if limit is not None and limit < UNLIMITED else None


def read_settings(source: str | Path, tokenizer: Any, *, kind: str = "CrossEncoder") -> SavedSettings:
    """What a checkpoint says of its texts.

    Args:
        source: a folder or an id on the hub.
        tokenizer: its own.
        kind: as what it is loaded, in sentence-transformers' words: `CrossEncoder` or `SentenceTransformer`. What was
            saved as another kind isn't meant for this use, and is left aside as there.

    Raises:
        ValueError: it wants something that isn't done here; it is named.
    """
    folder = Path(resolve(source))
    max_length = limit_of(tokenizer)
    saved = _json(folder / "config_sentence_transformers.json", {})
    modules = _json(folder / "modules.json", [])
    if not modules or saved.get("model_type", "SentenceTransformer") != kind:
        return SavedSettings(max_length)
    first, *others = modules
    options = _json(folder / "sentence_bert_config.json", {})
    if tokenizer.tokenize("A") == tokenizer.tokenize("a"):
        options.pop("do_lower_case", None)  # it does so anyway
    _refuse_unknown(source, first, bool(others) and kind == "CrossEncoder", options, kind)
    prompts = {name: text or "" for name, text in (saved.get("prompts") or {}).items()}
    name = saved.get("default_prompt_name")
    if name is not None and name not in prompts:
        raise ValueError(f"{source} puts the prompt {name!r} before queries, but its prompts are {sorted(prompts)}")
    return SavedSettings(
        options.get("max_seq_length") or max_length,
        "" if name is None else prompts[name],
        prompts,
        _pooling(folder, others) if kind == "SentenceTransformer" else "",
    )


def prefixes_of(source: str | Path, saved: SavedSettings) -> tuple[str, str]:
    """What a bi-encoder wants before queries and documents: as it was saved, or what E5 wants."""
    prompts = saved.prompts or {}
    e5 = "e5" in Path(source).resolve().name.lower() and not any(prompts.values())
    documents = [prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name)]
    own = prompts.get("query") or saved.prompt, documents[0] if documents else saved.prompt
    return ("query: ", "passage: ") if e5 else own


def _refuse_unknown(source: str | Path, first: Any, modular: bool, options: dict[str, Any], kind: str) -> None:
    """Refuse options of sentence-transformers that would change scores and aren't done here.

    A cross-encoder's head of modules is checked by `elasticranker.model.modular`, which reads it.
    """
    task = "sequence-classification" if kind == "CrossEncoder" and not modular else "feature-extraction"
    unknown = []
    if not str(first.get("type")).endswith(".Transformer") or first.get("path"):
        unknown.append(f"the module {first.get('type')} in {first.get('path') or 'its folder'}")
    for name, value in options.items():
        known = name in HARMLESS or name == "max_seq_length" or (name == "transformer_task" and value == task)
        if value and not known:
            unknown.append(f"{name}={value!r}")
    if set(options.get("modality_config") or ["text"]) != {"text"}:
        unknown.append(f"modality_config={options['modality_config']!r}")
    if unknown:
        raise ValueError(
            f"{source} was saved by sentence-transformers with {', '.join(unknown)}, which isn't done here: its scores "
            "would be others; use a checkpoint without"
        )


def _pooling(folder: Path, modules: list[Any]) -> str:
    """How a bi-encoder pools; what it does after that, but for making the vector's length 1, is named as well."""
    kinds = [str(module.get("type")).rpartition(".")[2] for module in modules]
    names: list[str] = []
    for module, kind in zip(modules, kinds, strict=True):
        if kind == "Pooling":
            options = _json(folder / str(module.get("path")) / "config.json", {})
            modes = [name.removeprefix("pooling_mode_") for name in options if name.startswith("pooling_mode_")]
            given = options.get("pooling_mode") or [mode for mode in modes if options[f"pooling_mode_{mode}"]]
            names += [given] if isinstance(given, str) else given
    names = [name.removesuffix("_tokens").removesuffix("_token") for name in names]
    return "+".join([*(names or ["mean"]), *(kind for kind in kinds if kind not in ("Pooling", "Normalize"))])


def _json(path: Path, default: Any) -> Any:
    if not path.exists():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): the checkpoint is damaged, get it again") from error
