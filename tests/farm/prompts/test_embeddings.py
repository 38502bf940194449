"""Which embeddings a prompt names."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.prompts.embeddings import EmbeddingNames, Mention, embeddings_in
from tests.farm.prompts.samples import HOSTILE, SYNTAX

KNOWN = ("cat", "bad-hands", "bad-hands-5", "EasyNegative", "style v2", "ng_deepnegative", "<mark>")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("a cat", ("cat",)),
        ("cats, concat, c at", ()),
        ("easynegative", ("EasyNegative",)),
        ("EASYNEGATIVE and Cat", ("EasyNegative", "cat")),
        ("cat, dog, cat", ("cat",)),
        # The longest wins; behind it, the search goes on.
        ("bad-hands-5", ("bad-hands-5",)),
        ("bad-hands-6", ("bad-hands",)),
        ("bad-hands-5 bad-hands", ("bad-hands-5", "bad-hands")),
        ("bad hands", ("bad-hands",)),
        ("bad - hands", ("bad-hands",)),
        ("Bad_Hands 5", ("bad-hands-5",)),
        ("bad, hands", ()),
        ("badhands", ()),
        ("NG DeepNegative", ("ng_deepnegative",)),
        ("Style  v2", ("style v2",)),
        ("ng_deepnegative_v1", ("ng_deepnegative",)),
        # In the midst of the prompt language.
        ("((bad-hands-5:1.2), [cat])", ("bad-hands-5", "cat")),
        ("[cat:EasyNegative:0.5]|<mark>", ("cat", "EasyNegative", "<mark>")),
        (r"\(cat\)", ("cat",)),
    ],
)
def test_names_are_found_where_their_words_follow_one_another(text: str, expected: tuple[str, ...]) -> None:
    assert embeddings_in(text, KNOWN) == expected


@pytest.mark.parametrize(
    ("text", "meant"), [("cat", "cat"), ("Cat", "Cat"), ("CAT", "Cat"), ("a_b", "a_b"), ("a b", "a-b")]
)
def test_the_exact_name_or_else_the_first_of_similar_ones_is_found(text: str, meant: str) -> None:
    assert embeddings_in(text, ["cat", "Cat", "a_b", "a-b"]) == (meant,)


def test_a_name_is_found_however_its_letters_are_composed() -> None:
    assert embeddings_in("a cafe\u0301 style", ["caf\u00e9"]) == ("caf\u00e9",)


def test_a_mention_is_spelled_as_the_text_has_it() -> None:
    [mention] = EmbeddingNames(["ng_deepnegative_v1"]).mentions("(NG DeepNegative-v1:1.2)")
    assert mention == Mention("NG DeepNegative-v1", "ng_deepnegative_v1")


@given(SYNTAX, SYNTAX)
def test_a_name_is_found_among_spaces_unless_it_has_no_words(name: str, text: str) -> None:
    has_words = bool(name.replace("\\", "").strip()) and embeddings_in(name, [name]) == (name,)
    assert not has_words or set(embeddings_in(f"{text} , {name} , {text}", [name])) == {name}


@given(SYNTAX, st.sets(SYNTAX))
def test_only_known_names_are_found(text: str, known: set[str]) -> None:
    assert set(embeddings_in(text, known)) <= known


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_searched_in_less_than_a_second(name: str) -> None:
    began = time.process_time()
    embeddings_in(HOSTILE[name], [*KNOWN, HOSTILE[name], HOSTILE[name][:500]])
    assert time.process_time() - began < 1
