"""The timesteps of one pass: which of a scheduler's timesteps run, and what users count as a step."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from diffusers import LMSDiscreteScheduler, PNDMScheduler

from workers.sampling.brownian import BrownianNoise

_LMS_ORDER = 4


@dataclass(frozen=True)
class TimestepSchedule:
    """A scheduler made for one pass, and those of its timesteps that run.

    All of it stays on the host: what a scheduler looks up at each step would else be read back from the
    device, which then waits for the next step to be prepared. `timesteps` of shape (calls,), from 999 down to 0,
    has one for each call of the UNet; `steps` counts what users count: a step of Heun or DPM2 takes two calls but
    for the last, and the first of PLMS does. Calls are counted from 0.
    """

    scheduler: Any
    timesteps: torch.Tensor
    steps: int

    @property
    def _extra_calls(self) -> int:
        # Less than none with Heun and its kin, whose last step takes one call.
        return max(0, len(self.timesteps) - self.steps * int(self.scheduler.order))

    @cached_property
    def _takes_generator(self) -> bool:
        return "generator" in inspect.signature(self.scheduler.step).parameters

    def step_of(self, call: int) -> int:
        """Which step a call belongs to, counted from 0."""
        return max(0, call - self._extra_calls) // int(self.scheduler.order)

    def is_last_call(self, call: int) -> bool:
        return call == len(self.timesteps) - 1

    def ends_step(self, call: int) -> bool:
        """Whether a call is the last one of its step."""
        return self.is_last_call(call) or self.step_of(call + 1) > self.step_of(call)

    def add_noise(self, latents: torch.Tensor, noise: torch.Tensor, call: int) -> torch.Tensor:
        """Latents (images, 4, height / 8, width / 8) as noisy as the call expects; call it just before."""
        timesteps = self.timesteps[call : call + 1].repeat(len(latents))
        noisy: torch.Tensor = self.scheduler.add_noise(latents, noise, timesteps)
        return noisy

    def scale_model_input(self, latents: torch.Tensor, call: int) -> torch.Tensor:
        """Latents scaled by the call's sigma, as the UNet expects them."""
        scaled: torch.Tensor = self.scheduler.scale_model_input(latents, self.timesteps[call])
        return scaled

    def step(
        self, call: int, noise_pred: torch.Tensor, latents: torch.Tensor, generators: Sequence[torch.Generator]
    ) -> torch.Tensor:
        """The latents after a call in which the UNet predicted this noise; both have the same shape.

        `generators`, one for each image, are what samplers that add noise draw it from.
        """
        options = self._step_options(call, generators)
        if getattr(self.scheduler, "noise_sampler", self) is None:
            self.scheduler.noise_sampler = BrownianNoise.of(self.scheduler, latents)
        after = self.scheduler.step(noise_pred, self.timesteps[call], latents, **options, return_dict=False)[0]
        return after.to(latents.dtype)  # type: ignore[no-any-return]  # diffusers has no types

    def _step_options(self, call: int, generators: Sequence[torch.Generator]) -> dict[str, Any]:
        if isinstance(self.scheduler, LMSDiscreteScheduler):
            # By itself it goes by the index in the schedule, and begun in the middle misses steps it never made.
            return {"order": min(_LMS_ORDER, call + 1)}
        if self._takes_generator:
            return {"generator": generators}
        return {}


def count_steps(steps: int, strength: float) -> int:
    """How many of the steps run at this strength, as diffusers counts; at least one."""
    return max(1, min(steps, int(steps * strength)))


def plan_timesteps(scheduler: Any, steps: int, strength: float) -> TimestepSchedule:
    """The last part of a schedule of so many steps, as long as the strength (0 to 1) says; all of it at 1."""
    scheduler.set_timesteps(steps, device="cpu")
    runs = count_steps(steps, strength)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index((steps - runs) * scheduler.order)
    return TimestepSchedule(scheduler, _last_timesteps(scheduler, steps, runs), runs)


def _last_timesteps(scheduler: Any, steps: int, runs: int) -> torch.Tensor:
    timesteps: torch.Tensor = scheduler.timesteps
    if isinstance(scheduler, PNDMScheduler) and len(timesteps) > steps:
        # PLMS takes its first step twice over, so the second timestep is there twice, wherever it begins.
        plain = torch.cat([timesteps[:1], timesteps[2:]])[-runs:]
        return torch.cat([plain[:1], plain[1:2], plain[1:]])
    return timesteps[(steps - runs) * scheduler.order :]
