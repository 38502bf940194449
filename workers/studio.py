"""What a mode renders with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any

from farm.families import Family
from farm.specs import ImageSpec, TextToImageSpec
from workers.conditions import Conditions
from workers.inputs import Inputs
from workers.latents import SIDE
from workers.pipelines import Resident
from workers.renderer import OnStep
from workers.text.encode import conditions_of
from workers.vae import Vae

Tick = Callable[[], None]
"""Called after each step; raises to stop the render."""


@dataclass(frozen=True)
class Studio:
    """The resident checkpoint, with the LoRAs and the VAE of a batch fitted to it, and the uploaded pictures.

    `vae_sha256` is that of a VAE which is not the checkpoint's own.
    """

    resident: Resident
    inputs: Inputs
    vae_sha256: str = ""

    @property
    def pipeline(self) -> Any:
        return self.resident.pipeline

    @cached_property
    def vae(self) -> Vae:
        sha256 = self.vae_sha256 or self.resident.checkpoint.sha256
        return Vae(self.pipeline, sha256, self.resident.vae_needs)

    @property
    def family(self) -> Family:
        return self.resident.family

    @property
    def side(self) -> int:
        """The side in pixels that the checkpoint was trained at."""
        latents = self.pipeline.unet.config.sample_size
        return latents * SIDE if isinstance(latents, int) else self.family.side

    def conditions(self, specs: Sequence[ImageSpec]) -> list[Conditions]:
        """What the UNet is told of each image in its first pass, or its only one.

        As in the WebUI, a prompt's changes are laid out over all the steps asked for, and counted from
        the first step that runs: with a strength below 1 the last of them do not come.
        """
        return [conditions_of(self.resident, spec, spec.num_inference_steps) for spec in specs]

    def hires_conditions(self, specs: Sequence[TextToImageSpec]) -> list[Conditions]:
        """The same for the second pass of specs with `hires`."""
        return [
            conditions_of(self.resident, spec, hires_steps(spec), first_pass_steps=spec.num_inference_steps)
            for spec in specs
        ]

    def text_shape(self, spec: ImageSpec) -> tuple[tuple[int, int], ...]:
        """What images must share to go through the UNet together: the shapes of their conditions, pass by pass."""
        shapes = [conditions.shape for conditions in self.conditions([spec])]
        if isinstance(spec, TextToImageSpec) and spec.hires:
            shapes += [conditions.shape for conditions in self.hires_conditions([spec])]
        return tuple(shapes)


def hires_steps(spec: TextToImageSpec) -> int:
    """The steps of the second pass, before its strength leaves some out."""
    assert spec.hires is not None
    return spec.hires.steps(spec.num_inference_steps)


def ticking(on_step: OnStep, steps: int) -> Tick:
    """Count the steps of all passes of a render, and report each."""
    done = count(1)
    return lambda: on_step(next(done), steps)


def shared_steps(on_step: OnStep, part: int, parts: int) -> OnStep:
    """What one of several renders of a batch, equally long, reports to: the steps of all count together."""
    return lambda done, steps: on_step(part * steps + done, parts * steps)
