"""The families of Stable Diffusion checkpoints: what decides how one is loaded, prompted and sampled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SDXL_PIPELINE = "StableDiffusionXLPipeline"


@dataclass(frozen=True)
class Family:
    """One architecture with its training.

    `unet_channels` is the width of the UNet's input: 4 for latents alone, 9 where a mask and a masked
    picture come with them. `side` is the side in pixels that the family was trained at.
    """

    name: str
    pipeline: str
    side: int
    unet_channels: int = 4
    prediction_type: str = "epsilon"

    @property
    def is_inpaint(self) -> bool:
        return self.unet_channels == 9

    @property
    def is_sdxl(self) -> bool:
        return self.pipeline == SDXL_PIPELINE

    @property
    def base(self) -> str:
        """What LoRAs, embeddings and VAEs are made for: `sd15`, `sd2` or `sdxl`."""
        return self.name.split("-")[0]


_SD, _SDXL = "StableDiffusionPipeline", SDXL_PIPELINE

_TABLE = (
    Family("sd15", _SD, 512),
    Family("sd15-inpaint", _SD, 512, unet_channels=9),
    Family("sd2", _SD, 512),
    Family("sd2-v", _SD, 768, prediction_type="v_prediction"),
    Family("sd2-inpaint", _SD, 512, unet_channels=9),
    Family("sdxl", _SDXL, 1024),
    Family("sdxl-inpaint", _SDXL, 1024, unet_channels=9),
)

FAMILIES: Mapping[str, Family] = {family.name: family for family in _TABLE}


def family_of_parts(unet: Mapping[str, Any], prediction_type: object, *, is_sdxl: bool) -> Family | None:
    """The family of a diffusers folder; None where its UNet takes other channels than any that is known.

    Stable Diffusion 2 came with linear projections in the UNet. `unet` is the UNet's config; `prediction_type`, as
    the scheduler's config has it, tells the two trainings of Stable Diffusion 2 apart, and counts for no other.
    """
    base = "sdxl" if is_sdxl else "sd2" if unet.get("use_linear_projection") else "sd15"
    channels = unet.get("in_channels", 4)
    trainings = [family for family in FAMILIES.values() if (family.base, family.unet_channels) == (base, channels)]
    alike = [family for family in trainings if family.prediction_type == prediction_type]
    return next(iter(alike or trainings), None)
