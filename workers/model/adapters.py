"""Applies what a spec adds to a checkpoint, LoRAs and another VAE, to the loaded pipeline for one render."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderKL
from safetensors import SafetensorError
from safetensors.torch import load_file

from farm.errors import CannotRender, RenderError
from farm.spec.image import AddonRef, ImageSpec
from workers.compute.placement import device_of, dtype_of
from workers.model.resident import Resident
from workers.model.weights import Weights

# torch lists every tensor that is missing.
_REASON_LENGTH = 200


@contextmanager
def apply_addons(resident: Resident, spec: ImageSpec, weights: Weights) -> Iterator[None]:
    """Apply the spec's LoRAs and VAE; after it the pipeline renders bit for bit as before, whatever was raised.

    Raises CannotRender for what does not fit the checkpoint, RenderError for what is not found here.
    """
    with _swap_vae(resident, spec.vae, weights), resident.loras.apply(spec.loras, weights):
        yield


@contextmanager
def _swap_vae(resident: Resident, ref: AddonRef | None, weights: Weights) -> Iterator[None]:
    if ref is None:
        yield
        return
    pipeline, own = resident.pipeline, resident.pipeline.vae
    pipeline.vae = _take_vae(resident, ref, weights)
    try:
        yield
    finally:
        pipeline.vae = own


def _take_vae(resident: Resident, ref: AddonRef, weights: Weights) -> Any:
    """The VAE as it was kept; read anew where it was found to overflow beside another checkpoint meanwhile."""
    vae = resident.vaes.take(ref.sha256, lambda: _read_vae(resident, ref, weights))
    if dtype_of(vae) == _vae_dtype(resident, ref):
        return vae
    resident.vaes.drop(ref.sha256)
    return resident.vaes.take(ref.sha256, lambda: _read_vae(resident, ref, weights))


def _vae_dtype(resident: Resident, ref: AddonRef) -> torch.dtype:
    """Its own precision if it needs one, and not the checkpoint's VAE's: another one may overflow, or not."""
    return resident.vae_needs.precisions.get(ref.sha256, dtype_of(resident.pipeline.unet))


def _read_vae(resident: Resident, ref: AddonRef, weights: Weights) -> Any:
    """A VAE of the checkpoint's own architecture and scaling, with the file's weights."""
    own = resident.pipeline.vae
    path = weights.file_of(ref.sha256)
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RenderError(f"VAE {ref.name!r} does not load: {error}") from error
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(own.config)
    device = device_of(resident.pipeline)
    dtype = _vae_dtype(resident, ref)
    placed = {key: tensor.to(device, dtype) for key, tensor in tensors.items()}
    try:
        vae.load_state_dict(placed, assign=True)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()[:_REASON_LENGTH]
        raise CannotRender(
            f"VAE {ref.name!r} does not fit checkpoint {resident.checkpoint.name!r}: {reason}"
        ) from error
    resident.vae_needs.weights[ref.sha256] = partial(load_file, path)
    return vae.eval().requires_grad_(False)
