"""The second pass of text to image: how far the picture is enlarged, and how it is denoised again."""

from typing import Annotated, Self

from pydantic import BaseModel, Field, model_validator

from farm.spec.fields import FROZEN, HiresUpscaler, Scale, Side, Steps, Strength


class Hires(BaseModel):
    """A second pass: the picture is enlarged and denoised again, by a scale or to a size."""

    model_config = FROZEN

    scale: Scale | None = None
    width: Side | None = None
    height: Side | None = None
    num_inference_steps: Annotated[Steps | None, Field(description="As the first pass where left out.")] = None
    strength: Strength = 0.7
    upscaler: HiresUpscaler = "Latent"

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        is_sized = (self.width is not None, self.height is not None)
        if is_sized == (False, False) and self.scale is None:
            raise ValueError("hires.scale: give a scale, or a width and a height")
        if is_sized not in ((False, False), (True, True)) or (self.scale is not None and self.width is not None):
            raise ValueError("hires.width: give a scale, or both a width and a height")
        return self

    def size(self, width: int, height: int) -> tuple[int, int]:
        """The size after the second pass, in pixels: sides are multiples of 8."""
        if self.width is not None and self.height is not None:
            return self.width, self.height
        assert self.scale is not None
        return int(width * self.scale) // 8 * 8, int(height * self.scale) // 8 * 8

    def steps(self, first_pass_steps: int) -> int:
        """The steps of the second pass, before its strength leaves some out."""
        return self.num_inference_steps or first_pass_steps
