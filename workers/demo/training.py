"""Trains the demo checkpoint from nothing: `python -m workers.demo.training FOLDER`; said again, it goes on.

1. An autoencoder (VAE) learns to pack pictures of the little world into latents, and to unpack them.
2. Scenes are drawn and packed once, into a pool for each size.
3. A text encoder and a UNet learn together to tell the noise in the pool's latents, by what captions say.
4. The VAE's decoder, by itself, learns to unpack whole pictures more finely; the latents stay what they are.
5. The weights, averaged over training, are written to FOLDER/demo, a diffusers folder in half precision.

Everything random is seeded by the number of its step: a run that was stopped goes on as it would have.
"""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import click
import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from tokenizers.pre_tokenizers import ByteLevel
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from workers.demo.captions import caption
from workers.demo.drawing import Size, draw
from workers.demo.scenes import invent
from workers.device import cpu_name

log = logging.getLogger("training")


@dataclass(frozen=True)
class VaePhase:
    """So many steps with so many pieces of `side` pixels, of scenes drawn at `drawn` pixels."""

    steps: int
    images: int
    side: int
    drawn: int


@dataclass(frozen=True)
class Bucket:
    """Pictures of one size: how many a step takes, and how often such a step comes, relative to others."""

    size: Size
    images: int
    share: float = 1.0


@dataclass(frozen=True)
class Phase:
    """So many steps. `offset` is the deviation of what is added to a whole channel's noise.

    With ordinary noise the mean of a picture shines through the deepest one, so that what a caption says of
    the background teaches little, and is not heard when a picture begins as noise without that mean
    (Guttenberg, "Diffusion with offset noise", 2023).
    """

    steps: int
    buckets: tuple[Bucket, ...]
    offset: float = 0.0


@dataclass(frozen=True)
class Plan:
    """How long to train and on what; rates are AdamW's, at their highest. `pool` is how many scenes, by size."""

    vae: tuple[VaePhase, ...]
    pool: tuple[tuple[Size, int], ...]
    phases: tuple[Phase, ...]
    decoder: tuple[VaePhase, ...]
    vae_rate: float = 1.5e-3
    decoder_rate: float = 6e-4
    kl_weight: float = 1e-4
    rate: float = 1e-3
    average: float = 0.999
    unprompted: float = 0.1
    save_every: int = 500


_SMALL, _SQUARE, _WIDE, _TALL = (128, 128), (256, 256), (320, 192), (192, 320)


def _mixed(small: float, square: float) -> tuple[Bucket, ...]:
    """The checkpoint's own size, and larger ones, which a second pass and outpainting come to."""
    rest = (1 - small - square) / 2
    return Bucket(_SQUARE, 16, square), Bucket(_SMALL, 32, small), Bucket(_WIDE, 16, rest), Bucket(_TALL, 16, rest)


PLAN = Plan(
    vae=(VaePhase(3000, 16, 64, 128), VaePhase(1400, 8, 128, 128), VaePhase(400, 8, 128, 256)),
    pool=((_SMALL, 40_000), (_SQUARE, 14_000), (_WIDE, 2_500), (_TALL, 2_500)),
    phases=(
        Phase(2500, (Bucket(_SMALL, 32),)),
        Phase(2000, (Bucket(_SMALL, 32),), offset=0.1),
        Phase(1000, _mixed(small=0.1, square=0.7), offset=0.1),
        Phase(2800, _mixed(small=0.8, square=0.12), offset=0.1),
    ),
    decoder=(VaePhase(500, 12, 128, 128),),
)

_TEXT_WIDTH = 128
_START, _END = "<|startoftext|>", "<|endoftext|>"
_NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
"""The schedule of Stable Diffusion 1."""
_GAMMA = 5.0
"""Times with less noise than this signal-to-noise ratio count less (Hang et al., 2303.09556): they teach little."""
_DEEP = 0.1
"""And those with far more noise count more: there the caption decides what stands where, in which colour."""


def make_vae() -> AutoencoderKL:
    """Eight pixels to a latent's side, four channels. Norms of two channels would lose what colour a plane has."""
    return AutoencoderKL(
        block_out_channels=(16, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,
        sample_size=128,
        scaling_factor=1.0,
        mid_block_add_attention=False,
    )


def make_unet() -> UNet2DConditionModel:
    """Convolutions alone on the latents themselves; attention at a half and a quarter of their side."""
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(48, 96, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        mid_block_type=None,
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=_TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=_TEXT_WIDTH,
            intermediate_size=2 * _TEXT_WIDTH,
            projection_dim=_TEXT_WIDTH,
            num_hidden_layers=3,
            num_attention_heads=4,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def make_tokenizer() -> CLIPTokenizer:
    """CLIP's tokenizer: each word of the captions is one token, and other words are spelt in pieces."""
    merges = _learn_merges(_common_words())
    letters = sorted(ByteLevel.alphabet())
    joined = ["".join(pair) for pair in merges]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *joined, _START, _END]
    vocab = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)


def _common_words() -> list[str]:
    """The words of some thousand captions, less the stray ones."""
    counted = Counter[str]()
    for random in map(Random, range(4000)):
        counted.update(caption(invent(random), random).replace(",", " ").split())
    return sorted(word for word, count in counted.items() if count >= 12)


def _learn_merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Byte pair encoding (Sennrich et al., 1508.07909) until each word is one piece; ties go by the alphabet."""
    spelt = [(*word[:-1], f"{word[-1]}</w>") for word in words]
    merges = []
    while counts := Counter(pair for pieces in spelt for pair in pairwise(pieces)):
        merges.append(min(counts, key=lambda pair: (-counts[pair], pair)))
        spelt = [_joined(pieces, merges[-1]) for pieces in spelt]
    return merges


def _joined(pieces: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    """The pieces with each occurrence of the pair as one."""
    joined: list[str] = []
    for piece in pieces:
        if joined and (joined[-1], piece) == pair:
            joined[-1] += piece
        else:
            joined.append(piece)
    return tuple(joined)


def train_vae(folder: Path, plan: Plan) -> AutoencoderKL:
    """Learn to reconstruct pieces of scenes; the latents are drawn towards a standard normal distribution."""
    torch.manual_seed(1)
    vae = make_vae().to(memory_format=torch.channels_last)
    with torch.no_grad():
        # Nearly without noise at first: under noise as strong as the latents nothing is ever learnt.
        vae.quant_conv.bias[4:] = -6.0
    stage = Stage("vae", plan.vae_rate, _by_step(plan.vae), plan.save_every)
    _learn(folder, stage, vae, partial(_vae_loss, vae, plan))
    return vae.eval().requires_grad_(False)


def _vae_loss(vae: AutoencoderKL, plan: Plan, phase: VaePhase, step: int) -> torch.Tensor:
    pixels = _pieces(phase, Random(f"vae/{step}"))
    with torch.autocast("cpu", torch.bfloat16):
        held = vae.encode(pixels).latent_dist
        mean, logvar = held.mean.float(), held.logvar.float()
        latents = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        pictures = vae.decode(latents).sample
    kl: torch.Tensor = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    return _distance(pictures, pixels) + plan.kl_weight * kl


def refine_decoder(folder: Path, plan: Plan, vae: AutoencoderKL) -> None:
    """Train what unpacks latents, in place, on latents as the VAE packs them."""
    learning = torch.nn.ModuleList([vae.post_quant_conv, vae.decoder]).requires_grad_(True)
    stage = Stage("decoder", plan.decoder_rate, _by_step(plan.decoder), plan.save_every)
    _learn(folder, stage, learning, partial(_decoder_loss, vae))
    learning.requires_grad_(False)


def _decoder_loss(vae: AutoencoderKL, phase: VaePhase, step: int) -> torch.Tensor:
    pixels = _pieces(phase, Random(f"decoder/{step}"))
    with torch.autocast("cpu", torch.bfloat16):
        return _distance(vae.decode(vae.encode(pixels).latent_dist.sample()).sample, pixels)


def _distance(pictures: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    difference = pictures.float() - pixels
    return difference.abs().mean() + difference.square().mean()


def _pieces(phase: VaePhase, random: Random) -> torch.Tensor:
    """Pieces of scenes, (images, 3, side, side) from -1 to 1."""
    pieces = []
    for _ in range(phase.images):
        left, top = (random.randrange(phase.drawn - phase.side + 1) for _ in range(2))
        picture = draw(invent(random), (phase.drawn, phase.drawn))
        pieces.append(np.asarray(picture.crop((left, top, left + phase.side, top + phase.side))))
    return _pixels(pieces).contiguous(memory_format=torch.channels_last)


def _pixels(pictures: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


@dataclass(frozen=True)
class Pool:
    """Latents (scenes, 4, height / 8, width / 8) of scenes of one size, in half precision."""

    size: Size
    latents: torch.Tensor

    def captions(self, numbers: Iterable[int], random: Random) -> list[str]:
        """Another caption for a scene each time."""
        return [caption(_scene(self.size, number), random) for number in numbers]


def _scene(size: Size, number: int) -> Any:
    return invent(Random(f"pool/{size}/{number}"))


def make_pools(folder: Path, plan: Plan, vae: AutoencoderKL) -> dict[Size, Pool]:
    """Draw and pack all scenes, or read what was packed before. The VAE is changed: see `_normalize`."""
    file = folder / "pool.pt"
    if not file.exists():
        packed = [_pack(vae, size, count) for size, count in plan.pool]
        _write(file, packed)
    packed = torch.load(file, weights_only=True)
    every = torch.cat([latents.movedim(1, 0).flatten(1) for latents in packed], dim=1).float()
    mean, deviation = every.mean(1), every.std(1)
    _normalize(vae, mean, deviation)
    shape = (1, -1, 1, 1)
    return {
        size: Pool(size, ((latents.float() - mean.view(shape)) / deviation.view(shape)).half())
        for (size, _), latents in zip(plan.pool, packed, strict=True)
    }


@torch.no_grad()
def _pack(vae: AutoencoderKL, size: Size, count: int, at_once: int = 40) -> torch.Tensor:
    clock = Clock(f"pool {size[0]}x{size[1]}", math.ceil(count / at_once))
    packed = []
    for step, begin in enumerate(range(0, count, at_once)):
        numbers = range(begin, min(count, begin + at_once))
        pixels = _pixels([np.asarray(draw(_scene(size, number), size)) for number in numbers])
        with torch.autocast("cpu", torch.bfloat16):
            packed.append(vae.encode(pixels.contiguous(memory_format=torch.channels_last)).latent_dist.mean.half())
        clock.tick(step)
    return torch.cat(packed).contiguous()


@torch.no_grad()
def _normalize(vae: AutoencoderKL, mean: torch.Tensor, deviation: torch.Tensor) -> None:
    """Make the VAE's latents 0 in mean and 1 in deviation, channel by channel, in the convolutions at its waist."""
    packs, unpacks = vae.quant_conv, vae.post_quant_conv
    packs.bias[:4] = (packs.bias[:4] - mean) / deviation
    packs.weight[:4] /= deviation.view(-1, 1, 1, 1)
    packs.bias[4:] -= 2 * deviation.log()
    unpacks.bias += unpacks.weight[:, :, 0, 0] @ mean
    unpacks.weight *= deviation.view(1, -1, 1, 1)


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


def train_denoiser(folder: Path, plan: Plan, pools: dict[Size, Pool]) -> Denoiser:
    """Learn to predict noise; what is returned is the average over the course of training."""
    denoiser = Denoiser.new()
    averaged = deepcopy(denoiser.parts).requires_grad_(False)
    stage = Stage("denoiser", plan.rate, _by_step(plan.phases), plan.save_every)
    loss_of = partial(_denoiser_loss, denoiser, pools, plan)
    _learn(folder, stage, denoiser.parts, loss_of, Average(averaged, plan.average))
    return Denoiser(denoiser.tokenizer, averaged.eval())


@dataclass(frozen=True)
class Examples:
    """Latents (images, 4, height, width) with a caption each, and the noise and the times (images) to mix in."""

    latents: torch.Tensor
    captions: list[str]
    noise: torch.Tensor
    times: torch.Tensor


def _examples(phase: Phase, pools: dict[Size, Pool], plan: Plan, step: int) -> Examples:
    random, generator = Random(f"denoiser/{step}"), torch.Generator().manual_seed(step)
    bucket = random.choices(phase.buckets, [bucket.share for bucket in phase.buckets])[0]
    pool = pools[bucket.size]
    numbers = [random.randrange(len(pool.latents)) for _ in range(bucket.images)]
    latents = pool.latents[numbers].float()
    captions = [text if random.random() >= plan.unprompted else "" for text in pool.captions(numbers, random)]
    noise = torch.randn(latents.shape, generator=generator)
    times = _times(bucket.images, generator)
    shift = phase.offset * torch.randn((bucket.images, latents.shape[1], 1, 1), generator=generator)
    return Examples(latents, captions, noise + shift, times)


def _times(count: int, generator: torch.Generator) -> torch.Tensor:
    """Spread evenly over 0 to 999, from a random start: a step hears of every depth of noise."""
    places = (torch.arange(count) + torch.rand(1, generator=generator)) / count
    return (places * 1000).long().clamp(max=999)


def _denoiser_loss(
    denoiser: Denoiser, pools: dict[Size, Pool], plan: Plan, phase: Phase, step: int
) -> torch.Tensor:
    examples = _examples(phase, pools, plan, step)
    scheduler = DDIMScheduler(**_NOISE)
    noisy = scheduler.add_noise(examples.latents, examples.noise, examples.times)
    with torch.autocast("cpu", torch.bfloat16):
        predicted = denoiser.predict(noisy, examples.times, examples.captions)
    kept = scheduler.alphas_cumprod[examples.times]
    ratios = kept / (1 - kept)
    off: torch.Tensor = (predicted.float() - examples.noise).square().mean(dim=(1, 2, 3))
    loss: torch.Tensor = (off * (ratios.clamp(max=_GAMMA) + _DEEP) / ratios).mean()
    return loss


def write_checkpoint(folder: Path, vae: AutoencoderKL, denoiser: Denoiser) -> None:
    """A diffusers folder in half precision."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=denoiser.parts["text"],
        tokenizer=denoiser.tokenizer,
        unet=denoiser.parts["unet"],
        scheduler=DDIMScheduler(**_NOISE, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    deepcopy(pipeline).to(torch.float16).save_pretrained(folder, safe_serialization=True)


@dataclass(frozen=True)
class Done:
    """How far a stage had come, and in how many seconds of work, stops left out."""

    steps: int = 0
    seconds: float = 0.0


_NOTHING = Done()


class Clock:
    """Counts the steps and seconds of a stage, those before a stop too; says from time to time how far it is."""

    def __init__(self, stage: str, steps: int, before: Done = _NOTHING) -> None:
        self.stage, self.steps, self.before = stage, steps, before
        self.done = before.steps
        self._started = time.monotonic()
        self._losses: list[float] = []

    @property
    def seconds(self) -> float:
        return self.before.seconds + time.monotonic() - self._started

    def remaining(self) -> range:
        return range(self.before.steps, self.steps)

    def is_time(self, step: int, every: int) -> bool:
        """After each so many steps, and after the last."""
        return (step + 1) % every == 0 or step + 1 == self.steps

    def tick(self, step: int, loss: torch.Tensor | None = None) -> None:
        self.done = step + 1
        if loss is not None:
            self._losses.append(loss.item())
        if self.is_time(step, 100):
            mean = f"loss {sum(self._losses) / len(self._losses):.4f}, " if self._losses else ""
            log.info("%s: step %d of %d, %s%.0f s", self.stage, self.done, self.steps, mean, self.seconds)
            self._losses.clear()


@dataclass(frozen=True)
class Stage:
    """One course of training: its highest rate, and the phase of each step."""

    name: str
    rate: float
    phases: Sequence[Any]
    save_every: int


@dataclass(frozen=True)
class Average:
    """The mean of what is learnt, the latest steps counting most: a step leaves so much of it."""

    parts: torch.nn.Module
    keep: float

    def take(self, learning: torch.nn.Module, step: int) -> None:
        keep = min(self.keep, (step + 1) / (step + 10))
        get_ema_multi_avg_fn(keep)(list(self.parts.parameters()), list(learning.parameters()), step)


def _by_step(phases: Iterable[Any]) -> list[Any]:
    """The phase of each step."""
    return [phase for phase in phases for _ in range(phase.steps)]


def _learn(
    folder: Path,
    stage: Stage,
    learning: torch.nn.Module,
    loss_of: Callable[[Any, int], torch.Tensor],
    average: Average | None = None,
) -> None:
    """Take the steps of a stage that are left, each down the loss of (its phase, its number); save now and then."""
    optimizer, file = _optimizer(learning, stage.rate), folder / f"{stage.name}.pt"
    parts = {"learning": learning, "optimizer": optimizer, **({"average": average.parts} if average else {})}
    clock = Clock(stage.name, len(stage.phases), _resume(file, **parts))
    for step in clock.remaining():
        _set_rate(optimizer, stage.rate, step, len(stage.phases))
        torch.manual_seed(step)
        loss = loss_of(stage.phases[step], step)
        _descend(optimizer, learning.parameters(), loss)
        if average:
            average.take(learning, step)
        clock.tick(step, loss)
        if clock.is_time(step, stage.save_every):
            _save(file, clock, **parts)


def _optimizer(learning: torch.nn.Module, rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(learning.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True)


def _set_rate(optimizer: torch.optim.Optimizer, rate: float, step: int, steps: int, warm: int = 200) -> None:
    """Up to the rate in the first steps, and down to zero along a cosine."""
    now = rate * min(1.0, (step + 1) / warm) * 0.5 * (1 + math.cos(math.pi * step / steps))
    for group in optimizer.param_groups:
        group["lr"] = now


def _descend(optimizer: torch.optim.Optimizer, weights: Iterable[torch.nn.Parameter], loss: torch.Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(list(weights), 1.0)
    optimizer.step()


def _resume(file: Path, **parts: Any) -> Done:
    """Put what was saved into its parts; return what was done by then."""
    if not file.exists():
        return _NOTHING
    saved = torch.load(file, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(saved[name])
    return Done(int(saved["steps"]), float(saved["seconds"]))


def _save(file: Path, clock: Clock, **parts: Any) -> None:
    states = {name: part.state_dict() for name, part in parts.items()}
    _write(file, {"steps": clock.done, "seconds": clock.seconds, **states})


def _write(file: Path, content: Any) -> None:
    """Whole or not at all."""
    partial = file.with_suffix(".part")
    torch.save(content, partial)
    partial.rename(file)


def train(folder: Path, plan: Plan = PLAN) -> None:
    """All stages; the checkpoint is in FOLDER/demo then."""
    folder.mkdir(parents=True, exist_ok=True)
    vae = train_vae(folder, plan)
    pools = make_pools(folder, plan, vae)
    denoiser = train_denoiser(folder, plan, pools)
    refine_decoder(folder, plan, vae)
    write_checkpoint(folder / "demo", vae, denoiser)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Train the demo checkpoint into FOLDER/demo; a run that was stopped goes on from what is in FOLDER."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    log.info("On %s, %d threads, PyTorch %s", cpu_name(), torch.get_num_threads(), torch.__version__)
    train(folder)
    log.info("The checkpoint is in %s", folder / "demo")


if __name__ == "__main__":
    main()
