"""Choices and wildcards, unfolded."""

import contextlib
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import InvalidRequest
from farm.prompts.dynamic import LONGEST_PROMPT, is_dynamic, unfold_all, unfold_random
from tests.farm.prompts.samples import HOSTILE, PLAIN, SYNTAX

WILDCARDS = {
    "colours/warm": ["red", "", "# not this one", "orange"],
    "colours/cold": ["blue"],
    "body_part": ["hand"],
    "sky": ["{clear|grey} sky", "__colours/cold__ sky"],
    "often": ["3::day", "night", "0::never"],
    "empty": ["", "# nothing"],
    "circle": ["a __round__"],
    "round": ["b __circle__"],
    "w": ["{a|b}"],
}


def every(text: str, limit: int = 100) -> list[str]:
    return unfold_all(text, WILDCARDS, limit)


def drawn(text: str, draws: int = 200) -> Counter[str]:
    return Counter(unfold_random(text, WILDCARDS, seed) for seed in range(draws))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a {red|blue} fox", ["a red fox", "a blue fox"]),
        ("{a|b} {c|d}", ["a c", "a d", "b c", "b d"]),
        ("{fe|}male", ["female", "male"]),
        ("{a|a}", ["a"]),
        ("{a}", ["a"]),
        ("{}", [""]),
        ("{{a|b} c|d}", ["a c", "b c", "d"]),
        ("{0.5::a| 2 ::b|.5::c|0::d}", ["a", " 2 ::b", "c"]),
        ("{ 2::a|b}", ["a", "b"]),
        ("{1::{a|b}|c}", ["a", "b", "c"]),
        # Several at once, in every order.
        ("{2$$a|b|c}", ["a, b", "a, c", "b, a", "b, c", "c, a", "c, b"]),
        ("{2$$ and $$a|b}", ["a and b", "b and a"]),
        ("{2$$$$a|b}", ["ab", "ba"]),
        ("{2$$|$$a|b}", ["a|b", "b|a"]),
        ("{1-2$$a|b}", ["a", "b", "a, b", "b, a"]),
        ("{2-1$$a|b}", ["a", "b", "a, b", "b, a"]),
        ("{-1$$a|b}", ["a", "b"]),
        ("{2-$$a|b}", ["a, b", "b, a"]),
        ("{9$$a|b}", ["a, b", "b, a"]),
        ("{0-1$$a|b}", ["", "a", "b"]),
        ("{2$${a|b}|c}", ["a, c", "b, c", "c, a", "c, b"]),
        # Wildcards.
        ("__colours/warm__", ["red", "orange"]),
        ("__colours/*__", ["blue", "red", "orange"]),
        ("__*/warm__", ["red", "orange"]),
        ("__sky__", ["clear sky", "grey sky", "blue sky"]),
        ("__often__", ["day", "night"]),
        ("{2$$__colours/warm__}", ["red, orange", "orange, red"]),
        ("{__colours/cold__|dark} __body_part__", ["blue hand", "dark hand"]),
        ("___body_part___", ["_hand_"]),
        # What means nothing here.
        ("a { b", ["a { b"]),
        ("a } b|c", ["a } b|c"]),
        ("{ {a|b}", ["{ a", "{ b"]),
        (r"\{a|b\}", [r"\{a|b\}"]),
        (r"{a\|b|c\}}", [r"a\|b", r"c\}"]),
        (r"\\{a|b}", [r"\\a", r"\\b"]),
        (r"\__sky__", [r"\__sky__"]),
        ("snake_case, two__parts and __ two __, ____", ["snake_case, two__parts and __ two __, ____"]),
        ("50$ #1 // 2$$ 3::4", ["50$ #1 // 2$$ 3::4"]),
        # The rest of the prompt language is left alone, and can be chosen from.
        ("[a|b] (c:1.2) [d:e:0.5] <lora:x:1>", ["[a|b] (c:1.2) [d:e:0.5] <lora:x:1>"]),
        ("{[a|b]|(c:1.2)}", ["[a", "b]", "(c:1.2)"]),
        ("{[a::5]|b} <lora:{x|y}:1>", ["[a::5] <lora:x:1>", "[a::5] <lora:y:1>", "b <lora:x:1>", "b <lora:y:1>"]),
    ],
)
def test_all_combinations_are_unfolded(text: str, expected: list[str]) -> None:
    assert every(text) == expected
    assert set(drawn(text)) == set(expected)


@pytest.mark.parametrize("text", ["{a|b}", "{a}", "__sky__", "x {2$$a|b}", "__nowhere__"])
def test_choices_and_wildcards_are_dynamic(text: str) -> None:
    assert is_dynamic(text)


@pytest.mark.parametrize("text", ["", "fox", "[a|b] (c:1.2)", "{a", "a}", r"\{a|b}", "a__b", "<lora:x_y:1>"])
def test_text_without_choices_or_wildcards_is_not_dynamic(text: str) -> None:
    assert not is_dynamic(text)


def test_weights_decide_how_often_an_option_is_drawn() -> None:
    often = drawn("{3::day|night}", 4000)["day"]
    assert 2850 < often < 3150


def test_weights_decide_which_option_comes_first_of_several() -> None:
    first = Counter(text[0] for text in drawn("{2$$$$3::a|b}", 4000).elements())
    assert 2850 < first["a"] < 3150


def test_each_number_of_options_is_drawn_as_often() -> None:
    lengths = Counter(len(text) for text in drawn("{1-3$$$$a|b|c|d}", 3000).elements())
    assert all(900 < lengths[length] < 1100 for length in (1, 2, 3))


def test_a_seed_always_gives_the_same_prompt() -> None:
    """These very texts: jobs that were accepted with a seed must unfold to the same for ever."""
    texts = [unfold_random("{a|b|c} {2$$d|e|f} __sky__ {1-3$$g|h|i}", WILDCARDS, seed) for seed in (0, 1, 2**32)]
    assert texts == ["c e, d grey sky g", "a e, f grey sky h, g, i", "a d, e grey sky g, h"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "__colours/warn__",
            "there is no wildcard __colours/warn__; the nearest are __colours/warm__, __colours/cold__",
        ),
        ("__colors/*__", "there is no wildcard __colors/*__; the nearest are __colours/warm__, __colours/cold__"),
        ("__empty__", "the wildcard __empty__ has no lines"),
        (
            "__circle__",
            "the wildcard __circle__ leads back to itself: __circle__ -> __round__ -> __circle__",
        ),
        ("{2$$__circle__}", "the wildcard __circle__ leads back to itself: __circle__ -> __round__ -> __circle__"),
        ("{0::a|0::b}", "the weights of a choice are all 0"),
        ("${x=a} ${x}", r"variables like ${name} are not supported; write \{ for a brace that is text"),
        ("{" * 61 + "a" + "}" * 61, "choices and wildcards are nested more than 60 deep"),
    ],
)
def test_a_prompt_that_cannot_be_unfolded_is_refused(text: str, message: str) -> None:
    for unfold in (lambda: unfold_random(text, WILDCARDS, 1), lambda: unfold_all(text, WILDCARDS, 100)):
        with pytest.raises(InvalidRequest) as refusal:
            unfold()
        assert [problem.message for problem in refusal.value.problems] == [message]


def test_a_refusal_says_if_no_wildcards_are_registered() -> None:
    with pytest.raises(InvalidRequest, match="there is no wildcard __sky__; none are registered"):
        unfold_random("__sky__", {}, 1)


def test_sixty_levels_are_not_too_deep() -> None:
    assert every("{" * 60 + "a" + "}" * 60) == ["a"]


@pytest.mark.parametrize("text", ["{a|b|c|d|e}", "{2$$a|b|c}", "{a|b}{a|b}{a|b}", "__sky__ {a|b}", "{a|b}" * 2000])
def test_more_prompts_than_the_limit_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"unfolds into .* prompts or more; at most 4 are allowed"):
        every(text, limit=4)


def test_as_many_prompts_as_the_limit_are_not_refused() -> None:
    assert len(every("{a|b|c|d} __colours/cold__", limit=4)) == 4


MULTIPLYING = {f"w{level}": [f"__w{level + 1}__" * 10] for level in range(20)} | {"w20": ["x"]}
NOTHING = {f"w{level}": [f"{{2$$$$__w{level + 1}__}}"] * 2 for level in range(40)} | {"w40": ["", "{|}"]}


@pytest.mark.parametrize("wildcards", [MULTIPLYING, NOTHING])
def test_wildcards_that_multiply_are_refused_before_they_fill_the_memory(wildcards: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidRequest, match="more than 100,000 characters"):
        unfold_random("__w0__", wildcards, 1)


def test_multiplying_wildcards_are_refused_by_the_length_of_their_text() -> None:
    with pytest.raises(InvalidRequest, match="more than 67,108,864 characters"):
        unfold_all("__w0__", MULTIPLYING, 1000)


@pytest.mark.parametrize(
    "text",
    [
        ("{2$$" + "|".join(map(str, range(300))) + "}") * 30,
        "{" + "|".join(["{2$$" + "|".join(map(str, range(300))) + "}"] * 30) + "}",
        "{50$$" + "|".join(map(str, range(300))) + "}",
    ],
)
def test_too_many_prompts_are_refused_before_they_are_made(text: str) -> None:
    began = time.process_time()
    with pytest.raises(InvalidRequest, match=r"unfolds into .* prompts or more; at most 100,000 are allowed"):
        every(text, limit=100_000)
    assert time.process_time() - began < 5


def test_a_wildcard_that_occurs_over_and_over_is_unfolded_once() -> None:
    began = time.process_time()
    assert unfold_all("__w0__", NOTHING, 1000) == [""]
    assert time.process_time() - began < 5


def test_a_prompt_may_be_long_but_its_length_is_limited() -> None:
    assert len(unfold_random("{a|b}" + "x" * (LONGEST_PROMPT - 2), {}, 1)) == LONGEST_PROMPT - 1
    for text in ("{a|b}" + "x" * LONGEST_PROMPT, "{500$$" + "x" * 300 + "$$" + "a|" * 500 + "}"):
        with pytest.raises(InvalidRequest, match="more than 100,000 characters"):
            unfold_random(text, {}, 1)


@given(PLAIN)
def test_plain_text_unfolds_to_itself(text: str) -> None:
    assert not is_dynamic(text)
    assert unfold_random(text, WILDCARDS, 1) == text
    assert unfold_all(text, WILDCARDS, 1) == [text]


@given(SYNTAX, st.integers())
def test_every_text_unfolds_or_is_refused_in_the_same_way_each_time(text: str, seed: int) -> None:
    def outcome() -> str:
        try:
            return unfold_random(text, WILDCARDS, seed)
        except InvalidRequest as refusal:
            return str(refusal)

    assert outcome() == outcome()


@given(SYNTAX, st.integers())
def test_a_random_prompt_is_among_all_combinations(text: str, seed: int) -> None:
    try:
        possible = unfold_all(text, WILDCARDS, 1000)
    except InvalidRequest:
        return
    assert unfold_random(text, WILDCARDS, seed) in possible
    assert len(set(possible)) == len(possible)


@given(SYNTAX)
def test_text_that_is_not_dynamic_stays_as_it_is(text: str) -> None:
    assert is_dynamic(text) or unfold_random(text, WILDCARDS, 1) == text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_unfolded_or_refused_in_less_than_a_second(name: str) -> None:
    began = time.process_time()
    for unfold in (lambda: unfold_random(HOSTILE[name], WILDCARDS, 1), lambda: every(HOSTILE[name], 10_000)):
        with contextlib.suppress(InvalidRequest):
            unfold()
    assert time.process_time() - began < 5
