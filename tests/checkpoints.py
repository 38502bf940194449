"""Small checkpoints of every family with random weights: diffusers folders, and single files made of them.

They are small in what can be read off a file (channels, layers, widths) and as published in what cannot
(attention heads, activation, norm groups), so that what reads them must know the published architectures.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from farm.spec.families import FAMILIES, Family
from workers.bench.random_checkpoint import make_tokenizer
from workers.ingest.naming.published import SECTIONS, TensorLocation

_SEEDS = {name: 1000 + number for number, name in enumerate(FAMILIES)}
_TEXT_WIDTH = 64
# As with the published two, the widths of SDXL's text encoders differ.
_SECOND_WIDTH = 128
_TEXT_GAIN = 40
_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
_OLD_VAE_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def small_checkpoint(family: str, folder: Path) -> Path:
    """Write a checkpoint of the family as a diffusers folder, once; the same weights every time."""
    if not (folder / "model_index.json").exists():
        small_pipeline(family).save_pretrained(folder, safe_serialization=True)
    return folder


def small_pipeline(family: str, seed: int | None = None) -> Any:
    """A pipeline of the family. Another seed gives another checkpoint of it."""
    known = FAMILIES[family]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEEDS[family] if seed is None else seed)
        return _make_sdxl(known) if known.is_sdxl else _make_sd(known)


def _make_sd(family: Family) -> StableDiffusionPipeline:
    tokenizer = make_tokenizer()
    if family.base == "sd2":
        tokenizer.pad_token = "!"
    return StableDiffusionPipeline(
        vae=_make_vae(0.18215, 768 if family.base == "sd2" else 512),
        text_encoder=_make_text_encoder(family, tokenizer),
        tokenizer=tokenizer,
        unet=_make_unet(family),
        scheduler=_make_scheduler(family),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _make_sdxl(family: Family) -> StableDiffusionXLPipeline:
    tokenizer, tokenizer_2 = make_tokenizer(), make_tokenizer()
    tokenizer_2.pad_token = "!"
    return StableDiffusionXLPipeline(
        vae=_make_vae(0.13025, 1024),
        text_encoder=_make_text_encoder(family, tokenizer),
        text_encoder_2=CLIPTextModelWithProjection(_text_config(tokenizer_2, "gelu", _SECOND_WIDTH)),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=_make_unet(family),
        scheduler=EulerDiscreteScheduler(**_BETAS, steps_offset=1, timestep_spacing="leading"),
    )


def _make_text_encoder(family: Family, tokenizer: CLIPTokenizer) -> CLIPTextModel:
    activation = "gelu" if family.base == "sd2" else "quick_gelu"
    return CLIPTextModel(_text_config(tokenizer, activation, _TEXT_WIDTH))


def _text_config(tokenizer: CLIPTokenizer, hidden_act: str, width: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=width // 64,
        hidden_act=hidden_act,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )


def _make_unet(family: Family) -> UNet2DConditionModel:
    """Attention at a quarter of the latent's side alone, in the family's heads."""
    unet = UNet2DConditionModel(
        sample_size=family.side // 8,
        in_channels=family.unet_channels,
        out_channels=4,
        block_out_channels=(32, 32, 64),
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=_TEXT_WIDTH + _SECOND_WIDTH if family.is_sdxl else _TEXT_WIDTH,
        attention_head_dim=8 if family.base == "sd15" else (1, 1, 1),
        use_linear_projection=family.base != "sd15",
        **(_size_conditioning() if family.is_sdxl else {}),
    )
    # Untrained attention hardly hears the text; amplified, another prompt is visibly another image.
    for name, weight in unet.named_parameters():
        if name.endswith("attn2.to_out.0.weight"):
            weight.data *= _TEXT_GAIN
    return unet


def _size_conditioning() -> dict[str, Any]:
    return {
        "transformer_layers_per_block": (1, 1, 2),
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": _SECOND_WIDTH + 6 * 256,
    }


def _make_vae(scaling_factor: float, side: int) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(32, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        sample_size=side,
        scaling_factor=scaling_factor,
    )


def _make_scheduler(family: Family) -> DDIMScheduler | PNDMScheduler:
    if family.prediction_type == "v_prediction":
        return DDIMScheduler(
            **_BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1, prediction_type="v_prediction"
        )
    return PNDMScheduler(**_BETAS, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1)


def export_single_file(
    pipeline_folder: Path,
    path: Path,
    *,
    half: bool = False,
    old_vae_names: bool = False,
    old_text_names: bool = False,
    as_ckpt: bool = False,
    drop: tuple[str, ...] = (),
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write the folder's weights as one file, in the names of CompVis and Stability.

    `old_vae_names` leaves the prefix `first_stage_model.` away, as VAE files do; `old_text_names` leaves
    `text_model.` out of the text encoder's names, as some mergers do; keys that begin with one of `drop` are
    left out.
    """
    tensors = single_file_tensors(pipeline_folder)
    if half:
        tensors = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()}
    if old_vae_names:
        tensors = {key.removeprefix("first_stage_model."): tensor for key, tensor in tensors.items()}
    if old_text_names:
        tensors = {key.replace("transformer.text_model.", "transformer."): t for key, t in tensors.items()}
    kept = {key: tensor.contiguous() for key, tensor in tensors.items() if not key.startswith(drop or "\0")}
    path.parent.mkdir(parents=True, exist_ok=True)
    if as_ckpt:
        torch.save({"state_dict": kept, "global_step": 840_000}, path)
    else:
        save_file(kept, path, metadata=dict(metadata or {"format": "pt"}))
    return path


def single_file_tensors(pipeline_folder: Path) -> dict[str, torch.Tensor]:
    """The folder's weights under the names that they have in a single file."""
    tensors: dict[str, torch.Tensor] = {}
    for component, section in SECTIONS[_base_of(pipeline_folder)].items():
        weights = component_tensors(pipeline_folder / component)
        places = section.scheme(weights)
        tensors |= {
            section.prefix + key: tensor
            for key, tensor in _as_published({places[name]: tensor for name, tensor in weights.items()}).items()
        }
    return tensors | _unread_tensors(tensors)


def component_tensors(folder: Path) -> dict[str, torch.Tensor]:
    file = next(folder.glob("*.safetensors"))
    return load_file(file)


def _base_of(folder: Path) -> str:
    if (folder / "text_encoder_2").is_dir():
        return "sdxl"
    config = json.loads((folder / "text_encoder" / "config.json").read_text())
    return "sd2" if config["hidden_act"] == "gelu" else "sd15"


def _as_published(tensors: Mapping[TensorLocation, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Query, key and value stacked, projections transposed, attention of the VAE as convolutions."""
    published: dict[str, torch.Tensor] = {}
    stacks: dict[str, list[torch.Tensor | None]] = {}
    for place, tensor in tensors.items():
        if place.third is not None:
            stacks.setdefault(place.key, [None] * 3)[place.third] = tensor
        elif ".mid.attn_1." in place.key and tensor.ndim == 2:
            published[place.key] = tensor[:, :, None, None]
        else:
            published[place.key] = tensor.T if place.is_transposed else tensor
    return published | {key: torch.cat([t for t in parts if t is not None]) for key, parts in stacks.items()}


def _unread_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What published files hold besides: schedules, positions, and SD2's last layer of text, which nobody reads."""
    unread = {"alphas_cumprod": torch.linspace(0.999, 0.005, 1000)}
    last = "cond_stage_model.model.transformer.resblocks.{}."
    if last.format(1) + "ln_1.weight" in tensors:
        unread |= {
            key.replace(last.format(1), last.format(2)): torch.ones_like(tensor)
            for key, tensor in tensors.items()
            if key.startswith(last.format(1))
        }
        unread["cond_stage_model.model.text_projection"] = torch.eye(_TEXT_WIDTH)
        unread["cond_stage_model.model.logit_scale"] = torch.tensor(4.6)
    if "cond_stage_model.transformer.text_model.final_layer_norm.weight" in tensors:
        unread["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    return unread
