"""How a demo checkpoint is judged."""

from PIL import Image

from workers.demo.drawing import draw
from workers.demo.evaluation import Case, Score, cases, report, score
from workers.demo.judging import look
from workers.demo.scenes import Background, Shapes, Thing
from workers.demo.world import is_held_out, is_unseen

STAR = Thing("red", "star", (0.3, 0.5), 0.15)
SQUARE = Thing("blue", "square", (0.7, 0.5), 0.15)
ONE = Case("one", "a red star on the left", "white", (("red", "star"),), "left")
TWO = Case("two", "a red star to the left of a blue square", "white", (("red", "star"), ("blue", "square")))


def a_picture(*things: Thing, background: str = "white") -> Image.Image:
    return draw(Shapes(Background((background,)), things), (128, 128))


def the_score(case: Case, picture: Image.Image) -> tuple[bool, bool, bool, bool]:
    found = score(case, look(picture))
    return found.background, found.colour, found.shape, found.place


def test_training_leaves_out_every_case_of_one_thing_on_a_background() -> None:
    single = [case for case in cases() if case.kind in ("left out", "never together")]
    assert all(is_held_out(*case.things[0], case.background) for case in single)


def test_44_of_a_hundred_cases_are_of_pairs_that_training_never_shows() -> None:
    unseen = [case for case in cases() if case.kind == "never together"]
    assert len(unseen) == 44
    assert all(is_unseen(*case.things[0]) for case in unseen)


def test_the_cases_are_always_the_same() -> None:
    assert cases() == cases()


def test_a_picture_of_what_the_prompt_names_is_right_in_every_respect() -> None:
    assert the_score(ONE, a_picture(STAR)) == (True, True, True, True)
    assert the_score(TWO, a_picture(STAR, SQUARE)) == (True, True, True, True)


def test_a_wrong_background_is_wrong_in_that_respect_alone() -> None:
    assert the_score(ONE, a_picture(STAR, background="teal")) == (False, True, True, True)


def test_a_wrong_thing_in_a_wrong_place_is_right_only_in_its_background() -> None:
    assert the_score(ONE, a_picture(SQUARE)) == (True, False, False, False)


def test_two_things_and_their_order_count() -> None:
    missing = the_score(TWO, a_picture(STAR))
    swapped = the_score(Case("two", "", "white", TWO.things[::-1]), a_picture(STAR, SQUARE))
    assert (missing, swapped) == ((True, False, False, False), (True, True, True, False))


def test_an_empty_picture_has_only_its_background_right() -> None:
    assert the_score(ONE, a_picture()) == (True, False, False, False)


def test_the_report_has_the_part_that_was_right_of_each_kind() -> None:
    scores = [Score(ONE, True, True, True, True), Score(ONE, True, False, True, False), Score(TWO, *4 * [True])]
    one, two = report(scores).splitlines()[1:]
    assert one.split() == ["one", "2", "50.0%", "100.0%", "100.0%", "50.0%"]
    assert two.split()[2:] == 4 * ["100.0%"]
