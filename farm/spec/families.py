"""The families of Stable Diffusion checkpoints: what decides how one is loaded, prompted and sampled."""

from collections.abc import Mapping
from dataclasses import dataclass


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
        return self.pipeline == "StableDiffusionXLPipeline"

    @property
    def base(self) -> str:
        """What LoRAs, embeddings and VAEs are made for: `sd15`, `sd2` or `sdxl`."""
        return self.name.split("-")[0]


_SD, _SDXL = "StableDiffusionPipeline", "StableDiffusionXLPipeline"

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
