"""Trains the demo checkpoint from nothing: `python -m workers.demo.training FOLDER`; run again, it goes on.

1. An autoencoder (VAE) learns to encode pictures of the little world into latents, and to decode them.
2. Scenes are drawn and encoded once, into a pool for each size.
3. A text encoder and a UNet learn together to predict the noise in the pool's latents, by their captions.
4. The VAE's decoder, by itself, learns to decode whole pictures more finely; the latents stay what they are.
5. The weights, averaged over training, are written to FOLDER/demo, a diffusers folder in half precision.

Everything random is seeded by the number of its step: a run that was stopped goes on as it would have.
"""

import logging
from copy import deepcopy
from pathlib import Path

import click
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline

from workers.demo.architecture import NOISE_SCHEDULE
from workers.demo.denoiser_training import Denoiser, train_denoiser
from workers.demo.latentpools import make_pools
from workers.demo.trainingplan import PLAN, TrainingPlan
from workers.demo.vae_training import refine_decoder, train_vae
from workers.parent.devices import cpu_name

log = logging.getLogger("training")


def write_checkpoint(folder: Path, vae: AutoencoderKL, denoiser: Denoiser) -> None:
    """A diffusers folder in half precision."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=denoiser.parts["text"],
        tokenizer=denoiser.tokenizer,
        unet=denoiser.parts["unet"],
        scheduler=DDIMScheduler(**NOISE_SCHEDULE, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    deepcopy(pipeline).to(torch.float16).save_pretrained(folder, safe_serialization=True)


def train(folder: Path, plan: TrainingPlan = PLAN) -> None:
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
