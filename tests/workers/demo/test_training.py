"""Training, a few steps of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from workers.demo import stages
from workers.demo.stages import StageClock
from workers.demo.tokenizer import make_tokenizer
from workers.demo.training import train
from workers.demo.trainingplan import Bucket, DenoiserPhase, TrainingPlan, VaePhase

SIZE = (64, 64)
BRIEF = TrainingPlan(
    vae=(VaePhase(4, 2, 32, 64),),
    pool=((SIZE, 6),),
    phases=(DenoiserPhase(4, (Bucket(SIZE, 2),)),),
    decoder=(VaePhase(4, 2, 64, 64),),
    save_every=2,
)
WEIGHTS = ("unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train(folder, BRIEF)
    return folder / "demo"


def weights(checkpoint: Path) -> Iterator[torch.Tensor]:
    for file in WEIGHTS:
        yield from load_file(checkpoint / file).values()


def test_training_writes_a_checkpoint_in_half_precision(trained: Path) -> None:
    assert {tensor.dtype for tensor in weights(trained)} == {torch.float16}
    assert all(tensor.isfinite().all() for tensor in weights(trained))


def test_diffusers_renders_with_the_trained_checkpoint(trained: Path) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(trained, dtype=torch.float32)
    image = pipeline("a red star", num_inference_steps=1, width=64, height=64).images[0]
    assert image.size == SIZE


def test_a_run_that_was_stopped_in_every_stage_goes_on_as_it_would_have(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, to_stop = stages._save, {"vae.pt", "denoiser.pt", "decoder.pt"}

    def save_and_stop(file: Path, clock: StageClock, **parts: Any) -> None:
        save(file, clock, **parts)
        if file.name in to_stop and clock.done == 2:
            to_stop.remove(file.name)
            raise KeyboardInterrupt

    monkeypatch.setattr(stages, "_save", save_and_stop)
    while to_stop:
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, BRIEF)
    train(tmp_path, BRIEF)
    assert all(
        torch.equal(one, other) for one, other in zip(weights(tmp_path / "demo"), weights(trained), strict=True)
    )


def test_each_word_of_a_caption_is_one_token() -> None:
    caption = "a small red star in the top left corner on a white background"
    assert len(make_tokenizer().tokenize(caption)) == len(caption.split())


def test_a_word_outside_the_captions_is_several_tokens() -> None:
    assert len(make_tokenizer().tokenize("zeppelin")) > 1
