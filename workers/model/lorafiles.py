"""LoRA files: which module of a pipeline each pair of factors belongs to, in the names of every trainer.

kohya's trainer and the WebUI write `lora_unet_down_blocks_0_..._to_q.lora_down.weight` with an `alpha` beside
it (for SDXL in the block names of Stability's code), peft `unet.down_blocks.0...to_q.lora_A.weight`, and older
diffusers `unet....processor.to_q_lora.down.weight`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from farm.errors import CannotRender, RenderError
from workers.ingest.naming import published

_COMPONENTS = {
    "lora_unet_": "unet",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "unet.": "unet",
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
}
_ROLES = {
    "lora_down": "down",
    "lora_up": "up",
    "lora_mid": "mid",
    "lora_A": "down",
    "lora_B": "up",
    "lora.down": "down",
    "lora.up": "up",
    "lora_linear_layer.down": "down",
    "lora_linear_layer.up": "up",
}
_KEY = re.compile(rf"(.+)\.({'|'.join(map(re.escape, _ROLES))})(?:\.default)?\.weight")
_ALPHA = ".alpha"
_OLD_PROCESSOR = re.compile(r"(?:\.processor)?\.to_(q|k|v|out)_lora\.")
_OLD_PROJECTIONS = {"q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"}
_TEXT_PROJECTIONS = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out.0": "out_proj"}
_OTHER_KINDS = {
    "hada_": "a LoHa",
    "lokr_": "a LoKr",
    "dora_scale": "a DoRA",
    "oft_": "an OFT",
    "diff": "a full difference",
}


@dataclass(frozen=True)
class Factors:
    """What is added to a module's weight: `up` x `down`, the trainer's scale multiplied into `up`."""

    down: torch.Tensor
    up: torch.Tensor

    @property
    def nbytes(self) -> int:
        return self.down.nbytes + self.up.nbytes


@dataclass
class _Parts:
    """The tensors of one module as they lie in the file."""

    roles: dict[str, torch.Tensor] = field(default_factory=dict)
    alpha: float | None = None


LoraLayers = Mapping[str, Mapping[str, Factors]]
"""By component of the pipeline and name of the module."""


def read_lora(path: Path, name: str, components: Mapping[str, torch.nn.Module]) -> LoraLayers:
    """The factors of each module, in the module's dtype and on its device.

    Raises CannotRender if anything in the file does not fit the components, so that no part is left away in
    silence, and RenderError if it cannot be read.
    """
    modules = {component: modules_of(model) for component, model in components.items()}
    aliases = {component: _aliases(component, known) for component, known in modules.items()}
    layers: dict[str, dict[str, Factors]] = {component: {} for component in components}
    for (component, written), parts in _parts_by_module(path, name).items():
        module_name = aliases.get(component, {}).get(_flat(written))
        if module_name is None:
            raise CannotRender(f"LoRA {name!r} does not fit this checkpoint, which has no {component} {written}.")
        module = modules[component][module_name]
        layers[component][module_name] = _factors(parts, module, f"{component} {written}", name)
    return layers


def modules_of(model: torch.nn.Module) -> dict[str, Any]:
    """The modules that a LoRA can be put on, by their names without LoRAs."""
    return {
        name.replace(".base_layer", ""): module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d) and ".lora_" not in name
    }


def _aliases(component: str, modules: Mapping[str, Any]) -> dict[str, str]:
    """The module's name for each name that a trainer may have written, without dots."""
    aliases = {_flat(name): name for name in modules}
    if component == "unet":
        places = published.unet(f"{name}.weight" for name in modules)
        aliases |= {
            _flat(place.key.removesuffix(".weight")): name.removesuffix(".weight") for name, place in places.items()
        }
    return aliases


def _flat(name: str) -> str:
    return name.replace(".", "_").removeprefix("text_model_")


def _parts_by_module(path: Path, name: str) -> dict[tuple[str, str], _Parts]:
    found: dict[tuple[str, str], _Parts] = {}
    try:
        with safe_open(path, "pt") as file:
            alphas = _Alphas.of(file.metadata() or {})
            for key in file.keys():  # noqa: SIM118 - the file is no dict
                _sort_in(found, key, file.get_tensor(key), name)
    except (OSError, SafetensorError) as error:
        raise RenderError(f"LoRA {name!r} does not load: {error}") from error
    if not found:
        raise CannotRender(f"LoRA {name!r} is empty.")
    for (component, written), parts in found.items():
        parts.alpha = alphas.of_module(component, written) if parts.alpha is None else parts.alpha
    return found


def _sort_in(found: dict[tuple[str, str], _Parts], key: str, tensor: torch.Tensor, name: str) -> None:
    component, inner = _split(key.removeprefix("base_model.model."))
    inner = _modern(component, inner)
    if match := _KEY.fullmatch(inner):
        found.setdefault((component, match[1]), _Parts()).roles[_ROLES[match[2]]] = tensor
    elif inner.endswith(_ALPHA):
        found.setdefault((component, inner.removesuffix(_ALPHA)), _Parts()).alpha = float(tensor)
    else:
        kind = next((kind for mark, kind in _OTHER_KINDS.items() if mark in inner), None)
        what = f"is {kind}, which this farm does not render" if kind else f"holds {key}, which is no part of a LoRA"
        raise CannotRender(f"LoRA {name!r} {what}.")


def _split(key: str) -> tuple[str, str]:
    """The component and the rest of the key; what names none is the UNet's."""
    prefix = next((prefix for prefix in _COMPONENTS if key.startswith(prefix)), "")
    return _COMPONENTS.get(prefix, "unet"), key.removeprefix(prefix)


def _modern(component: str, inner: str) -> str:
    def today(match: re.Match[str]) -> str:
        projection = _OLD_PROJECTIONS[match[1]]
        return f".{projection if component == 'unet' else _TEXT_PROJECTIONS[projection]}.lora."

    return _OLD_PROCESSOR.sub(today, inner)


def _factors(parts: _Parts, module: Any, place: str, name: str) -> Factors:
    if not {"down", "up"} <= parts.roles.keys():
        raise CannotRender(f"LoRA {name!r} is not whole: a factor of {place} is missing.")
    down, up = parts.roles["down"].float(), parts.roles["up"].float()
    if "mid" in parts.roles:
        # A convolution in three factors: the middle one holds the kernel.
        down = torch.einsum("rshw,si->rihw", parts.roles["mid"].float(), down.flatten(1))
    rank, weight = len(down), module.weight
    if parts.alpha is not None:
        up = up * (parts.alpha / rank)
    wanted = (rank, *weight.shape[1:]), (len(weight), rank, *[1] * (weight.ndim - 2))
    for factor, shape in zip((down, up), wanted, strict=True):
        # A linear map may be written as a convolution of one pixel, and the other way round.
        if factor.numel() != torch.Size(shape).numel() or factor.shape[:2] != shape[:2]:
            raise CannotRender(
                f"LoRA {name!r} does not fit this checkpoint: {place} is {tuple(weight.shape)} here, "
                f"and the LoRA has {tuple(parts.roles['up'].shape)} x {tuple(parts.roles['down'].shape)}."
            )
    return Factors(down.reshape(wanted[0]).to(weight), up.reshape(wanted[1]).to(weight))


@dataclass(frozen=True)
class _Alphas:
    """The alphas that diffusers writes into a file's metadata, by component."""

    by_component: Mapping[str, tuple[float, Mapping[str, float]]]

    @classmethod
    def of(cls, metadata: Mapping[str, str]) -> "_Alphas":
        try:
            config: dict[str, Any] = json.loads(metadata.get("lora_adapter_metadata", "{}"))
            return cls(dict(_read_alphas(config)))
        except (ValueError, TypeError, AttributeError):
            # Whatever somebody else wrote there: the tensors are what counts.
            return cls({})

    def of_module(self, component: str, written: str) -> float | None:
        """The module's alpha; None where the file says none, which means the rank."""
        alpha, exceptions = self.by_component.get(component, (None, {}))
        return next((value for name, value in exceptions.items() if written.endswith(name)), alpha)


def _read_alphas(config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[float, Mapping[str, float]]]]:
    for component in ("unet", "text_encoder", "text_encoder_2"):
        if f"{component}.lora_alpha" in config:
            exceptions = config.get(f"{component}.alpha_pattern") or {}
            pattern = {str(name).strip("^$"): float(value) for name, value in exceptions.items()}
            yield component, (float(config[f"{component}.lora_alpha"]), pattern)
