"""Recognises what a file of weights is, by the names and shapes of its tensors alone."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from farm.weights.files.header import BadWeights, Header, Tensor

SniffedKind = Literal["checkpoint", "vae", "lora", "embedding", "unet-only", "unknown"]

_UNET, _VAE = "model.diffusion_model.", "first_stage_model."
_RENDERED = "this farm renders SD1, SD2 and SDXL"

# Begin of a name, after the prefix of the UNet, and whose weights they are. The first that is found counts.
_FOREIGN_ARCHITECTURES = (
    ("double_blocks.0.img_attn.", "Flux weights"),
    ("joint_blocks.", "Stable Diffusion 3 weights"),
    ("clip_txt_mapper.", "Stable Cascade weights"),
    ("clip_txt_pooled_mapper.", "Stable Cascade weights"),
    ("double_layers.", "AuraFlow weights"),
    ("single_transformer_blocks.", "weights of a transformer"),
    ("transformer_blocks.", "weights of a transformer"),
    ("cap_embedder.", "Lumina weights"),
    ("control_model.", "a ControlNet"),
    ("controlnet_cond_embedding.", "a ControlNet"),
    ("input_hint_block.", "a ControlNet"),
    ("motion_modules.", "a motion module"),
    ("motion_module.", "a motion module"),
)
_UNUSUAL_INPUTS = {5: "a depth-to-image model", 7: "an upscaler", 8: "an InstructPix2Pix model"}
_LORA = re.compile(r"^lora_(unet|te\d?)_|\.lora_[AB]\b|\.lora[._](up|down)\.|\.processor\..*_lora\.")
_OTHER_ADAPTERS = re.compile(r"\.(hada_w1_a|lokr_w1|lokr_w1_a|oft_blocks|oft_diag|a1\.weight|diff)$")
_EMBEDDINGS = ("emb_params", "clip_l", "clip_g")
_BASE_BY_TEXT_WIDTH = {768: "sd15", 1024: "sd2", 2048: "sdxl"}
_UNKNOWN_PREDICTION = (
    "The file does not show whether it predicts noise or velocity: noise is assumed; if its images are brown "
    "noise, add it with --family sd2-v."
)
_V_NAME = re.compile(r"768|v[-_]?pred", re.IGNORECASE)


@dataclass(frozen=True)
class Sniffed:
    """What a file is. `family` is None where the file does not show it; `lacks` names missing components."""

    kind: SniffedKind
    family: str | None = None
    prediction_type: str | None = None
    lacks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def sniff(header: Header, file_name: str = "") -> Sniffed:
    """Recognise the file; its name counts where SD2's two trainings have to be distinguished.

    Raises BadWeights for known weights that are not supported: another architecture, SDXL's refiner.
    """
    names = header.tensors
    if any(map(_LORA.search, names)):
        return Sniffed("lora", _find_lora_base(names))
    if any(map(_OTHER_ADAPTERS.search, names)) and not _has(names, _UNET):
        raise BadWeights("It holds a LyCORIS network (LoHa, LoKr or the like); this farm takes only LoRAs.")
    _refuse_foreign(names)
    if _has(names, _UNET):
        return _sniff_checkpoint(header, file_name)
    if _has(names, "input_blocks.") or _has(names, "down_blocks."):
        return Sniffed("unet-only", notes=("It holds a UNet alone.",))
    if _has(names, _VAE) or _has(names, "decoder.conv_in."):
        return _sniff_vae(names)
    return _sniff_embedding(names)


def _has(names: Collection[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def _refuse_foreign(names: Collection[str]) -> None:
    bare = {name.removeprefix(_UNET) for name in names}
    for beginning, what in _FOREIGN_ARCHITECTURES:
        if _has(bare, beginning):
            raise BadWeights(f"It holds {what}; {_RENDERED}.")
    if _has(names, "conditioner.embedders.0.model.") and not _has(names, "conditioner.embedders.1."):
        raise BadWeights("It holds SDXL's refiner, which renders nothing by itself; add the base model.")
    if _has(names, _UNET) and not _has(names, f"{_UNET}input_blocks."):
        raise BadWeights(f"It holds weights of an unknown architecture; {_RENDERED}.")


def _sniff_checkpoint(header: Header, file_name: str) -> Sniffed:
    names = header.tensors
    base = _find_base(names)
    lacks = _find_lacking(names, base)
    if {"vae", "text encoder"} <= set(lacks):
        return Sniffed("unet-only", base, lacks=lacks, notes=("It holds a UNet alone.",))
    channels = _count_channels(names)
    if channels == 9:
        return Sniffed("checkpoint", f"{base}-inpaint", "epsilon", lacks)
    if channels != 4:
        what = _UNUSUAL_INPUTS.get(channels, "a model of another kind")
        raise BadWeights(f"It holds {what}: its UNet takes {channels} channels, and only 4 or 9 are supported.")
    prediction, notes = _find_prediction_type(header, base, file_name)
    family = "sd2-v" if (base, prediction) == ("sd2", "v_prediction") else base
    return Sniffed("checkpoint", family, prediction, lacks, notes)


def _find_base(names: Mapping[str, Tensor]) -> str:
    """By the text encoder, or where it is missing by what the UNet expects of it."""
    if _has(names, "conditioner.embedders.") or _has(names, f"{_UNET}label_emb."):
        return "sdxl"
    if _has(names, "cond_stage_model.model."):
        return "sd2"
    attention = names.get(f"{_UNET}middle_block.1.transformer_blocks.0.attn2.to_k.weight")
    is_wide = (
        attention is not None and attention.shape[-1] == 1024 and not _has(names, "cond_stage_model.transformer.")
    )
    return "sd2" if is_wide else "sd15"


def _find_lacking(names: Collection[str], base: str) -> tuple[str, ...]:
    wanted = {"vae": (_VAE, "decoder.conv_in."), "text encoder": ("cond_stage_model.",)}
    if base == "sdxl":
        wanted["text encoder"] = ("conditioner.embedders.0.",)
        wanted["second text encoder"] = ("conditioner.embedders.1.",)
    return tuple(part for part, prefixes in wanted.items() if not any(_has(names, prefix) for prefix in prefixes))


def _count_channels(names: Mapping[str, Tensor]) -> int:
    key = f"{_UNET}input_blocks.0.0.weight"
    if key not in names or len(names[key].shape) != 4:
        raise BadWeights(f"The tensor {key} is missing or has another shape.")
    return names[key].shape[1]


def _find_prediction_type(header: Header, base: str, file_name: str) -> tuple[str, tuple[str, ...]]:
    """What the UNet predicts, and the warnings about it. The weights themselves do not show it."""
    declared = header.metadata.get("modelspec.prediction_type", "").lower()
    architecture = header.metadata.get("modelspec.architecture", "").lower()
    if declared.startswith("v") or "v_pred" in header.tensors or "768-v" in architecture:
        return "v_prediction", ()
    if declared.startswith("eps") or base != "sd2":
        return "epsilon", ()
    if _V_NAME.search(file_name):
        return "v_prediction", (
            f"{file_name} is taken for v-prediction because of its name; if it is not, add it with --family sd2.",
        )
    return "epsilon", (_UNKNOWN_PREDICTION,)


def _sniff_vae(names: Mapping[str, Tensor]) -> Sniffed:
    """A VAE's shapes are the same in all families; its latents are not."""
    first = names.get(f"{_VAE}decoder.conv_in.weight") or names.get("decoder.conv_in.weight")
    if first is None or len(first.shape) != 4:
        return Sniffed("unknown")
    if first.shape[1] != 4:
        raise BadWeights(f"It holds a VAE of {first.shape[1]} latent channels; those of SD1, SD2 and SDXL have 4.")
    return Sniffed("vae")


def _sniff_embedding(names: Mapping[str, Tensor]) -> Sniffed:
    named = [name for name in names if name in _EMBEDDINGS or name.startswith("string_to_param.")]
    if not named and len(names) == 1 and len(next(iter(names.values())).shape) <= 2:
        named = list(names)
    if not named:
        return Sniffed("unknown")
    if "clip_g" in named:
        return Sniffed("embedding", "sdxl")
    shape = names[named[0]].shape
    return Sniffed("embedding", _BASE_BY_TEXT_WIDTH.get(shape[-1]) if shape else None)


def _find_lora_base(names: Mapping[str, Tensor]) -> str | None:
    """By the width of the text embeddings that its UNet layers take; a second text encoder means SDXL."""
    if _has(names, "lora_te2_") or _has(names, "text_encoder_2."):
        return "sdxl"
    for name, tensor in names.items():
        is_down = name.endswith((".lora_down.weight", ".lora_A.weight", ".lora.down.weight", "_lora.down.weight"))
        if "attn2" in name and "to_k" in name and is_down:
            return _BASE_BY_TEXT_WIDTH.get(tensor.shape[-1])
    return None
