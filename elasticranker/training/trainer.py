"""The training loop: one run that teaches every sub-network, in pieces that may be killed.

Needs torch, transformers, accelerate, safetensors and numpy, nothing else.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from elasticranker.model.encoder import Encoder
from elasticranker.model.huggingface import from_hugging_face
from elasticranker.model.importance import measure_importance, reorder
from elasticranker.pairs import PairEncoder
from elasticranker.training.batches import Sampler
from elasticranker.training.groups import Groups
from elasticranker.training.settings import TrainingSettings
from elasticranker.training.step import ElasticStep
from elasticranker.training.validation import validate


def working_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the processor multiplies in it, else float32."""
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() else torch.float32


@dataclass
class Progress:
    """Where a run stands; kept beside the weights."""

    step: int = 0
    best: float = float("-inf")
    seconds: float = 0.0


class ElasticTrainer:
    """Trains an elastic encoder from a backbone and prepared groups.

    Args:
        backbone: Hugging Face id or folder of an encoder or cross-encoder.
        data: a prepared folder (see `elasticranker.training.groups`).
        output: folder of the run: `state.pt` (to resume), `log.jsonl`, `best/` and `last/` weights.
        settings: what fixes the trajectory.
        resume: continue the run in `output`; without it a folder that holds one is refused.
        max_minutes: stop (resumably) after so long.
        validate_every: steps between validations on held-out queries.
        save_every: seconds between saved states.
        on_step: called with the step number after each, for tests that interrupt.
    """

    def __init__(
        self,
        backbone: str,
        data: str | Path,
        output: str | Path,
        settings: TrainingSettings | None = None,
        *,
        resume: bool = False,
        max_minutes: float | None = None,
        validate_every: int = 250,
        save_every: float = 300.0,
        on_step: Callable[[int], None] | None = None,
    ) -> None:
        from accelerate import Accelerator
        from transformers import AutoTokenizer

        self.settings = settings or TrainingSettings()
        self.output = Path(output)
        self.max_minutes, self.validate_every, self.save_every = max_minutes, validate_every, save_every
        self.on_step = on_step
        self.accelerator = Accelerator()
        self.device = self.accelerator.device
        self.progress = Progress()
        self._check_output(resume)
        self.tokenizer = AutoTokenizer.from_pretrained(backbone)
        self.pairs = PairEncoder(
            self.tokenizer,
            max_length=self.settings.max_length,
            max_query_length=self.settings.max_query_length,
        )
        encoder, self.config = from_hugging_face(backbone, keep_head=False)
        self.encoder: Encoder = encoder.to(self.device).train()
        if self.settings.freeze_tokens:
            self.encoder.embeddings.token.requires_grad_(False)
        self.sampler = Sampler(
            Groups.load(data),
            self.pairs,
            groups_per_step=self.settings.groups_per_step,
            group_size=self.settings.group_size,
            narrow_share=self.settings.narrow_share if len(self.settings.widths) > 1 else 0.0,
            source_weights=self.settings.source_weights or None,
            seed=self.settings.seed,
            rank=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
            batch_pairs=512 if self.device.type == "cuda" else 64,
        )
        self.module = ElasticStep(self.encoder, self.settings)
        self.module.dtype = working_dtype(self.device)
        self.module.to(self.device)
        self.average = {name: value.detach().clone() for name, value in self._trained()}
        self.optimiser = torch.optim.AdamW(self._parameter_groups(), lr=1.0, betas=(0.9, 0.98), fused=True)
        self.resumed = resume and self._load()

    def _trained(self) -> list[tuple[str, torch.nn.Parameter]]:
        return [(name, value) for name, value in self.encoder.named_parameters() if value.requires_grad]

    def _parameter_groups(self) -> list[dict[str, Any]]:
        settings = self.settings
        matrices: list[torch.nn.Parameter] = []
        vectors: list[torch.nn.Parameter] = []
        readouts: list[torch.nn.Parameter] = []
        for name, parameter in self._trained():
            if name.startswith("exits."):
                readouts.append(parameter)
            else:
                (matrices if parameter.dim() > 1 and "bias" not in name else vectors).append(parameter)
        rate = settings.learning_rate
        return [
            {"params": matrices, "weight_decay": settings.weight_decay, "peak": rate},
            {"params": vectors, "weight_decay": 0.0, "peak": rate},
            {"params": readouts, "weight_decay": 0.0, "peak": rate * settings.readout_rate},
        ]

    def train(self) -> Path:
        """Run until the last step or `max_minutes`.

        Returns:
            The folder of the run.
        """
        settings, progress = self.settings, self.progress
        if not self.resumed:
            self._reorder()
        module = self.accelerator.prepare(self.module)
        started = time.monotonic()
        before = progress.seconds
        saved = started
        pairs_done = 0
        bar = tqdm(
            total=settings.steps,
            initial=progress.step,
            desc="train",
            unit="step",
            disable=not self.accelerator.is_main_process,
        )
        while progress.step < settings.steps:
            data = self.sampler.step(progress.step).to(self.device)
            loss, by_exit = module(data, settings.narrow_widths(progress.step))
            self.accelerator.backward(loss)
            norm = torch.nn.utils.clip_grad_norm_([p for _, p in self._trained()], settings.clip)
            for group in self.optimiser.param_groups:
                group["lr"] = group["peak"] * settings.rate(progress.step)
            self.optimiser.step()
            self.optimiser.zero_grad(set_to_none=True)
            self._update_average()
            progress.step += 1
            pairs_done += int(data.mask.sum()) * self.accelerator.num_processes
            now = time.monotonic()
            progress.seconds = before + now - started
            if progress.step % 10 == 0 or progress.step == settings.steps:
                speed = pairs_done / (now - started)
                self._log(
                    loss=loss.item(),
                    norm=float(norm),
                    exits=[round(value, 4) for value in by_exit[0].tolist()],
                    narrow=[round(value, 4) for value in by_exit[1:].mean(0).tolist()] if len(by_exit) > 1 else None,
                    pairs_per_second=round(speed, 1),
                )
                bar.set_postfix(loss=f"{loss.item():.3f}", exits=_brief(by_exit[0]), pairs_s=f"{speed:.0f}")
            bar.update()
            if progress.step % self.validate_every == 0 or progress.step == settings.steps:
                self._validate()
            if now - saved > self.save_every:
                self._save()
                saved = now
            if self.on_step is not None:
                self.on_step(progress.step)
            if self.max_minutes is not None and now - started > self.max_minutes * 60:
                break
        bar.close()
        self._save()
        return self.output

    def _reorder(self) -> None:
        """Importance of heads and neurons on a sample of the data, most important first."""
        if len(self.settings.widths) == 1 or not self.settings.importance_steps:
            return
        samples = []
        for number in range(self.settings.importance_steps):
            data = self.sampler.step(self.settings.steps + number).to(self.device)

            def loss(scores: list[dict[int, Tensor]], data: Any = data) -> Tensor:
                groups, size = data.mask.shape
                positions = torch.cat([micro.positions for micro in data.full])
                targets = self.module._targets(data, groups)
                total = torch.zeros((), device=positions.device)
                for depth in self.encoder.depths:
                    column = torch.cat([part[depth] for part in scores])
                    grid = torch.zeros(groups * size, device=column.device).index_copy(0, positions, column)
                    total = total + targets.loss(grid.view(groups, size))
                return total

            samples.append(([micro.batch for micro in data.full], loss))
        importance = measure_importance(self.encoder, samples, self.module.dtype)
        importance.heads = self.accelerator.reduce(importance.heads.to(self.device)).cpu()
        importance.neurons = self.accelerator.reduce(importance.neurons.to(self.device)).cpu()
        reorder(self.encoder, importance)
        self.average = {name: value.detach().clone() for name, value in self._trained()}

    @torch.no_grad()
    def _update_average(self) -> None:
        # The decay grows from 0, or the average would remember the untrained start for long.
        decay = min(self.settings.average, (1 + self.progress.step) / (10 + self.progress.step))
        names = [name for name, _ in self._trained()]
        torch._foreach_lerp_(
            [self.average[name] for name in names], [p.detach() for _, p in self._trained()], 1 - decay
        )

    def _validate(self) -> None:
        with _swapped(self.encoder, self.average):
            result = validate(self.encoder, self.sampler, self.module.dtype, self.device)
        self._log(**result)
        if result["score"] > self.progress.best:
            self.progress.best = result["score"]
            self._save_weights("best")

    def _log(self, **values: Any) -> None:
        if self.accelerator.is_main_process:
            row = {"step": self.progress.step, "seconds": round(self.progress.seconds, 1), **values}
            with open(self.output / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def _check_output(self, resume: bool) -> None:
        exists = (self.output / "state.pt").exists()
        if exists and not resume:
            raise ValueError(f"{self.output} holds a training run: pass resume=True (--resume) or name another output")
        settings = self.output / "settings.json"
        self.output.mkdir(parents=True, exist_ok=True)
        if exists and settings.read_text() != self.settings.to_json():
            raise ValueError(f"{settings} differs from the settings given: a run goes on with those that it began with")
        if self.accelerator.is_main_process:
            settings.write_text(self.settings.to_json())

    def _save(self) -> None:
        if not self.accelerator.is_main_process:
            return
        state = {
            "encoder": self.encoder.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "progress": vars(self.progress),
        }
        temporary = self.output / "state.pt.tmp"
        torch.save(state, temporary)
        os.replace(temporary, self.output / "state.pt")
        self._save_weights("last")

    def _save_weights(self, name: str) -> None:
        """The averaged weights, atomically, as safetensors."""
        from safetensors.torch import save_file

        if self.accelerator.is_main_process:
            with _swapped(self.encoder, self.average):
                tensors = {key: value.detach().cpu().contiguous() for key, value in self.encoder.state_dict().items()}
            temporary = self.output / f"{name}.safetensors.tmp"
            save_file(tensors, temporary)
            os.replace(temporary, self.output / f"{name}.safetensors")

    def _load(self) -> bool:
        path = self.output / "state.pt"
        if not path.exists():
            return False
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.encoder.load_state_dict(state["encoder"])
        self.average = {name: value.to(self.device) for name, value in state["average"].items()}
        self.optimiser.load_state_dict(state["optimiser"])
        self.progress = Progress(**state["progress"])
        return True


class _swapped:
    """The encoder with other values for some parameters, for the length of a `with`."""

    def __init__(self, encoder: Encoder, values: dict[str, Tensor]) -> None:
        self.encoder, self.values = encoder, values

    @torch.no_grad()
    def _swap(self) -> None:
        parameters = dict(self.encoder.named_parameters())
        for name, value in self.values.items():
            kept = parameters[name].detach().clone()
            parameters[name].copy_(value)
            value.copy_(kept)

    def __enter__(self) -> None:
        self._swap()

    def __exit__(self, *_: object) -> None:
        self._swap()


def _brief(losses: Tensor) -> str:
    """First, middle and last exit's loss."""
    values = losses.tolist()
    return "/".join(f"{values[index]:.2f}" for index in (0, len(values) // 2, -1))
