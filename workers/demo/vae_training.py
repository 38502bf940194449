"""Trains the VAE of the demo checkpoint, and later its decoder by itself."""

from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import torch
from diffusers import AutoencoderKL

from workers.demo.architecture import make_vae
from workers.demo.drawing import draw
from workers.demo.scenes import invent
from workers.demo.stages import TrainingStage, learn, spread_phases
from workers.demo.trainingplan import TrainingPlan, VaePhase


def train_vae(folder: Path, plan: TrainingPlan) -> AutoencoderKL:
    """Learn to reconstruct pieces of scenes; the latents are drawn towards a standard normal distribution."""
    torch.manual_seed(1)
    vae = make_vae().to(memory_format=torch.channels_last)
    with torch.no_grad():
        # Nearly without noise at first: under noise as strong as the latents nothing is ever learnt.
        vae.quant_conv.bias[4:] = -6.0
    stage = TrainingStage("vae", plan.vae_rate, spread_phases(plan.vae), plan.save_every)
    learn(folder, stage, vae, partial(_vae_loss, vae, plan))
    return vae.eval().requires_grad_(False)


def _vae_loss(vae: AutoencoderKL, plan: TrainingPlan, phase: VaePhase, step: int) -> torch.Tensor:
    pixels = _draw_pieces(phase, Random(f"vae/{step}"))
    with torch.autocast("cpu", torch.bfloat16):
        held = vae.encode(pixels).latent_dist
        mean, logvar = held.mean.float(), held.logvar.float()
        latents = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        pictures = vae.decode(latents).sample
    kl: torch.Tensor = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    return _reconstruction_loss(pictures, pixels) + plan.kl_weight * kl


def refine_decoder(folder: Path, plan: TrainingPlan, vae: AutoencoderKL) -> None:
    """Train what decodes latents, in place, on latents as the VAE encodes them."""
    learning = torch.nn.ModuleList([vae.post_quant_conv, vae.decoder]).requires_grad_(True)
    stage = TrainingStage("decoder", plan.decoder_rate, spread_phases(plan.decoder), plan.save_every)
    learn(folder, stage, learning, partial(_decoder_loss, vae))
    learning.requires_grad_(False)


def _decoder_loss(vae: AutoencoderKL, phase: VaePhase, step: int) -> torch.Tensor:
    pixels = _draw_pieces(phase, Random(f"decoder/{step}"))
    with torch.autocast("cpu", torch.bfloat16):
        return _reconstruction_loss(vae.decode(vae.encode(pixels).latent_dist.sample()).sample, pixels)


def _reconstruction_loss(pictures: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    difference = pictures.float() - pixels
    return difference.abs().mean() + difference.square().mean()


def _draw_pieces(phase: VaePhase, random: Random) -> torch.Tensor:
    """Pieces of scenes, (images, 3, side, side) from -1 to 1."""
    pieces = []
    for _ in range(phase.images):
        left, top = (random.randrange(phase.drawn - phase.side + 1) for _ in range(2))
        picture = draw(invent(random), (phase.drawn, phase.drawn))
        pieces.append(np.asarray(picture.crop((left, top, left + phase.side, top + phase.side))))
    return pictures_to_pixels(pieces).contiguous(memory_format=torch.channels_last)


def pictures_to_pixels(pictures: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
