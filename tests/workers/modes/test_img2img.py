"""Image to image: how a picture is brought to size, and how much of it is left."""

from typing import Any

import numpy as np
import pytest

from farm.errors import CannotRender
from tests.workers.studios import a_context, a_picture, a_spec_of, draw, upload

PICTURE = upload(a_picture(96, 64))


def a_small_spec(**fields: Any) -> Any:
    return a_spec_of("img2img", **{"image": PICTURE, **fields})


def test_each_way_of_resizing_gives_another_image() -> None:
    images = [
        draw(a_context(), a_small_spec(resize_mode=mode))[0] for mode in ("stretch", "crop", "fill", "latent")
    ]
    # Nothing is left to enlarge where the picture is larger than asked: then latents are those of a stretched one.
    assert len({image.tobytes() for image in images}) == 3


def test_enlarged_latents_are_not_those_of_an_enlarged_picture() -> None:
    stretched, latent = (a_small_spec(resize_mode=mode, width=192, height=128) for mode in ("stretch", "latent"))
    assert not np.array_equal(draw(a_context(), stretched)[0], draw(a_context(), latent)[0])


def test_another_picture_gives_another_image() -> None:
    other = a_small_spec(image=upload(a_picture(96, 64, seed=3)))
    assert not np.array_equal(draw(a_context(), a_small_spec())[0], draw(a_context(), other)[0])


def test_a_higher_strength_goes_farther_from_the_picture() -> None:
    def distance(strength: float) -> float:
        near, far = (
            draw(
                a_context(),
                a_small_spec(image=upload(a_picture(seed=seed)), strength=strength, num_inference_steps=8),
            )
            for seed in (1, 2)
        )
        return float(np.abs(near[0].astype(int) - far[0]).mean())

    assert distance(0.2) > distance(0.9)


@pytest.mark.parametrize(
    ("size", "mode"), [((8, 8), "latent"), ((70, 66), "latent"), ((9, 500), "fill"), ((1, 1), "crop")]
)
def test_a_picture_of_any_size_is_taken(size: tuple[int, int], mode: str) -> None:
    spec = a_small_spec(image=upload(a_picture(*size)), resize_mode=mode)
    assert draw(a_context(), spec)[0].shape == (64, 64, 3)


def test_an_upload_that_is_gone_is_named() -> None:
    with pytest.raises(CannotRender, match="f" * 64):
        draw(a_context(), a_small_spec(image="f" * 64))
