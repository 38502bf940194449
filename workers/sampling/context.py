"""The render context: what a mode renders a batch with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from typing import Any

from farm.spec.families import Family
from farm.spec.image import ImageSpec, TextToImageSpec
from farm.spec.sizes import VAE_SCALE_FACTOR
from workers.canvas.inputs import Inputs
from workers.model.resident import Resident
from workers.model.vae import Vae
from workers.renderer import OnStep
from workers.sampling.conditioning import Conditioning
from workers.sampling.encode_prompts import encode_conditioning

StepCallback = Callable[[], None]
"""Called after each step; raises to stop the render."""


@dataclass(frozen=True)
class RenderContext:
    """The resident checkpoint, with the LoRAs and the VAE of a batch applied to it, and the uploaded pictures.

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
        return Vae(self.pipeline, sha256, self.resident.vae_needs, self.resident.make_room)

    @property
    def family(self) -> Family:
        return self.resident.family

    @property
    def side(self) -> int:
        """The side in pixels that the checkpoint was trained at."""
        latents = self.pipeline.unet.config.sample_size
        return latents * VAE_SCALE_FACTOR if isinstance(latents, int) else self.family.side

    def encode_prompts(self, specs: Sequence[ImageSpec]) -> list[Conditioning]:
        """The conditioning of each image in its first pass, or its only one.

        As in the WebUI, a prompt's changes are laid out over all the steps asked for, and counted from
        the first step that runs: with a strength below 1 the last of them do not come.
        """
        return [encode_conditioning(self.resident, spec, spec.num_inference_steps) for spec in specs]

    def encode_hires_prompts(self, specs: Sequence[TextToImageSpec]) -> list[Conditioning]:
        """The conditioning of each image in the second pass of specs with `hires`."""
        return [
            encode_conditioning(
                self.resident, spec, count_hires_steps(spec), first_pass_steps=spec.num_inference_steps
            )
            for spec in specs
        ]

    def conditioning_shape(self, spec: ImageSpec) -> tuple[tuple[int, int], ...]:
        """What images must share to go through the UNet together: (prompts, tokens) of each of their passes."""
        shapes = [conditioning.shape for conditioning in self.encode_prompts([spec])]
        if isinstance(spec, TextToImageSpec) and spec.hires:
            shapes += [conditioning.shape for conditioning in self.encode_hires_prompts([spec])]
        return tuple(shapes)


def count_hires_steps(spec: TextToImageSpec) -> int:
    """The steps of the second pass, before its strength leaves some out."""
    assert spec.hires is not None
    return spec.hires.steps(spec.num_inference_steps)


def make_step_callback(on_step: OnStep, steps: int) -> StepCallback:
    """A callback for all passes of a render: it counts their steps, and reports each as one of `steps`."""
    done = count(1)
    return lambda: on_step(next(done), steps)


def make_group_callback(on_step: OnStep, group: int, groups: int) -> OnStep:
    """A callback for one of several groups of a batch, equally long: it reports the steps of all together."""
    return lambda done, steps: on_step(group * steps + done, groups * steps)
