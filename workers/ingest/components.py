"""One component of a pipeline: what its class expects, what was found for it, and its folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from farm.weights.files import configbounds
from farm.weights.files.configbounds import TITLES
from farm.weights.files.header import BadWeights
from workers.ingest.configs import Config
from workers.ingest.keys import sift
from workers.ingest.naming.published import TensorLocation
from workers.ingest.opening.tensors import LazyTensor, TensorFiles, torch_dtype, write

LIBRARIES: Mapping[str, tuple[str, str]] = {
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
}
_DIFFUSERS = {"unet": UNet2DConditionModel, "vae": AutoencoderKL}
_TRANSFORMERS = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}


@dataclass(frozen=True)
class Component:
    """A component ready to be written: `model` is its class without weights, `parts` are the weights.

    `unknown` are keys that its config came with, and that its class does not know: they are left out.
    """

    name: str
    model: Any
    parts: Mapping[str, LazyTensor]
    unknown: Sequence[str] = ()

    @property
    def torch_dtype(self) -> torch.dtype:
        return torch_dtype(self.parts)


def bare_model(component: str, config: Config) -> Any:
    """The component's class without weights. Raises BadWeights for a config that its class refuses."""
    configbounds.check_config(component, config)
    try:
        with torch.device("meta"):
            if component in _DIFFUSERS:
                return _DIFFUSERS[component].from_config(config)
            return _TRANSFORMERS[component](CLIPTextConfig(**config))
    except (ValueError, TypeError, KeyError, ZeroDivisionError, NotImplementedError, RuntimeError) as error:
        raise BadWeights(f"The {TITLES[component]}'s architecture is not known here: {error}") from error


def gather(
    component: str,
    model: Any,
    locations: Mapping[str, TensorLocation],
    files: TensorFiles,
    names: Mapping[str, str],
) -> Component:
    """Find the tensor for each that the model expects; `names` are the file's own by the keys of the locations.

    Raises BadWeights naming the first that is missing or has another shape.
    """
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    missing = sorted(locations[name].key for name in expected if locations[name].key not in names)
    if missing:
        more = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BadWeights(f"The {TITLES[component]} is incomplete: {missing[0]} is missing{more}.")
    parts = {
        name: _fit(files, names[locations[name].key], locations[name], shape) for name, shape in expected.items()
    }
    return Component(component, model, parts)


def _fit(files: TensorFiles, name: str, location: TensorLocation, expected: tuple[int, ...]) -> LazyTensor:
    """The part of a tensor of the files that the location means, in the shape that is expected."""
    held = files.header.tensors[name].shape
    shape = held
    if location.third is not None and held and held[0] % 3 == 0:
        shape = (held[0] // 3, *held[1:])
    if location.is_transposed:
        shape = held[::-1]
    # Attention in the VAE was a convolution of one pixel once, and is a matrix today.
    is_pixel = shape[: len(expected)] == expected and set(shape[len(expected) :]) == {1}
    if shape != expected and not is_pixel:
        raise BadWeights(f"The tensor {name} has the shape {list(held)}, which does not fit {list(expected)}.")
    return LazyTensor(files.dtype(name), expected, lambda: _cut(files.take(name), location).reshape(expected))


def _cut(tensor: torch.Tensor, location: TensorLocation) -> torch.Tensor:
    if location.third is not None:
        tensor = tensor.chunk(3)[location.third]
    return tensor.T if location.is_transposed else tensor


def write_component(component: Component, folder: Path) -> None:
    """Write config and weights as save_pretrained does, the weights as they were: no type is changed."""
    folder.mkdir(parents=True, exist_ok=True)
    if component.name in _DIFFUSERS:
        component.model.save_config(folder)
        write(folder / "diffusion_pytorch_model.safetensors", component.parts)
        return
    config = component.model.config
    config.architectures = [LIBRARIES[component.name][1]]
    config.dtype = component.torch_dtype
    config.save_pretrained(folder)
    write(folder / "model.safetensors", component.parts)


def write_scheduler(config: Config, folder: Path) -> None:
    """Write the config of a scheduler, with all that its class adds by default. Raises BadWeights."""
    name = str(config.get("_class_name"))
    known = getattr(diffusers, name, None) if name.endswith("Scheduler") else None
    if known is None:
        raise BadWeights(f"The scheduler {name[:60]} is not known here.")
    settings, _ = sift("scheduler", config)
    configbounds.check_config("scheduler", settings)
    try:
        known.from_config(settings).save_pretrained(folder)
    except (ValueError, TypeError, NotImplementedError, RuntimeError) as error:
        raise BadWeights(f"The scheduler's config is not one of a {name}: {error}") from error
