"""What a request may say, what is wrong with it, and which images render together."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import InvalidRequest
from farm.intake.request import parse_request
from farm.intake.unfold import count_images, expand
from farm.spec.fields import SEEDS
from farm.spec.image import InpaintSpec, TextToImageSpec, batch_key
from farm.spec.samplers import SAMPLERS
from tests.factories import LIBRARY, a_request, a_spec

SHA256 = "a" * 64


def problems(**fields: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as refusal:
        a_request(**fields)
    return [(problem.field, problem.message) for problem in refusal.value.problems]


def key(sha256: str = SHA256, family: str = "sd15", **fields: Any) -> str:
    return batch_key(a_spec(**fields), sha256, family)


class TestRequest:
    @pytest.mark.parametrize(
        ("fields", "path", "message"),
        [
            ({"colour": "red"}, "colour", "there is no such field"),
            ({"prompts": []}, "prompts", "list should have at least 1 item after validation, not 0"),
            ({"prompts": [{"prompt": "a", "hue": 1}]}, "prompts[0].hue", "there is no such field"),
            (
                {"prompts": [{"prompt": "a", "class": "bulk"}]},
                "prompts[0].class",
                "is set for the whole job, not for one prompt",
            ),
            ({"max_devices": "all"}, "max_devices", "input should be a valid integer"),
            ({"prompts": ["a", {}]}, "prompts[1].prompt", "field required"),
            ({"prompts": ["a\x00b"]}, "prompts[0].prompt", "must not contain a NUL character"),
            ({"width": 500}, "width", "must be a multiple of 8; the nearest are 496 and 504"),
            ({"height": 56}, "height", "input should be greater than or equal to 64"),
            ({"width": 8200}, "width", "input should be less than or equal to 8192"),
            (
                {"prompts": ["a", {"prompt": "b", "width": 500}]},
                "prompts[1].width",
                "must be a multiple of 8; the nearest are 496 and 504",
            ),
            ({"num_inference_steps": 0}, "num_inference_steps", "input should be greater than or equal to 1"),
            ({"num_inference_steps": 151}, "num_inference_steps", "input should be less than or equal to 150"),
            ({"guidance_scale": -1}, "guidance_scale", "input should be greater than or equal to 0"),
            ({"guidance_scale": 31}, "guidance_scale", "input should be less than or equal to 30"),
            ({"guidance_scale": float("nan")}, "guidance_scale", "input should be a finite number"),
            ({"seed": SEEDS}, "seed", f"input should be less than {SEEDS}"),
            ({"seed": -2}, "seed", "input should be greater than or equal to -1"),
            ({"images_per_prompt": 0}, "images_per_prompt", "input should be greater than or equal to 1"),
            ({"priority": 101}, "priority", "input should be less than or equal to 100"),
            ({"pool": "Large Pool"}, "pool", "string should match pattern '^[a-z0-9][a-z0-9-]{0,39}$'"),
            (
                {"not_before": "2999-01-01T00:00:00"},
                "not_before",
                "must be a time with its zone, like 2030-01-31T08:00:00Z",
            ),
            ({"mode": "video"}, "mode", "input should be 'txt2img', 'img2img', 'inpaint', 'outpaint' or 'upscale'"),
        ],
    )
    def test_a_bad_field_is_named_with_what_is_wrong(self, fields: dict[str, Any], path: str, message: str) -> None:
        assert problems(**fields) == [(path, message)]

    def test_all_mistakes_of_a_request_are_reported_at_once(self) -> None:
        assert [path for path, _ in problems(width=500, priority=-1, colour="red")] == [
            "width",
            "priority",
            "colour",
        ]

    def test_an_unknown_sampler_is_answered_with_the_nearest(self) -> None:
        [(path, message)] = problems(sampler="Euler A")
        assert path == "sampler"
        assert message.startswith("unknown sampler 'Euler A'; did you mean 'Euler a'? Known: DPM++ 2M,")

    def test_an_unknown_sampler_without_a_near_name_is_answered_with_all(self) -> None:
        [(_, message)] = problems(sampler="zzz")
        assert message == f"unknown sampler 'zzz'; Known: {', '.join(SAMPLERS)}"

    @pytest.mark.parametrize("data", [None, [], "a lighthouse", 7])
    def test_a_request_that_is_no_object_is_refused(self, data: Any) -> None:
        with pytest.raises(InvalidRequest, match=r"^request: "):
            parse_request(data)

    def test_a_prompt_may_be_a_text_or_an_object(self) -> None:
        assert a_request(prompts=["a"]).prompts == a_request(prompts=[{"prompt": "a"}]).prompts

    def test_the_fingerprint_does_not_depend_on_the_order_of_fields(self) -> None:
        one = parse_request({"prompts": ["a"], "width": 768, "seed": 1})
        other = parse_request({"seed": 1, "width": 768, "prompts": [{"prompt": "a"}]})
        assert one.fingerprint == other.fingerprint

    @given(width=st.integers(-10, 9000))
    def test_a_width_is_accepted_exactly_if_the_model_can_render_it(self, width: int) -> None:
        try:
            is_accepted = a_request(width=width).width == width
        except InvalidRequest:
            is_accepted = False
        assert is_accepted == (64 <= width <= 8192 and width % 8 == 0)

    @given(data=st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
    def test_no_value_of_any_kind_breaks_the_check(self, data: Any) -> None:
        for field in ("prompts", "width", "sampler", "seed", "not_before"):
            with contextlib.suppress(InvalidRequest):
                parse_request({"prompts": ["a"], field: data})


class TestExpand:
    def test_lcm_refuses_more_steps_than_it_was_distilled_for(self) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            expand(a_request(sampler="LCM", num_inference_steps=51), LIBRARY)
        [problem] = refusal.value.problems
        assert problem.field == "num_inference_steps"
        assert problem.message == "LCM takes at most 50 steps"

    def test_lcm_refuses_too_many_steps_of_a_second_pass_too(self) -> None:
        with pytest.raises(InvalidRequest) as refusal:
            expand(a_request(sampler="LCM", hires={"scale": 2, "num_inference_steps": 51}), LIBRARY)
        [problem] = refusal.value.problems
        assert (problem.field, problem.message) == ("hires.num_inference_steps", "LCM takes at most 50 steps")

    def test_lcm_accepts_all_the_steps_it_has(self) -> None:
        assert expand(a_request(sampler="LCM", num_inference_steps=50), LIBRARY).images == 1

    @given(counts=st.lists(st.integers(1, 50), min_size=1, max_size=8))
    def test_the_images_are_as_many_as_were_counted(self, counts: list[int]) -> None:
        request = a_request(prompts=[{"prompt": "a", "images_per_prompt": count} for count in counts])
        groups = expand(request, LIBRARY).groups
        assert sum(len(list(group.specs())) for group in groups) == count_images(request) == sum(counts)

    @given(seed=st.integers(0, SEEDS - 1), count=st.integers(1, 100))
    def test_every_seed_is_one_that_a_spec_may_have(self, seed: int, count: int) -> None:
        [group] = expand(a_request(seed=seed, images_per_prompt=count), LIBRARY).groups
        seeds = [TextToImageSpec.model_validate(spec.model_dump()).seed for spec in group.specs()]
        assert seeds == [(seed + n) % SEEDS for n in range(count)]


class TestBatchKey:
    @pytest.mark.parametrize(
        "fields",
        [
            {"prompt": "another"},
            {"negative_prompt": "fog"},
            {"seed": 2},
            {"guidance_scale": 12.5},
        ],
    )
    def test_images_that_differ_in_prompt_seed_or_guidance_share_a_batch_key(self, fields: dict[str, Any]) -> None:
        assert key(**fields) == key()

    @pytest.mark.parametrize(
        "fields",
        [
            {"width": 768},
            {"height": 768},
            {"num_inference_steps": 21},
            {"sampler": "DDIM"},
            {"deterministic": True},
            {"guidance_scale": 1.0},
            {"sha256": "b" * 64},
        ],
    )
    def test_images_that_differ_in_size_steps_or_sampler_have_different_batch_keys(
        self, fields: dict[str, Any]
    ) -> None:
        assert key(**fields) != key()

    def test_texts_of_unequal_length_are_not_batched_together(self) -> None:
        assert batch_key(a_spec(), SHA256, "sd15", (1, 2, 1)) != key()

    def test_images_of_other_pictures_render_together(self) -> None:
        one, other = (
            InpaintSpec(checkpoint="demo", prompt="a", seed=1, image=image, mask=mask, input_size=(side, side))
            for image, mask, side in (("1" * 64, "2" * 64, 64), ("3" * 64, "4" * 64, 96))
        )
        assert batch_key(one, SHA256, "sd15") == batch_key(other, SHA256, "sd15")

    def test_a_checkpoint_is_known_by_its_weights_and_not_by_its_name(self) -> None:
        assert key(checkpoint="renamed") == key()

    def test_the_same_weights_as_another_family_are_not_rendered_together(self) -> None:
        assert key(family="sd2-v") != key(family="sd2")

    def test_width_and_height_are_not_exchangeable(self) -> None:
        assert key(width=768, height=512) != key(width=512, height=768)

    def test_a_batch_key_is_16_hex_digits(self) -> None:
        assert len(key()) == 16
        assert int(key(), 16) >= 0


@pytest.mark.parametrize("moment", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00"])
def test_a_time_beyond_the_calendar_is_refused(moment: str) -> None:
    with pytest.raises(InvalidRequest, match="not_before: is out of range"):
        parse_request({"prompts": ["a lighthouse"], "not_before": moment})
