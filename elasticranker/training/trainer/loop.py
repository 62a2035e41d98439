"""The loop that both stages of training share: steps, schedule, average, log, validation; it may be killed anytime."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from elasticranker.model.encoder import Encoder
from elasticranker.model.loaded import choose_dtype
from elasticranker.progress import bar, phase
from elasticranker.training.data.batches import each_tensor
from elasticranker.training.settings import TrainingSettings
from elasticranker.training.trainer.ahead import ahead
from elasticranker.training.trainer.averaging import Average
from elasticranker.training.trainer.run_folder import RunFolder
from elasticranker.training.trainer.stopping import Stopping

LOG_EVERY = 10  # steps


@dataclass
class Progress:
    """Where a run stands; kept beside the weights."""

    step: int = 0
    best: float = float("-inf")
    seconds: float = 0.0
    pairs: int = 0


class Loop(ABC):
    """One run of one stage. A subclass says what is trained, on what, and what is made of it.

    A subclass's `__init__` calls this one's (which refuses a folder of another run, before anything is loaded), makes
    `encoder`, `sampler` and `module`, and calls `_begin`. `sampler.step(number)` gives this process's share of a step,
    on the CPU: a named tuple of tensors with `pairs`, their number; for `unseen`, all of it with `whole=True`.
    `module(data, widths)` gives the loss, and the detached losses `[1 + len(widths), exits]`; it is wrapped by
    accelerate, so that several processes share every step. Every process holds the same weights after a step; process
    0 alone validates and writes.

    Args:
        output: folder of the run (see `elasticranker.training.trainer.run_folder.RunFolder`).
        settings: what fixes the trajectory.
        identity: what else does (see `RunFolder.claim`).
        resume: continue the run in `output`, if there is one; without it a folder that holds one is refused.
        max_minutes: stop (resumably) so long after this object was made.
        validate_every: steps between validations on held-out data.
        save_every: seconds between saved states.
        keep: the weights that `finish` gets: `best` on held-out data (`last` where there is none), or `last`; averaged
            ones in both cases.
        dtype: `auto` (bfloat16 where the processor multiplies in it), `float32` or `bfloat16`. Master weights,
            losses and the optimiser are float32 all the same.
        on_step: called with the number of steps done after each.

    Attributes:
        progress: where the run stands.
        stopped: number of the signal that ended `train` early, or None.
    """

    stage: ClassVar[str]
    encoder: Encoder
    sampler: Any
    module: nn.Module

    def __init__(
        self,
        output: str | Path,
        settings: TrainingSettings,
        identity: dict[str, str],
        *,
        resume: bool = False,
        max_minutes: float | None = None,
        validate_every: int = 250,
        save_every: float = 300.0,
        keep: str = "best",
        dtype: str = "auto",
        on_step: Callable[[int], None] | None = None,
    ) -> None:
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from accelerate.state import AcceleratorState

        if keep not in ("best", "last"):
            raise ValueError(f"keep={keep!r}: choose best or last")
        self._clock = time.monotonic()
        self.settings, self.output, self.max_minutes = settings, Path(output), max_minutes
        self.validate_every, self.save_every, self.keep, self.on_step = validate_every, save_every, keep, on_step
        # Modules cast by themselves. Without a GPU, accelerate must be told to join the processes of torchrun.
        alone = torch.cuda.is_available() or "LOCAL_RANK" not in os.environ
        partly = [DistributedDataParallelKwargs(find_unused_parameters=True)] if settings.shallow else []
        AcceleratorState._reset_state()  # another trainer's mixed precision would be this process's for good
        self.accelerator = Accelerator(mixed_precision="no", cpu=not alone, kwargs_handlers=partly)
        self.device = self.accelerator.device
        self.dtype = choose_dtype(dtype, self.device)
        self.progress = Progress()
        self.stopped: int | None = None
        self.folder = RunFolder(output, writes=self.accelerator.is_main_process)
        self.folder.claim(settings, {"stage": self.stage, **identity}, resume=resume)

    def step_data(self, number: int) -> Any:
        """This process's data of step `number`."""
        return self.sampler.step(number)

    def unseen(self, steps: int, name: str) -> Iterator[Any]:
        """Whole steps that training won't see, the same in every process, on the device; `name` is their bar's."""
        for number in bar(range(self.settings.steps, self.settings.steps + steps), name=name, unit="steps"):
            yield each_tensor(self.sampler.step(number, whole=True), lambda tensor: tensor.to(self.device))

    @abstractmethod
    def validate(self) -> dict[str, Any] | None:
        """Figures of the averaged weights on held-out data; the higher its `score`, the better. None without any."""

    @abstractmethod
    def finish(self, kept: str, weights: dict[str, Tensor]) -> None:
        """Make `product` of the weights that were kept: `best` or `last`."""

    @property
    @abstractmethod
    def product(self) -> Path:
        """The folder that `finish` makes."""

    def prepare_start(self) -> None:
        """Change the untrained weights, in the same way in every process."""
        return None

    def _begin(self) -> None:
        """Set up average and optimiser, and load the state of a run that is gone on with."""
        self.module.to(self.device)
        self.trained = {name: value for name, value in self.encoder.named_parameters() if value.requires_grad}
        self.average = Average(self.trained)
        self.optimiser = torch.optim.AdamW(self._parameter_groups(), lr=1.0, betas=(0.9, 0.98), fused=True)
        state = self.folder.load_state(self.device)
        self.resumed = state is not None
        if state is not None:
            self.encoder.load_state_dict(state["encoder"])
            self.average.values = {name: value.to(self.device) for name, value in state["average"].items()}
            self.optimiser.load_state_dict(state["optimiser"])
            pairs = state["progress"]["step"] * self.settings.groups_per_step * self.settings.group_size
            self.progress = Progress(**{"pairs": pairs} | state["progress"])  # older states didn't count them

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters by their peak learning rate and whether they decay."""
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, parameter in self.trained.items():
            decays = parameter.dim() > 1 and "bias" not in name and not name.startswith("exits.")
            groups.setdefault((self._peak(name), decays), []).append(parameter)
        decay = self.settings.weight_decay
        return [
            {"params": members, "weight_decay": decay * decays, "peak": peak}
            for (peak, decays), members in groups.items()
        ]

    def _peak(self, name: str) -> float:
        """The highest learning rate of a parameter."""
        settings = self.settings
        rate = settings.learning_rate
        if name.startswith("exits."):
            return rate * settings.readout_rate
        if name.endswith(".cross"):
            return rate * settings.cross_rate
        if name.startswith("layers."):
            last = max(1, self.encoder.shape.layers - 1)
            return rate * (1 + (settings.deep_rate - 1) * int(name.split(".")[1]) / last)
        return rate

    def train(self) -> Path:
        """Run until the last step, until `max_minutes` are over, or until SIGTERM or SIGINT comes.

        The state is saved in each case. Unless a signal came, `finish` follows; a run that was finished before is left
        as it is.

        Returns:
            The folder of the run.

        Raises:
            ValueError: the loss is no longer a number; the last saved state stays as it is.
            BlockingIOError: another process trains in this folder.
        """
        with self.folder.locked(), Stopping() as stopping:
            begun = self.progress.step
            self._run(stopping)
            self.stopped = stopping.asked
            news = self.progress.step > begun or not self.product.exists()
            if news and self.stopped is None and self.accelerator.is_main_process:
                self.finish(*self.folder.weights(*(("best", "last") if self.keep == "best" else ("last",))))
        return self.output

    def _run(self, stopping: Stopping) -> None:
        settings, progress = self.settings, self.progress
        if not self.resumed:
            self.prepare_start()
        module = self.accelerator.prepare(self.module)  # sends process 0's weights to all
        if not self.resumed:
            self.average.restart()
        self.resumed = True
        started = saved = time.monotonic()
        begun = Progress(**asdict(progress))
        self._saved_step = progress.step
        hidden = not self.accelerator.is_main_process
        with tqdm(total=settings.steps, initial=begun.step, desc=self.stage, unit="step", disable=hidden) as moving:
            for data in ahead(self._data, begun.step, settings.steps):
                progress.pairs += data.pairs * self.accelerator.num_processes
                loss, parts, norm = self._step(module, data)
                now = time.monotonic()
                progress.step += 1
                progress.seconds = begun.seconds + now - started
                if progress.step % LOG_EVERY == 0 or progress.step == settings.steps:
                    self._report(moving, loss, parts, norm, (progress.pairs - begun.pairs) / (now - started))
                moving.update()
                if progress.step % self.validate_every == 0 or progress.step == settings.steps:
                    self._validate()
                if now - saved > self.save_every:
                    self._save()
                    saved = now
                if self.on_step is not None:
                    self.on_step(progress.step)
                if self._all_stop(stopping.asked is not None or self._time_is_up()):
                    break
        if progress.step > self._saved_step:
            self._save()

    def _data(self, number: int) -> Any:
        """Data of a step, ready to be sent to the device; made in a thread of its own."""
        data = self.step_data(number)
        return each_tensor(data, lambda tensor: tensor.pin_memory()) if self.device.type == "cuda" else data

    def _step(self, module: nn.Module, data: Any) -> tuple[Tensor, Tensor, Tensor]:
        """One update of the weights: the loss, its parts (see the class) and the gradient's norm."""
        number = self.progress.step
        data = each_tensor(data, lambda tensor: tensor.to(self.device, non_blocking=True))
        loss, parts = module(data, self.settings.narrow_widths(number))
        self.accelerator.backward(loss)
        loss = loss.detach()
        norm = nn.utils.clip_grad_norm_(list(self.trained.values()), self.settings.clip)
        if not bool(torch.isfinite(norm + loss)):
            raise ValueError(
                f"training diverged in step {number + 1}: loss {float(loss)}, norm of the gradient {float(norm)}. "
                f"{self.output} keeps the state of step {self._saved_step}; begin a new run with a lower learning_rate "
                "(--learning-rate), or look for broken scores in the data"
            )
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * self.settings.rate(number)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.average.update(number, self.settings.average)
        return loss, parts, norm

    def _time_is_up(self) -> bool:
        return self.max_minutes is not None and time.monotonic() - self._clock > self.max_minutes * 60

    def _all_stop(self, wish: bool) -> bool:
        """Does any process want to stop? All must do so after the same step, or the others would wait for ever."""
        if self.accelerator.num_processes == 1:
            return wish
        return bool(self.accelerator.reduce(torch.tensor(float(wish), device=self.device), "sum") > 0)

    def _report(self, bar: tqdm, loss: Tensor, parts: Tensor, norm: Tensor, speed: float) -> None:
        loss, parts = self.accelerator.reduce((loss, parts), "mean")
        exits = [round(value, 4) for value in parts[0].tolist()]
        narrow = [round(value, 4) for value in parts[1:].mean(0).tolist()] if len(parts) > 1 else None
        self._log(loss=float(loss), norm=float(norm), exits=exits, narrow=narrow, pairs_per_second=round(speed, 1))
        brief = "/".join(f"{exits[index]:.2f}" for index in (0, len(exits) // 2, -1))  # first, middle, last
        bar.set_postfix(loss=f"{float(loss):.3f}", exits=brief, pairs_s=f"{speed:.0f}")

    def _validate(self) -> None:
        if not self.accelerator.is_main_process:
            return
        with self.average.applied(), phase("validating"):
            result = self.validate()
            if result is None:
                return
            if result["score"] > self.progress.best:
                self.progress.best = result["score"]
                self.folder.save_weights("best", self.encoder.state_dict())
        self._log(**result)

    def _log(self, **values: Any) -> None:
        self.folder.log(step=self.progress.step, seconds=round(self.progress.seconds, 1), **values)

    def _save(self) -> None:
        self._saved_step = self.progress.step
        self.folder.save_state(
            {
                "encoder": self.encoder.state_dict(),
                "average": self.average.values,
                "optimiser": self.optimiser.state_dict(),
                "progress": asdict(self.progress),
            }
        )
        with self.average.applied():
            self.folder.save_weights("last", self.encoder.state_dict())
