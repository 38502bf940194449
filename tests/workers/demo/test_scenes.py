"""The scenes that training shows, and what people would write to get them."""

from random import Random

from workers.demo.captions import caption
from workers.demo.scenes import Landscape, Shapes, invent
from workers.demo.world import COLOURS, SHAPES, is_held_out, is_unseen

SCENES = [invent(Random(seed)) for seed in range(3000)]
OF_SHAPES = [scene for scene in SCENES if isinstance(scene, Shapes)]


def test_the_same_seed_invents_the_same_scene() -> None:
    assert invent(Random(7)) == invent(Random(7))


def test_a_colour_and_shape_held_out_of_training_are_together_in_no_scene() -> None:
    pairs = {(thing.colour, thing.shape) for scene in OF_SHAPES for thing in scene.things}
    assert pairs == {(colour, shape) for colour in COLOURS for shape in SHAPES if not is_unseen(colour, shape)}


def test_each_colour_lacks_one_shape() -> None:
    assert all(sum(is_unseen(colour, shape) for shape in SHAPES) == 1 for colour in COLOURS)


def test_a_thing_held_out_on_a_background_never_stands_on_it() -> None:
    plain = [scene for scene in OF_SHAPES if scene.background.pattern == "plain"]
    shown = [(thing.colour, thing.shape, scene.background.colours[0]) for scene in plain for thing in scene.things]
    assert not any(is_held_out(*triple) for triple in shown)


def test_a_thing_differs_from_its_background() -> None:
    assert not any(thing.colour in scene.background.colours for scene in OF_SHAPES for thing in scene.things)


def test_a_caption_names_no_colour_that_is_not_there() -> None:
    for seed, scene in enumerate(OF_SHAPES):
        there = {*scene.background.colours, *(thing.colour for thing in scene.things)}
        words = caption(scene, Random(seed)).replace("grey", "gray").replace(",", " ").split()
        assert {word for word in words if word in COLOURS} <= there


def test_another_seed_gives_another_caption() -> None:
    assert len({caption(OF_SHAPES[0], Random(seed)) for seed in range(40)}) > 5


def test_a_caption_names_the_colour_of_a_house() -> None:
    landscapes = [scene for scene in SCENES if isinstance(scene, Landscape)]
    houses = [(scene, prop) for scene in landscapes for prop in scene.props if prop.kind == "house"]
    assert houses
    for scene, house in houses:
        text = caption(scene, Random(1))
        assert "house" not in text or f"{house.colours[0]} house" in text
