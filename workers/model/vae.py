"""The VAE of a batch: pictures to latents and back, in the precision and with the memory that it has."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
import structlog
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from safetensors import SafetensorError

from farm.errors import CannotRender
from workers.compute.memory import DoesNotFit, free_caches, is_out_of_memory
from workers.compute.placement import device_of, dtype_of
from workers.compute.precision import NAMES

log = structlog.get_logger(__name__)

# In pixels. SD1's own tile; SDXL's own one would be as large as its pictures, and save nothing.
_TILE_SIDE = 512
_OVERFLOWED = (
    "The image overflowed: it holds no numbers (NaN). Weights in the prompt, guidance or a LoRA may be too "
    "strong, or the checkpoint does not bear half precision: FARM_PRECISION=bf16 or fp32."
)


class Saving(IntEnum):
    """What a VAE does at once: all pictures, one, or a tile of one. Tiles enter pixels; slices do not."""

    WHOLE = 0
    SLICED = 1
    TILED = 2

    @property
    def words(self) -> str:
        return ("", "VAE sliced", "VAE sliced and tiled")[self]


_CallShape = tuple[str, str, torch.dtype, tuple[int, ...]]
"""(VAE, whether it encodes or decodes, type, shape): what decides how much memory it takes."""


@dataclass
class VaeNeeds:
    """What VAEs were found to need since this process began, so that it is found out once.

    `precisions` are by the sha256 of the VAE's file, or of the checkpoint whose own it is; so are `weights`,
    which read its tensors as the file has them.
    """

    precisions: dict[str, torch.dtype] = field(default_factory=dict)
    savings: dict[_CallShape, Saving] = field(default_factory=dict)
    weights: dict[str, Callable[[], Mapping[str, torch.Tensor]]] = field(default_factory=dict)


class Vae:
    """The pipeline's VAE, for one render. `relief` names what was done for want of memory.

    `make_room` drops whatever else is on the device, and says whether there was anything.
    """

    def __init__(
        self,
        pipeline: Any,
        sha256: str = "",
        needs: VaeNeeds | None = None,
        make_room: Callable[[], bool] = lambda: False,
    ) -> None:
        self._pipeline = pipeline
        self._sha256 = sha256
        self._needs = needs or VaeNeeds()
        self._make_room = make_room
        self._strongest_saving = Saving.WHOLE
        self._are_caches_freed = False

    @property
    def relief(self) -> tuple[str, ...]:
        freed = ("caches freed",) if self._are_caches_freed else ()
        return (*freed, self._strongest_saving.words) if self._strongest_saving else freed

    @property
    def precision(self) -> str:
        """What it computes in."""
        return NAMES[dtype_of(self._model)]

    @property
    def _model(self) -> Any:
        return self._pipeline.vae

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor, generators: Sequence[torch.Generator]) -> torch.Tensor:
        """Latents (images, 4, height / 8, width / 8) of pixels (images, 3, height, width) from -1 to 1, scaled.

        A sample of the VAE's distribution, drawn from each image's own generator, as in diffusers.

        One picture at a time: in company its latents would have other last bits. Raises CannotRender if there are
        no numbers left in them, DoesNotFit if memory does not suffice even for tiles.
        """
        pixels = pixels.to(device_of(self._pipeline))
        moments = self._compute_finite(
            lambda: torch.cat(
                [self._compute_sparingly("encode", one, self._encode_moments) for one in pixels.split(1)]
            )
        )
        distributions = [DiagonalGaussianDistribution(one) for one in moments.split(1)]
        samples = [one.sample(generator) for one, generator in zip(distributions, generators, strict=True)]
        latents: torch.Tensor = torch.cat(samples).to(dtype_of(self._pipeline.unet))
        return self._model.config.scaling_factor * latents  # type: ignore[no-any-return]  # diffusers has no types

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> list[np.ndarray]:
        """A picture for each of the latents (images, 4, height / 8, width / 8): uint8 of shape (height, width, 3).

        Rounded on the device: fewer bytes to copy.

        Raises CannotRender if there are no numbers left in them, in half precision nor in full, and DoesNotFit
        if memory does not suffice even for tiles.
        """
        if not latents.isfinite().all():
            # Not the VAE's fault: no precision of it would help.
            raise CannotRender(_OVERFLOWED)
        images = self._compute_finite(lambda: self._compute_sparingly("decode", latents, self._decode_images))
        shades = (images * 0.5 + 0.5).clamp(0, 1).float() * 255
        return list(shades.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())

    def _encode_moments(self, pixels: torch.Tensor) -> torch.Tensor:
        moments: torch.Tensor = self._model.encode(pixels.to(dtype_of(self._model))).latent_dist.parameters
        return moments

    def _decode_images(self, latents: torch.Tensor) -> torch.Tensor:
        scaled = latents.to(dtype_of(self._model)) / self._model.config.scaling_factor
        images: torch.Tensor = self._model.decode(scaled, return_dict=False)[0]
        return images

    def _compute_finite(self, compute: Callable[[], torch.Tensor]) -> torch.Tensor:
        """What it computes; in full precision, from now on, if the VAE overflows in half.

        Most of SDXL's do. No config tells which: diffusers' `force_upcast` is on for all that do not say no. As in
        the WebUI, half is tried first. All images of the batch are computed again, since the VAE is another now.
        """
        computed = compute()
        half = dtype_of(self._model)
        if computed.isfinite().all():
            return computed
        if half == torch.float32:
            raise CannotRender(_OVERFLOWED)
        self._switch_to_full_precision()
        computed = compute()
        if not computed.isfinite().all():
            self._model.to(half)
            raise CannotRender(_OVERFLOWED)
        self._needs.precisions[self._sha256] = torch.float32
        log.info("A VAE overflows in half precision: it computes in full from now on.", vae=self._sha256[:10])
        return computed

    def _switch_to_full_precision(self) -> None:
        """Full precision, with the bits that the file has: what was rounded to half is lost."""
        free_caches(device_of(self._pipeline).type)
        self._model.to(torch.float32)
        read = self._needs.weights.get(self._sha256)
        try:
            if read is not None:
                self._model.load_state_dict(read())
        except (OSError, SafetensorError, ValueError) as error:
            # Cleared from the cache meanwhile. Its rounded bits do as well, to within a shade.
            log.warning("The file of a VAE is gone; it goes on with what was read.", error=str(error))

    def _compute_sparingly(
        self, what: str, given: torch.Tensor, compute: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """What it computes, with less at a time where memory does not suffice. What was given is kept throughout:

        1. Drop other checkpoints: that enters no pixels, and is no relief.
        2. Free what the allocator keeps: the memory may only be scattered.
        3. One picture at a time.
        4. One tile at a time.

        A batch of the same shape begins where this one ended.
        """
        call_shape = (self._sha256, what, dtype_of(self._model), tuple(given.shape))
        saving: Saving | None = self._needs.savings.get(call_shape, Saving.WHOLE)
        is_freed = False
        while saving is not None:
            computed, reason = self._try_computing(compute, given, saving)
            if computed is not None:
                self._needs.savings[call_shape] = saving
                self._strongest_saving = max(self._strongest_saving, saving)
                return computed
            # Outside the `except` of the try: its traceback kept the tensors that did not fit alive.
            if self._make_room():
                log.info("Memory ran out in the VAE; tried again without other checkpoints.", reason=reason)
                continue
            free_caches(device_of(self._pipeline).type)
            saving = self._next_saving(saving, what, given) if is_freed else saving
            is_freed = self._are_caches_freed = True
            log.warning("Memory ran out in the VAE.", doing=what, then=_name(saving), reason=reason)
        raise DoesNotFit(reason, self.relief)

    def _try_computing(
        self, compute: Callable[[torch.Tensor], torch.Tensor], given: torch.Tensor, saving: Saving
    ) -> tuple[torch.Tensor | None, str]:
        """What it computes; or None and what the allocator said, if memory did not suffice."""
        try:
            with _apply_saving(self._model, saving):
                return compute(given), ""
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return None, str(error).split("\n", 1)[0]

    def _next_saving(self, saving: Saving, what: str, given: torch.Tensor) -> Saving | None:
        """The next saving that saves anything; None where there is none."""
        side = max(given.shape[-2:]) * (1 if what == "encode" else _scale_factor(self._model))
        if saving < Saving.SLICED and len(given) > 1:
            return Saving.SLICED
        return Saving.TILED if saving < Saving.TILED and side > _TILE_SIDE else None


def _name(saving: Saving | None) -> str:
    return "nothing is left" if saving is None else saving.words or "the same once more"


@contextmanager
def _apply_saving(model: Any, saving: Saving) -> Iterator[None]:
    """Let a VAE save memory for one call, and restore it after."""
    own = model.tile_sample_min_size, model.tile_latent_min_size
    if saving >= Saving.SLICED:
        model.enable_slicing()
    if saving >= Saving.TILED:
        model.tile_sample_min_size, model.tile_latent_min_size = _TILE_SIDE, _TILE_SIDE // _scale_factor(model)
        model.enable_tiling()
    try:
        yield
    finally:
        model.disable_tiling()
        model.disable_slicing()
        model.tile_sample_min_size, model.tile_latent_min_size = own


def _scale_factor(model: Any) -> int:
    """The pixels to a latent's side."""
    return int(2 ** (len(model.config.block_out_channels) - 1))
