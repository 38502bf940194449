"""The course of one pass: a scheduler, which of its timesteps run, and what users count as a step."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from diffusers import LMSDiscreteScheduler, PNDMScheduler

from workers.brownian import BrownianNoise

_LMS_ORDER = 4


@dataclass(frozen=True)
class Course:
    """A scheduler made for one pass, and the timesteps that run.

    All of it stays on the host: what a scheduler looks up at each step would else be read back from the
    device, which then waits for the next step to be prepared. `timesteps` has one for each call of the UNet;
    `steps` counts what users count: a step of Heun or DPM2 takes two calls but for the last, and the first of
    PLMS does. Calls are counted from 0.
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

    def is_last(self, call: int) -> bool:
        return call == len(self.timesteps) - 1

    def ends_step(self, call: int) -> bool:
        return self.is_last(call) or self.step_of(call + 1) > self.step_of(call)

    def noised(self, latents: torch.Tensor, noise: torch.Tensor, call: int) -> torch.Tensor:
        """Latents under as much noise as the call expects; to be asked for just before it."""
        when = self.timesteps[call : call + 1].repeat(len(latents))
        noisy: torch.Tensor = self.scheduler.add_noise(latents, noise, when)
        return noisy

    def scaled(self, latents: torch.Tensor, call: int) -> torch.Tensor:
        """Latents as the UNet is shown them at a call."""
        shown: torch.Tensor = self.scheduler.scale_model_input(latents, self.timesteps[call])
        return shown

    def take(
        self, call: int, noise: torch.Tensor, latents: torch.Tensor, generators: Sequence[torch.Generator]
    ) -> torch.Tensor:
        """The latents after a call in which the UNet saw this noise in them."""
        options = self._options(call, generators)
        if getattr(self.scheduler, "noise_sampler", self) is None:
            self.scheduler.noise_sampler = BrownianNoise.of(self.scheduler, latents)
        after = self.scheduler.step(noise, self.timesteps[call], latents, **options, return_dict=False)[0]
        return after.to(latents.dtype)  # type: ignore[no-any-return]  # diffusers has no types

    def _options(self, call: int, generators: Sequence[torch.Generator]) -> dict[str, Any]:
        if isinstance(self.scheduler, LMSDiscreteScheduler):
            # By itself it goes by the place in the schedule, and begun in the middle misses steps it never made.
            return {"order": min(_LMS_ORDER, call + 1)}
        if self._takes_generator:
            return {"generator": generators}
        return {}


def steps_to_run(steps: int, strength: float) -> int:
    """How many of the steps run at this strength, as diffusers counts; at least one."""
    return max(1, min(steps, int(steps * strength)))


def plan_course(scheduler: Any, steps: int, strength: float) -> Course:
    """The last part of a schedule of so many steps, as long as the strength says; all of it at 1."""
    scheduler.set_timesteps(steps, device="cpu")
    runs = steps_to_run(steps, strength)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index((steps - runs) * scheduler.order)
    return Course(scheduler, _last_calls(scheduler, steps, runs), runs)


def _last_calls(scheduler: Any, steps: int, runs: int) -> torch.Tensor:
    timesteps: torch.Tensor = scheduler.timesteps
    if isinstance(scheduler, PNDMScheduler) and len(timesteps) > steps:
        # PLMS takes its first step twice over, so the second timestep is there twice, wherever it begins.
        plain = torch.cat([timesteps[:1], timesteps[2:]])[-runs:]
        return torch.cat([plain[:1], plain[1:2], plain[1:]])
    return timesteps[(steps - runs) * scheduler.order :]
