"""Sweeps: which images a job's axes span, in which order, and what is said of values that do not fit."""

import itertools
import time
from dataclasses import replace
from typing import Any

import pytest

from farm.errors import InvalidRequest
from farm.intake.library import KnownAddon, KnownCheckpoint, Library
from farm.intake.sweeps.sweep import label
from farm.intake.unfold import Unfolded, count_images, expand
from farm.prompts.styles import PromptStyle
from farm.spec.families import FAMILIES
from tests.factories import a_request

LIBRARY = Library(
    checkpoints={
        name: KnownCheckpoint(number, name, FAMILIES["sd15"], f"{number}" * 64) for number, name in enumerate("abc")
    },
    loras={"ink": KnownAddon("ink", "sd15", "d" * 64)},
)


def unfold(*axes: tuple[str, list[Any]], **fields: Any) -> list[Unfolded]:
    request = a_request(
        **{"checkpoint": "a", **fields}, axes=[{"field": field, "values": values} for field, values in axes]
    )
    unfolding = expand(request, LIBRARY)
    assert unfolding.images >= count_images(request)
    return list(unfolding.groups)


def swept(name: str, *axes: tuple[str, list[Any]], **fields: Any) -> list[Any]:
    return [getattr(group.template, name) for group in unfold(*axes, **fields)]


def problems(*axes: tuple[str, list[Any]], **fields: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as refusal:
        unfold(*axes, **fields)
    return [(problem.field, problem.message) for problem in refusal.value.problems]


def test_a_product_has_every_combination_once() -> None:
    groups = unfold(("num_inference_steps", [4, 5, 6]), ("guidance_scale", [3, 7]), ("sampler", ["Euler", "Heun"]))
    points = [(g.template.num_inference_steps, g.template.guidance_scale, g.template.sampler) for g in groups]
    assert sorted(points) == sorted(itertools.product([4, 5, 6], [3, 7], ["Euler", "Heun"]))


def test_a_zip_takes_the_axes_side_by_side() -> None:
    groups = unfold(("seed", [7, 8]), ("clip_skip", [1, 2]), combine="zip")
    assert [(g.template.seed, g.template.clip_skip) for g in groups] == [(7, 1), (8, 2)]


def test_the_checkpoint_changes_slowest_wherever_its_axis_stands() -> None:
    names = swept("checkpoint", ("seed", [1, 2]), ("checkpoint", ["a", "b", "c"]), prompts=["x", "y"])
    assert [name for name, _ in itertools.groupby(names)] == ["a", "b", "c"]


def test_every_image_knows_its_place_in_the_sweep() -> None:
    groups = unfold(("seed", [1, 2]), ("checkpoint", ["a", "b"]), prompts=["p", "q"])
    for group in groups:
        assert group.cell is not None
        template = group.template
        assert group.cell.prompt == "pq".index(template.prompt)
        assert group.cell.x == template.seed - 1
        assert group.cell.y == "ab".index(template.checkpoint)


def test_an_open_seed_is_the_same_all_over_a_sweep() -> None:
    assert len(set(swept("seed", ("num_inference_steps", [4, 5, 6]), seed=None))) == 1


@pytest.mark.parametrize(
    ("axis", "name", "expected"),
    [
        (("size", ["512x768", "64 X 128"]), "width", [512, 64]),
        (("prompt_replace", ["fox", "owl"]), "prompt", ["a fox", "a owl"]),
        (("prompt", ["a", 7]), "prompt", ["a", "7"]),
        (("schedule_type", ["Karras", "Beta"]), "schedule_type", ["Karras", "Beta"]),
        (("seed", ["3", 4]), "seed", [3, 4]),
    ],
)
def test_an_axis_sets_the_field_that_it_names(axis: tuple[str, list[Any]], name: str, expected: list[Any]) -> None:
    assert swept(name, axis, prompts=["a fox"]) == expected


def test_a_lora_axis_sets_the_weight_in_the_tag_or_adds_one() -> None:
    for prompt in ("a fox <lora:ink:1>", "a fox"):
        loras = swept("loras", ("lora:ink", [0, 0.5]), prompts=[prompt])
        assert [found[0].weight for found in loras] == [0, 0.5]


@pytest.mark.parametrize(
    ("axis", "message"),
    [
        (("size", ["512"]), "'512' is not a size such as 512x768"),
        (("seed", [-1]), "'-1' is not a seed: a whole number below 4294967296"),
        (("checkpoint", ["z"]), "unknown checkpoint 'z'. Known: a, b, c"),
        (("num_inference_steps", [0]), "input should be greater than or equal to 1"),
        (("lora:ink", ["much"]), "'much' is not a weight"),
        (("prompt_replace", ["owl", "elk"]), "'owl' is in no prompt"),
        (("lora:pen", [1]), "unknown LoRA 'pen'. Known: ink"),
        (("lora:ink", [11]), "a weight is from -10 to 10"),
        (("lora:ink", [2**53]), "a weight is from -10 to 10"),
        (("seed", ["9" * 5000]), f"{'9' * 40!r} is not a seed: a whole number below 4294967296"),
        (("hires.strength", [0.5]), "hires must be set for its strength to be swept"),
        (("size", ["512x516"]), "must be a multiple of 8; the nearest are 512 and 520"),
    ],
)
def test_a_value_that_does_not_fit_is_named_by_its_place(axis: tuple[str, list[Any]], message: str) -> None:
    assert problems(axis)[0] == ("axes[0].values[0]", message)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400, True, "a\x00b", "x" * 20_000])
def test_a_value_that_no_field_can_hold_is_refused(value: Any) -> None:
    [(field, _), *_] = problems(("prompt", [value]))
    assert field.startswith("axes[0].values[0]")


def test_an_axis_that_goes_beyond_a_second_pass_is_named() -> None:
    found = problems(("hires.strength", [0.5, 2]), hires={"scale": 2})
    assert found == [("axes[0].values[1]", "input should be less than or equal to 1")]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_no_axis_undoes_another_whatever_their_order(order: tuple[int, ...]) -> None:
    axes = [("prompt", ["a fox", "two foxes"]), ("prompt_replace", ["fox", "owl"]), ("lora:ink", [0.25, 0.5])]
    groups = unfold(*(axes[n] for n in order))
    assert len({(group.template.prompt, group.template.loras[0].weight) for group in groups}) == 8


def test_the_weight_of_an_axis_replaces_those_of_the_tags() -> None:
    [loras] = swept("loras", ("lora:ink", [0.5]), prompts=["a <lora:ink:1> fox <lora:ink:2>"])
    assert [(lora.name, lora.weight) for lora in loras] == [("ink", 0.5)]


def test_a_tiny_weight_is_still_a_weight() -> None:
    assert [found[0].weight for found in swept("loras", ("lora:ink", [0.00001]))] == [0.00001]


def test_very_many_mistakes_are_cut_and_reported_soon() -> None:
    started = time.process_time()
    assert len(problems(prompts=[f"<lora:pen{number}:1>" for number in range(20_000)])) == 100 + 1
    assert time.process_time() - started < 10


def test_two_axes_of_one_field_are_refused() -> None:
    assert problems(("seed", [1]), ("seed", [2])) == [("axes", "each must sweep a field of its own")]


def test_axes_that_are_zipped_have_equally_many_values() -> None:
    assert problems(("seed", [1, 2]), ("clip_skip", [1]), combine="zip") == [
        ("axes", "combined by zip they must have equally many values")
    ]


def test_labels_say_what_was_swept() -> None:
    request = a_request(
        axes=[
            {"field": "num_inference_steps", "values": [20]},
            {"field": "prompt_replace", "values": ["fox"]},
            {"field": "lora:ink", "values": [0.5]},
        ]
    )
    assert [label(axis, 0) for axis in request.axes] == ["Steps: 20", "fox", "LoRA ink: 0.5"]


class TestDynamicPrompts:
    def test_each_image_unfolds_its_prompt_by_its_seed(self) -> None:
        first = swept("prompt", prompts=["a {red|green|blue|white} fox"], images_per_prompt=8)
        again = swept("prompt", prompts=["a {red|green|blue|white} fox"], images_per_prompt=8)
        assert first == again
        assert len(set(first)) > 1

    def test_all_combinations_are_rendered_as_often_as_asked(self) -> None:
        groups = unfold(prompts=["{a|b} {c|d}"], dynamic_prompts="all", images_per_prompt=2)
        assert [group.template.prompt for group in groups] == ["a c", "a d", "b c", "b d"]
        assert [len(group.seeds) for group in groups] == [2, 2, 2, 2]

    def test_dynamic_prompts_of_a_style_unfold_too(self) -> None:
        library = replace(LIBRARY, styles={"mood": PromptStyle("mood", "{prompt}, {dark|light}", "")})
        request = a_request(checkpoint="a", prompts=["a fox"], styles=["mood"], dynamic_prompts="all")
        groups = expand(request, library).groups
        assert [group.template.prompt for group in groups] == ["a fox, dark", "a fox, light"]

    def test_dynamic_prompts_that_are_switched_off_do_not_unfold(self) -> None:
        assert swept("prompt", prompts=["{a|b} __c__"], dynamic_prompts="off") == ["{a|b} __c__"]

    def test_an_unknown_wildcard_is_named_with_its_prompt(self) -> None:
        [(field, message)] = problems(prompts=["a", "__animal__"])
        assert field == "prompts[1].prompt"
        assert "animal" in message
