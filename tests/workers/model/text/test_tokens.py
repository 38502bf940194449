"""How a text is cut into chunks of 75 tokens; in the small vocabulary a letter is a token."""

import pytest

from farm.prompts.attention import weigh
from workers.bench.random_checkpoint import make_tokenizer
from workers.model.text.tokens import Chunk, EmbeddingWord, split_into_chunks

TOKENIZER = make_tokenizer()


def cut(text: str, **words: EmbeddingWord) -> tuple[Chunk, ...]:
    return split_into_chunks(weigh(text), TOKENIZER, words)


def read(chunk: Chunk) -> str:
    return str(TOKENIZER.decode([token.id for token in chunk])).strip()


@pytest.mark.parametrize(("length", "sizes"), [(0, [0]), (1, [1]), (75, [75]), (76, [75, 1]), (151, [75, 75, 1])])
def test_a_chunk_holds_75_tokens(length: int, sizes: list[int]) -> None:
    assert [len(chunk) for chunk in cut("x" * length)] == sizes


def test_a_section_begins_a_chunk_and_an_empty_one_is_a_chunk_too() -> None:
    assert [read(chunk) for chunk in cut("BREAK a fox BREAK at dusk")] == ["", "a fox", "at dusk"]


def test_a_phrase_that_would_be_cut_moves_on_from_its_comma() -> None:
    chunks = cut("x" * 65 + ", " + "y" * 15)
    assert [read(chunk) for chunk in chunks] == ["x" * 65 + " ,", "y" * 15]


def test_a_phrase_whose_comma_lies_farther_back_is_cut() -> None:
    assert [len(chunk) for chunk in cut("x" * 50 + ", " + "y" * 40)] == [75, 16]


@pytest.mark.parametrize(("before", "sizes"), [(55, [56, 20]), (54, [75, 1])])
def test_a_comma_is_looked_for_20_tokens_back(before: int, sizes: list[int]) -> None:
    assert [len(chunk) for chunk in cut("x" * before + "," + "y" * (75 - before))] == sizes


def test_tokens_carry_the_weight_of_their_fragment() -> None:
    (chunk,) = cut("a (bc:1.3) d")
    assert [token.weight for token in chunk] == [1.0, 1.3, 1.3, 1.0]


def test_a_word_of_an_embedding_becomes_its_vectors() -> None:
    (chunk,) = cut("a (bad:0.5) b", bad=EmbeddingWord("f" * 64, 2))
    assert [(token.embedding, token.weight) for token in chunk] == [
        (None, 1.0),
        (("f" * 64, 0), 0.5),
        (("f" * 64, 1), 0.5),
        (None, 1.0),
    ]


def test_the_longest_matching_name_of_an_embedding_wins() -> None:
    (chunk,) = cut("bad hands", **{"bad": EmbeddingWord("a", 1), "bad hands": EmbeddingWord("b", 1)})
    assert [token.embedding for token in chunk] == [("b", 0)]


def test_an_embedding_is_found_in_upper_and_lower_case() -> None:
    assert cut("BaD", bad=EmbeddingWord("a", 1))[0][0].embedding == ("a", 0)


def test_a_name_inside_another_word_is_no_embedding() -> None:
    assert all(token.embedding is None for token in cut("nobad badly", bad=EmbeddingWord("a", 1))[0])


def test_vectors_of_one_embedding_stay_in_one_chunk() -> None:
    first, second = cut("x" * 70 + " bad", bad=EmbeddingWord("a", 6))
    assert (len(first), len(second)) == (70, 6)
