"""A small Stable Diffusion with random weights, built from config in seconds: it makes noise, not pictures.

It has every part of a real checkpoint and takes the same path through the farm, so that a farm can be
tried where no weights can be downloaded. `python -m workers.bench.random_checkpoint FOLDER [SEED [SCALE]]` writes
one; another seed gives other weights, and the UNet's width is multiplied by the scale.
"""

import shutil
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

_SEED = 20_220_822
_TEXT_WIDTH = 64
_TEXT_GAIN = 40
_START, _END = "<|startoftext|>", "<|endoftext|>"


def build(folder: Path, seed: int = _SEED, scale: int = 1) -> None:
    """Write the checkpoint to a folder, whole or not at all; the same weights every time."""
    partial = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    make_pipeline(seed, scale).save_pretrained(partial, safe_serialization=True)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def make_pipeline(seed: int = _SEED, scale: int = 1) -> StableDiffusionPipeline:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tokenizer = make_tokenizer()
        return StableDiffusionPipeline(
            vae=_make_vae(),
            text_encoder=_make_text_encoder(tokenizer),
            tokenizer=tokenizer,
            unet=_make_unet(scale),
            scheduler=_make_scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )


def make_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer with a vocabulary of single bytes and no merges: a token a letter."""
    letters = sorted(ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), _START, _END]
    vocab = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)


def _make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=_TEXT_WIDTH,
            intermediate_size=4 * _TEXT_WIDTH,
            projection_dim=_TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=2,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def _make_unet(scale: int) -> UNet2DConditionModel:
    """Attention at a quarter of the latent's side alone: 512 px take under a second on a CPU."""
    unet = UNet2DConditionModel(
        sample_size=64,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32 * scale, 64 * scale, 96 * scale),
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=_TEXT_WIDTH,
        attention_head_dim=1,
        norm_num_groups=16,
    )
    # Untrained attention to the text is weak; amplified, another prompt is visibly another image.
    for name, weight in unet.named_parameters():
        if name.endswith("attn2.to_out.0.weight"):
            weight.data *= _TEXT_GAIN
    return unet


def _make_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 32, 32, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
    )


def _make_scheduler() -> DDIMScheduler:
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


if __name__ == "__main__":
    build(Path(sys.argv[1]), *map(int, sys.argv[2:4]))
