"""Latents: noise that a seed alone decides, and pixels to latents and back."""

import numpy as np
import pytest
import torch
from PIL import Image

from tests.checkpoints import small_pipeline
from tests.workers.studios import a_context, a_mask, a_picture
from workers.model.vae import Vae
from workers.sampling.latents import (
    NoiseSource,
    enlarge_latents,
    masks_to_tensor,
    pictures_to_tensor,
    shrink_mask,
    spawn_seed,
)


def test_noise_depends_on_its_own_seed_alone() -> None:
    pipeline = a_context().pipeline
    together = NoiseSource.from_seeds([1, 2, 3]).sample_noise((64, 72), pipeline)
    assert together.shape == (3, 4, 9, 8)
    assert torch.equal(together[1:2], NoiseSource.from_seeds([2]).sample_noise((64, 72), pipeline))


def test_the_first_pass_has_the_seed_of_the_image_and_each_other_pass_its_own() -> None:
    assert spawn_seed(7, 0) == 7
    assert len({spawn_seed(seed, number) for seed in range(50) for number in range(50)}) > 2400


def test_pixels_run_from_minus_one_to_one() -> None:
    pixels = pictures_to_tensor([Image.new("RGB", (8, 16), colour) for colour in ("black", "white")])
    assert pixels.shape == (2, 3, 16, 8)
    assert (pixels[0] == -1).all()
    assert (pixels[1] == 1).all()


def test_a_latent_is_painted_where_any_of_its_pixels_is() -> None:
    mask = shrink_mask(masks_to_tensor([a_mask((64, 64), (15, 8, 17, 9))]), a_context().pipeline)
    assert mask.nonzero().tolist() == [[0, 0, 1, 1], [0, 0, 1, 2]]


def test_a_picture_is_encoded_the_same_alone_and_in_a_batch() -> None:
    pipeline, pictures = a_context().pipeline, [a_picture(seed=seed) for seed in range(3)]
    together = Vae(pipeline).encode(pictures_to_tensor(pictures), NoiseSource.from_seeds([1, 2, 3]).generators)
    alone = Vae(pipeline).encode(pictures_to_tensor(pictures[1:2]), NoiseSource.from_seeds([2]).generators)
    assert torch.equal(together[1:2], alone)


def test_decoding_gives_a_picture_for_each_in_8_bits() -> None:
    pictures = a_context().vae.decode(NoiseSource.from_seeds([1, 2]).sample_noise((72, 64), a_context().pipeline))
    assert [picture.shape for picture in pictures] == [(64, 72, 3)] * 2
    assert {picture.dtype for picture in pictures} == {np.dtype(np.uint8)}


def test_a_vae_that_overflows_in_half_precision_decodes_in_full() -> None:
    pipeline = small_pipeline("sd15")
    noise = NoiseSource.from_seeds([1]).sample_noise((64, 64), pipeline)
    pipeline.vae.decoder.conv_in.weight.data *= 1e5
    expected = Vae(pipeline).decode(noise)
    pipeline.vae.to(torch.float16)
    pipeline.vae.decoder.conv_in.weight.data.clamp_(-6e4, 6e4)
    [picture] = Vae(pipeline).decode(noise)
    assert picture.std() > 1
    assert np.abs(picture.astype(int) - expected[0]).mean() < 10
    assert pipeline.vae.dtype == torch.float32


@pytest.mark.parametrize("how", ["Latent", "Latent (antialiased)", "Latent (bicubic)", "Latent (nearest)"])
def test_enlarged_latents_cover_the_size_in_their_own_ratio(how: str) -> None:
    latents = torch.zeros(1, 4, 8, 8)
    latents[..., 3:5, 3:5] = 1
    enlarged = enlarge_latents(latents, (192, 128), how)
    assert enlarged.shape == (1, 4, 16, 24)
    places = (enlarged[0, 0] > 0.6).nonzero()
    high, wide = (places.max(0).values - places.min(0).values).tolist()
    assert high == wide
