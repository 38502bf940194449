"""A batch as the renderer takes it: in groups that the UNet hears together, each in a bucket of its own."""

from typing import Any

import numpy as np
import pytest

from farm.errors import CannotRender, RenderError
from farm.queue.claim import ClaimedCheckpoint
from tests.workers.studios import STORE, a_picture, a_spec_of, upload
from workers.canvas.inputs import StoredInputs
from workers.diffusion import DiffusionRenderer
from workers.model.pipelines import Pipelines
from workers.model.provenance import Machine
from workers.renderer import Picture

LONG = "word " * 60


@pytest.fixture
def render(pipelines: Pipelines, demo: ClaimedCheckpoint) -> Any:
    renderer = DiffusionRenderer(pipelines, Machine("a processor", "fp32", 1), StoredInputs(STORE))

    def render_specs(*specs: Any, on_step: Any = lambda _done, _steps: None) -> list[Picture]:
        return list(renderer.render(demo, specs, on_step))

    return render_specs


def some(*prompts: str, **fields: Any) -> list[Any]:
    return [a_spec_of("txt2img", prompt=prompt, seed=seed, **fields) for seed, prompt in enumerate(prompts)]


def test_texts_of_different_lengths_are_rendered_in_separate_buckets(render: Any) -> None:
    pictures = render(*some("a", LONG, "b", "c"))
    assert [picture.provenance["bucket"] for picture in pictures] == [4, 1, 4, 4]


def test_a_neighbour_with_a_longer_text_or_more_parts_does_not_enter_pixels(render: Any) -> None:
    mine, long, joined = some("a", LONG, "b AND c")
    crowd = render(long, mine, joined)
    assert np.array_equal(crowd[1].pixels, render(mine)[0].pixels)
    assert np.array_equal(crowd[2].pixels, render(joined)[0].pixels)


def test_a_longer_text_in_a_second_pass_gets_a_separate_bucket_too(render: Any) -> None:
    hires = {"scale": 1.5}
    pictures = render(*some("a", f"[a:{LONG}:1.5]", hires=hires))
    assert [picture.provenance["bucket"] for picture in pictures] == [1, 1]


def test_the_steps_of_all_groups_are_counted_together(render: Any) -> None:
    reported: list[tuple[int, int]] = []
    render(*some("a", LONG), on_step=lambda *step: reported.append(step))
    assert reported == [(done, 6) for done in range(1, 7)]


def test_an_upload_that_is_gone_fails_for_good_only_alone(render: Any) -> None:
    there, gone = (a_spec_of("img2img", image=image) for image in (upload(a_picture()), "e" * 64))
    with pytest.raises(CannotRender):
        render(gone)
    with pytest.raises(RenderError, match="e" * 64) as caught:
        render(there, gone)
    assert caught.value.is_retryable
