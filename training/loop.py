"""The training loop of all stages: limited by time, with checkpoints to resume from, averaged weights, and sample pictures from time to time."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from optim import Ema, Optimisers

Loss = tuple[torch.Tensor, float, str]
"""The tensor that is minimised, the number that is reported, and more text for the report."""


class Training:
    """One module's training. It resumes from `checkpoint`; `step` is the number of steps so far."""

    def __init__(
        self, name: str, module: nn.Module, optimisers: Optimisers, ema: Ema, checkpoint: Path, save_seconds: float = 180
    ):
        self.name, self.module, self.optimisers, self.ema = name, module, optimisers, ema
        self.checkpoint, self.save_seconds = checkpoint, save_seconds
        self.step, self.spent = 0, 0.0
        if checkpoint.exists():
            state = torch.load(checkpoint, weights_only=True)
            module.load_state_dict(state["module"])
            optimisers.load_state_dict(state["optimisers"])
            ema.average = state["ema"]
            self.step, self.spent = state["step"], state["spent"]

    def run(self, minutes: float, loss_of: Callable[[float], Loss], look: Callable[[], None]) -> None:
        """Trains for `minutes` (the time of earlier, interrupted runs counts), then uses the averaged weights.

        `loss_of` receives the progress from 0 to 1; `look` is called with the averaged weights in the model whenever they are saved.
        """
        losses: list[float] = []
        last, saved = time.monotonic(), self.spent
        while self.spent < minutes * 60:
            progress = self.spent / (minutes * 60)
            self.optimisers.set_progress(progress, self.step)
            loss, shown, more = loss_of(progress)
            loss.backward()
            self.optimisers.step()
            self.step += 1
            self.ema.update(self.step)
            losses.append(shown)
            now = time.monotonic()
            self.spent, last = self.spent + now - last, now
            if self.step % 50 == 0:
                told = f"{self.spent / 60:6.1f} min  step {self.step}  {more} {np.mean(losses[-50:]):.4f}"
                print(f"{self.name} {told}", flush=True)
            if self.spent - saved > self.save_seconds:
                self._save(look)
                saved, last = self.spent, time.monotonic()
        if self.step:
            self._save(look)
            self.ema.swap()

    def _save(self, look: Callable[[], None]) -> None:
        state = {"module": self.module.state_dict(), "optimisers": self.optimisers.state_dict(), "ema": self.ema.average}
        part = self.checkpoint.with_suffix(".tmp")
        torch.save({**state, "step": self.step, "spent": self.spent}, part)
        part.replace(self.checkpoint)
        self.ema.swap()
        look()
        self.ema.swap()
