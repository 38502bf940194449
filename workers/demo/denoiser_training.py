"""Trains the text encoder and the UNet of the demo checkpoint together to predict the noise in latents."""

from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import torch
from diffusers import DDIMScheduler
from diffusers.models.attention_processor import AttnProcessor
from transformers import CLIPTokenizer

from workers.demo.architecture import NOISE_SCHEDULE, make_text_encoder, make_unet
from workers.demo.drawing import Size
from workers.demo.latentpools import LatentPool
from workers.demo.stages import TrainingStage, WeightAverage, learn, spread_phases
from workers.demo.tokenizer import make_tokenizer
from workers.demo.trainingplan import DenoiserPhase, TrainingPlan

_GAMMA = 5.0
"""Times with less noise than this signal-to-noise ratio count less (Hang et al., 2303.09556): they teach little."""
_DEEP = 0.1
"""And those with far more noise count more: there the caption decides what stands where, in which colour."""


@dataclass
class Denoiser:
    """What learns together: the text encoder and the UNet."""

    tokenizer: CLIPTokenizer
    parts: torch.nn.ModuleDict

    @classmethod
    def new(cls) -> "Denoiser":
        torch.manual_seed(2)
        tokenizer = make_tokenizer()
        text, unet = make_text_encoder(tokenizer), make_unet()
        # Attention as it is written: on a CPU the way back through the fused one takes a third of a step.
        text.set_attn_implementation("eager")
        unet.set_attn_processor(AttnProcessor())
        return cls(tokenizer, torch.nn.ModuleDict({"text": text, "unet": unet}))

    def predict(self, noisy: torch.Tensor, times: torch.Tensor, captions: list[str]) -> torch.Tensor:
        """The noise in noisy latents, of their shape; `times` (images) are from 0 to 999."""
        ids = self.tokenizer(captions, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
        text = self.parts["text"](ids.input_ids)[0]
        noise: torch.Tensor = self.parts["unet"](noisy, times, text).sample
        return noise


def train_denoiser(folder: Path, plan: TrainingPlan, pools: dict[Size, LatentPool]) -> Denoiser:
    """Learn to predict noise; what is returned is the average over the course of training."""
    denoiser = Denoiser.new()
    averaged = deepcopy(denoiser.parts).requires_grad_(False)
    stage = TrainingStage("denoiser", plan.rate, spread_phases(plan.phases), plan.save_every)
    loss_of = partial(_denoiser_loss, denoiser, pools, plan)
    learn(folder, stage, denoiser.parts, loss_of, WeightAverage(averaged, plan.average))
    return Denoiser(denoiser.tokenizer, averaged.eval())


@dataclass(frozen=True)
class Examples:
    """Latents (images, 4, height, width) with a caption each, and the noise and the times (images) to mix in."""

    latents: torch.Tensor
    captions: list[str]
    noise: torch.Tensor
    times: torch.Tensor


def _draw_examples(phase: DenoiserPhase, pools: dict[Size, LatentPool], plan: TrainingPlan, step: int) -> Examples:
    random, generator = Random(f"denoiser/{step}"), torch.Generator().manual_seed(step)
    bucket = random.choices(phase.buckets, [bucket.share for bucket in phase.buckets])[0]
    pool = pools[bucket.size]
    numbers = [random.randrange(len(pool.latents)) for _ in range(bucket.images)]
    latents = pool.latents[numbers].float()
    captions = [text if random.random() >= plan.unprompted else "" for text in pool.captions(numbers, random)]
    noise = torch.randn(latents.shape, generator=generator)
    times = _draw_timesteps(bucket.images, generator)
    shift = phase.offset * torch.randn((bucket.images, latents.shape[1], 1, 1), generator=generator)
    return Examples(latents, captions, noise + shift, times)


def _draw_timesteps(count: int, generator: torch.Generator) -> torch.Tensor:
    """Spread evenly over 0 to 999, from a random start: each step learns of all levels of noise."""
    places = (torch.arange(count) + torch.rand(1, generator=generator)) / count
    return (places * 1000).long().clamp(max=999)


def _denoiser_loss(
    denoiser: Denoiser, pools: dict[Size, LatentPool], plan: TrainingPlan, phase: DenoiserPhase, step: int
) -> torch.Tensor:
    examples = _draw_examples(phase, pools, plan, step)
    scheduler = DDIMScheduler(**NOISE_SCHEDULE)
    noisy = scheduler.add_noise(examples.latents, examples.noise, examples.times)
    with torch.autocast("cpu", torch.bfloat16):
        predicted = denoiser.predict(noisy, examples.times, examples.captions)
    kept = scheduler.alphas_cumprod[examples.times]
    ratios = kept / (1 - kept)
    off: torch.Tensor = (predicted.float() - examples.noise).square().mean(dim=(1, 2, 3))
    loss: torch.Tensor = (off * (ratios.clamp(max=_GAMMA) + _DEEP) / ratios).mean()
    return loss
