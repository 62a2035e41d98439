"""The modular form in which sentence-transformers saves cross-encoders: an encoder, and a head in folders beside it.

`modules.json` names them: `Transformer`, `Pooling` (the first or the mean of the states), `Dense` (hidden to hidden),
`LayerNorm`, `Dense` (hidden to logits), the two in the middle or the norm left out. Ettin's rerankers are of this form.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elasticranker.files import read_json
from elasticranker.model.hub import resolve
from elasticranker.model.readout import ClsReadout
from elasticranker.model.weights import refuse_other_weights

ACTIVATIONS = {  # of PyTorch, by the names that are saved
    "torch.nn.modules.activation.GELU": "gelu",
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.ReLU": "relu",
}
IDENTITY = "torch.nn.modules.linear.Identity"
EPSILON = 1e-5  # of a LayerNorm module, which saves none
FORMS = (["Pooling", "Dense"], ["Pooling", "Dense", "Dense"], ["Pooling", "Dense", "LayerNorm", "Dense"])
_POOLING = {  # what versions 3 to 5 write for `pooling_mode`
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def modules_of(source: str | Path) -> list[Path]:
    """The folders of a cross-encoder's head, in order; none where its head is the Hugging Face model's.

    Args:
        source: a folder or an id on the hub.
    """
    return [folder for folder, _ in _modules(Path(resolve(source)))]


def _modules(folder: Path) -> list[tuple[Path, str]]:
    """Folder and kind of each module behind the encoder."""
    named, about = folder / "modules.json", folder / "config_sentence_transformers.json"
    if not named.exists() or not about.exists() or read_json(about).get("model_type") != "CrossEncoder":
        return []
    return [(folder / module["path"], str(module["type"]).rpartition(".")[2]) for module in read_json(named)[1:]]


def read_modular_head(source: str | Path, hidden: int) -> ClsReadout:
    """The head of a cross-encoder that is saved in modules.

    Args:
        source: a folder or an id on the hub.
        hidden: hidden size of its encoder.

    Raises:
        ValueError: modules or options that aren't done here, or weights that aren't whole; they are named.
    """
    modules = _modules(Path(resolve(source)))
    kinds = [kind for _, kind in modules]
    if kinds not in FORMS:
        known = ", or ".join(", ".join(form) for form in FORMS)
        raise ValueError(
            f"{source} was saved by sentence-transformers with the modules {', '.join(kinds)} behind its encoder; "
            f"known here are {known}: use a checkpoint of such a form"
        )
    lacking = [folder.name for folder, _ in modules if not (folder / "config.json").exists()]
    if lacking:
        raise ValueError(f"{source} lacks config.json of its modules {', '.join(lacking)}: get the checkpoint again")
    configs = [read_json(folder / "config.json") for folder, _ in modules]
    tensors = [_tensors(folder) if kind != "Pooling" else {} for folder, kind in modules]
    last, middle = configs[-1], configs[1:-1]
    _check_sizes(source, configs, kinds, hidden)
    readout = ClsReadout(
        hidden,
        last["out_features"],
        ACTIVATIONS.get(_activation(middle[0])) if middle else None,
        norm=EPSILON if "LayerNorm" in kinds else None,
        bias=bool(middle) and (middle[0].get("bias", True) or "LayerNorm" in kinds),
        mean=_pooling(configs[0]) == "mean",
    )
    wanted: dict[Path, dict[str, Any]] = {modules[-1][0]: {"linear.weight": readout.head}}
    if last.get("bias", True):
        wanted[modules[-1][0]]["linear.bias"] = readout.head_bias
    if middle:
        wanted[modules[1][0]] = {"linear.weight": readout.dense}
        if middle[0].get("bias", True):
            wanted[modules[1][0]]["linear.bias"] = readout.dense_bias
    if "LayerNorm" in kinds:
        wanted[modules[2][0]] = {"norm.weight": readout.norm, "norm.bias": readout.norm_bias}
    for (folder, _), found in zip(modules, tensors, strict=True):
        _fill(folder, wanted.get(folder, {}), found)
    return readout


def _check_sizes(source: str | Path, configs: list[dict[str, Any]], kinds: list[str], hidden: int) -> None:
    """Refuse options of the modules that would change scores and aren't done here."""
    unknown = []
    pooling = _pooling(configs[0])
    if pooling not in ("cls", "mean"):
        unknown.append(f"pooling_mode={pooling!r}")
    if configs[0].get("include_prompt", True) is not True:
        unknown.append("include_prompt=false")
    dense = [config for config, kind in zip(configs, kinds, strict=True) if kind == "Dense"]
    for config in dense:
        end = config is dense[-1]
        known = {IDENTITY} if end else set(ACTIVATIONS)
        if _activation(config) not in known:
            unknown.append(f"activation_function={_activation(config)!r}")
        if config.get("use_residual"):
            unknown.append("use_residual=true")
        sizes = config["in_features"], config["out_features"]
        if sizes[0] != hidden or (sizes[1] not in (1, 2) if end else sizes[1] != hidden):
            unknown.append(f"a Dense of {sizes[0]} to {sizes[1]} features")
    if unknown:
        raise ValueError(
            f"{source} was saved by sentence-transformers with {', '.join(unknown)}, which isn't done here: its scores "
            "would be others; use a checkpoint without"
        )


def _pooling(config: dict[str, Any]) -> str:
    """How the states are pooled; several ways at once joined by a plus."""
    given = config.get("pooling_mode") or [mode for name, mode in _POOLING.items() if config.get(name)] or "mean"
    return given if isinstance(given, str) else "+".join(given)


def _activation(config: dict[str, Any]) -> str:
    return str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))


def _tensors(folder: Path) -> dict[str, Tensor]:
    if (folder / "model.safetensors").exists():
        from safetensors.torch import load_file

        return load_file(folder / "model.safetensors")
    if (folder / "pytorch_model.bin").exists():
        return dict(torch.load(folder / "pytorch_model.bin", map_location="cpu", weights_only=True))
    return {}


@torch.no_grad()
def _fill(folder: Path, wanted: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    """Copy a module's tensors, of which none may lack or be left over."""
    refuse_other_weights(
        folder,
        missing=wanted.keys() - found.keys(),
        unexpected=found.keys() - wanted.keys(),
        mismatched={
            name: f"{tuple(found[name].shape)} in the file, {tuple(ours.shape)} by config.json"
            for name, ours in wanted.items()
            if name in found and found[name].shape != ours.shape
        },
        remedy="get the checkpoint again",
    )
    for name, ours in wanted.items():
        ours.copy_(found[name])
