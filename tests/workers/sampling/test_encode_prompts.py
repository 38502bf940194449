"""From prompts to conditioning: as diffusers for plain prompts, as a direct computation for weighted ones."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from farm.errors import CannotRender
from farm.queue.claim import ClaimedCheckpoint
from farm.spec.image import TextToImageSpec
from tests.checkpoints import small_checkpoint
from workers.model.pipelines import Pipelines
from workers.model.resident import Resident
from workers.model.text.encoder import apply_emphasis
from workers.sampling.encode_prompts import encode_conditioning

Load = Callable[[str], Resident]
FAMILIES = ["sd15", "sd2", "sdxl"]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """The resident of a family's small checkpoint, loaded once."""
    loaded: dict[str, Resident] = {}
    parent = tmp_path_factory.mktemp("checkpoints")

    def of(family: str) -> Resident:
        if family not in loaded:
            folder = small_checkpoint(family, parent / family)
            loaded[family] = Pipelines("cpu", "fp32").load(
                ClaimedCheckpoint(1, family, family, family, str(folder))
            )
        return loaded[family]

    return of


def spec(prompt: str, **fields: Any) -> TextToImageSpec:
    return TextToImageSpec(checkpoint="small", prompt=prompt, seed=1, **fields)


def hidden_states(resident: Resident, prompt: str, **fields: Any) -> torch.Tensor:
    """The hidden states of a prompt that is one part and never changes."""
    only = encode_conditioning(resident, spec(prompt, **fields), 10).prompts[0]
    return only.schedule[0].embeds.hidden_states


def by_diffusers(resident: Resident, prompt: str, negative: str | None, clip_skip: int | None = None) -> Any:
    pipeline = resident.pipeline
    with torch.no_grad():
        if resident.family.is_sdxl:
            return pipeline.encode_prompt(prompt, negative_prompt=negative, clip_skip=clip_skip)
        return pipeline.encode_prompt(prompt, "cpu", 1, True, negative_prompt=negative, clip_skip=clip_skip)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_plain_prompt_is_encoded_bit_for_bit_as_by_diffusers(load: Load, family: str) -> None:
    resident = load(family)
    conditioning = encode_conditioning(resident, spec("a red fox, at dusk", negative_prompt="blurry"), 10)
    wanted = by_diffusers(resident, "a red fox, at dusk", "blurry")
    [(weight, positive)], negative = conditioning.positive_at(3), conditioning.negative_at(3)
    assert weight == 1
    assert negative is not None
    assert torch.equal(positive.hidden_states[None], wanted[0])
    assert torch.equal(negative.hidden_states[None], wanted[1])
    if resident.family.is_sdxl:
        assert positive.pooled is not None
        assert negative.pooled is not None
        assert torch.equal(positive.pooled[None], wanted[2])
        assert torch.equal(negative.pooled[None], wanted[3])


def test_an_empty_negative_of_sdxl_is_zeros_as_in_diffusers(load: Load) -> None:
    negative = encode_conditioning(load("sdxl"), spec("a fox"), 10).negative_at(0)
    wanted = by_diffusers(load("sdxl"), "a fox", None)
    assert negative is not None
    assert negative.pooled is not None
    assert torch.equal(negative.hidden_states[None], wanted[1])
    assert torch.equal(negative.pooled[None], wanted[3])


def test_a_prompt_without_guidance_has_no_negative_conditions(load: Load) -> None:
    assert encode_conditioning(load("sd15"), spec("a fox", guidance_scale=1), 10).negative is None


def test_a_weighted_prompt_equals_the_direct_computation(load: Load) -> None:
    plain = hidden_states(load("sd15"), "a cat b")
    # A token a letter: begin, a, c, a, t, b, end and padding.
    weights = torch.tensor([1.0, 1.0, 1.5, 1.5, 1.5, 0.5] + [1.0] * 71)
    raised = plain * weights[:, None]
    wanted = raised * (plain.mean() / raised.mean())
    torch.testing.assert_close(hidden_states(load("sd15"), "a (cat:1.5) (b:0.5)"), wanted, rtol=1e-6, atol=1e-6)


def test_each_encoder_of_sdxl_is_emphasized_by_itself(load: Load) -> None:
    plain, weighted = hidden_states(load("sdxl"), "cat"), hidden_states(load("sdxl"), "(cat:2)")
    weights = [1.0, 2.0, 2.0, 2.0] + [1.0] * 73
    torch.testing.assert_close(weighted[:, :64], apply_emphasis(plain[:, :64], weights))
    torch.testing.assert_close(weighted[:, 64:], apply_emphasis(plain[:, 64:], weights))


def test_emphasis_keeps_the_mean() -> None:
    values = torch.rand(77, 8)
    torch.testing.assert_close(apply_emphasis(values, [1.0] * 70 + [3.0] * 7).mean(), values.mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_long_prompt_is_encoded_as_its_chunks_one_after_the_other(load: Load, family: str) -> None:
    whole = hidden_states(load(family), "x" * 100)
    first, second = hidden_states(load(family), "x" * 100 + " BREAK y").split(77)[:2]
    assert whole.shape[0] == 154
    assert torch.equal(whole, torch.cat([first, second]))


def test_break_fills_up_its_chunk(load: Load) -> None:
    first, second = hidden_states(load("sd15"), "a fox BREAK at dusk").split(77)
    assert torch.equal(first, hidden_states(load("sd15"), "a fox"))
    assert torch.equal(second, hidden_states(load("sd15"), "at dusk"))


def test_shorter_texts_are_filled_up_with_the_empty_prompt(load: Load) -> None:
    conditioning = encode_conditioning(load("sd15"), spec("a BREAK b BREAK c AND d", negative_prompt="e"), 10)
    negative = conditioning.negative_at(0)
    assert negative is not None
    empty = hidden_states(load("sd15"), " ")
    assert conditioning.shape == (2, 3 * 77)
    assert torch.equal(conditioning.prompts[1].schedule[0].embeds.hidden_states[77:], torch.cat([empty, empty]))
    assert torch.equal(negative.hidden_states[77:], torch.cat([empty, empty]))


def test_the_pooled_text_is_that_of_the_first_chunk(load: Load) -> None:
    first = encode_conditioning(load("sdxl"), spec("a fox BREAK at dusk"), 10).prompts[0]
    alone = encode_conditioning(load("sdxl"), spec("a fox"), 10).prompts[0]
    pooled, wanted = first.schedule[0].embeds.pooled, alone.schedule[0].embeds.pooled
    assert pooled is not None
    assert wanted is not None
    assert torch.equal(pooled, wanted)


def test_stages_change_the_conditions_at_their_step(load: Load) -> None:
    conditioning = encode_conditioning(load("sd15"), spec("a [cat:dog:0.5]"), 10)
    cat, dog = hidden_states(load("sd15"), "a cat"), hidden_states(load("sd15"), "a dog")
    texts = [conditioning.positive_at(step)[0][1].hidden_states for step in range(10)]
    assert all(torch.equal(text, cat) for text in texts[:5])
    assert all(torch.equal(text, dog) for text in texts[5:])


def test_parts_joined_by_and_carry_their_weights(load: Load) -> None:
    conditioning = encode_conditioning(load("sd15"), spec("a cat AND a dog:0.5"), 10)
    assert [weight for weight, _ in conditioning.positive_at(0)] == [1.0, 0.5]


def test_clip_skip_of_sd1_takes_the_layer_before_and_norms_it(load: Load) -> None:
    encoder = load("sd15").pipeline.text_encoder
    ids = load("sd15").pipeline.tokenizer("fox", padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        hidden = encoder(ids, output_hidden_states=True).hidden_states[-2]
        wanted = encoder.final_layer_norm(hidden)[0]
    assert torch.equal(hidden_states(load("sd15"), "fox", clip_skip=2), wanted)


@pytest.mark.parametrize("family", ["sd2", "sdxl"])
def test_a_family_trained_on_the_layer_before_takes_it_for_both_first_clip_skips(load: Load, family: str) -> None:
    first, second, third = (hidden_states(load(family), "fox", clip_skip=skip) for skip in (1, 2, 3))
    assert torch.equal(first, second)
    assert not torch.equal(second, third)


def test_clip_skip_3_of_sdxl_is_diffusers_1(load: Load) -> None:
    wanted = by_diffusers(load("sdxl"), "fox", "", clip_skip=1)[0]
    assert torch.equal(hidden_states(load("sdxl"), "fox", clip_skip=3)[None], wanted)


def test_a_clip_skip_beyond_the_layers_is_refused(load: Load) -> None:
    with pytest.raises(CannotRender, match="2 layers"):
        hidden_states(load("sd15"), "fox", clip_skip=4)


def test_a_text_is_encoded_once(load: Load) -> None:
    resident = load("sd15")
    resident.texts.clear()
    for steps in range(1, 4):
        encode_conditioning(resident, spec("a fox", negative_prompt="blurry"), steps)
    assert len(resident.texts) == 2


def test_kept_texts_are_bounded(load: Load) -> None:
    for number in range(300):
        hidden_states(load("sd15"), f"text {number}")
    assert len(load("sd15").texts) == 256
