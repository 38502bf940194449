"""Small LoRAs for small checkpoints, with random factors, in the names of each trainer."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from workers.ingest.naming import published

_ENDS = ("attn1.to_q", "attn2.to_k", "attn2.to_out.0", "proj_in", "resnets.0.conv1", "self_attn.q_proj", "mlp.fc1")
_COMPONENTS = ("unet", "text_encoder", "text_encoder_2")

Factors = tuple[torch.Tensor, torch.Tensor, float]
"""down, up and alpha."""


def random_factors(pipeline: Any, seed: int, size: float = 0.5) -> dict[str, dict[str, Factors]]:
    """Factors for some modules of each component: linear maps and convolutions, of differing ranks."""
    generator = torch.Generator().manual_seed(seed)
    return {
        component: {
            name: _factors(module.weight, 2 + number % 3, size, generator)
            for number, (name, module) in enumerate(_modules(getattr(pipeline, component)))
        }
        for component in _COMPONENTS
        if getattr(pipeline, component, None) is not None
    }


def _modules(model: torch.nn.Module) -> list[tuple[str, Any]]:
    return [(name, module) for name, module in model.named_modules() if name.endswith(_ENDS)]


def _factors(weight: torch.Tensor, rank: int, size: float, generator: torch.Generator) -> Factors:
    down = torch.randn(rank, *weight.shape[1:], generator=generator) * size
    up = torch.randn(weight.shape[0], rank, *[1] * (weight.ndim - 2), generator=generator) * size
    return down, up, rank / 2


def save_kohya(path: Path, factors: Mapping[str, Mapping[str, Factors]]) -> str:
    """As kohya's trainer names them; for SDXL the UNet's blocks as Stability's code does. Returns the sha256."""
    is_sdxl = "text_encoder_2" in factors
    prefixes = {"unet": "unet", "text_encoder": "te1" if is_sdxl else "te", "text_encoder_2": "te2"}
    tensors: dict[str, torch.Tensor] = {}
    for component, layers in factors.items():
        rename = _stability_names(factors["unet"]) if is_sdxl and component == "unet" else _text_names(component)
        for name, (down, up, alpha) in layers.items():
            stem = f"lora_{prefixes[component]}_{rename(name).replace('.', '_')}"
            tensors |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
            tensors[f"{stem}.alpha"] = torch.tensor(alpha)
    return save(path, tensors)


def save_peft(path: Path, factors: Mapping[str, Mapping[str, Factors]]) -> str:
    """As peft and diffusers name them, which know no alpha here: it is in the upper factor. Returns the sha256."""
    tensors: dict[str, torch.Tensor] = {}
    for component, layers in factors.items():
        for name, (down, up, alpha) in layers.items():
            stem = f"{component}.{_text_names(component)(name)}"
            tensors |= {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up * (alpha / len(down))}
    return save(path, tensors)


def save_old_diffusers(path: Path, factors: Mapping[str, Mapping[str, Factors]]) -> str:
    """As diffusers named attention's LoRAs in 2023; other modules are left out. Returns the sha256."""
    names = {"to_q": "to_q_lora", "to_out.0": "to_out_lora"}
    tensors: dict[str, torch.Tensor] = {}
    for name, (down, up, alpha) in factors["unet"].items():
        for end, old in names.items():
            if name.endswith(f".{end}"):
                stem = f"unet.{name.removesuffix(end)}processor.{old}"
                tensors |= {f"{stem}.down.weight": down, f"{stem}.up.weight": up * (alpha / len(down))}
    return save(path, tensors)


def save(path: Path, tensors: Mapping[str, torch.Tensor]) -> str:
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def merged(pipeline: Any, factors: Mapping[str, Mapping[str, Factors]], weights: Sequence[float]) -> None:
    """Add the factors into the weights of the UNet and of the text encoders, each at its weight."""
    for component, layers in factors.items():
        weight = weights[0] if component == "unet" else weights[1]
        for name, (down, up, alpha) in layers.items():
            module = getattr(pipeline, component).get_submodule(name)
            product = (up.flatten(1) @ down.flatten(1)).reshape(module.weight.shape)
            module.weight.data += product * (weight * alpha / len(down))


def _text_names(component: str) -> Callable[[str], str]:
    """Trainers write the text encoder's parts within `text_model`, whatever the release of transformers."""
    if component == "unet":
        return lambda name: name
    return lambda name: f"text_model.{name.removeprefix('text_model.')}"


def _stability_names(layers: Mapping[str, Factors]) -> Callable[[str], str]:
    # Two residual blocks a level: the small checkpoints have one, and the count is read off the names.
    places = published.unet([*(f"{name}.weight" for name in layers)])
    return lambda name: places[f"{name}.weight"].key.removesuffix(".weight")
