"""How long a text is estimated to be for a text encoder."""

import pytest

from farm.prompts.lengths import CHUNK_TOKENS, estimate_chunks, estimate_shape

LONG = ", ".join(["a lighthouse above the sea"] * 20)


@pytest.mark.parametrize(
    ("text", "chunks"),
    [
        ("", 1),
        ("a fox", 1),
        (" ".join(["fox"] * CHUNK_TOKENS), 1),
        (" ".join(["fox"] * (CHUNK_TOKENS + 1)), 2),
        (LONG, 2),
        ("a fox BREAK a hare", 2),
        (f"a fox BREAK {LONG}", 3),
        ("antidisestablishmentarianism " * 20, 2),
    ],
)
def test_a_text_takes_a_chunk_for_each_75_tokens_and_each_section(text: str, chunks: int) -> None:
    assert estimate_chunks(text) == chunks


def test_brackets_weights_and_network_tags_take_no_tokens() -> None:
    words = " ".join(["(fox:1.25)"] * CHUNK_TOKENS)
    assert estimate_chunks(f"{words} <lora:detail:0.8>") == 1


def test_the_shape_counts_sub_prompts_and_the_longest_of_them() -> None:
    assert estimate_shape(f"a fox AND {LONG}", "fog") == (2, 2, 1)


def test_no_shape_counts_beyond_eight() -> None:
    assert estimate_shape(" AND ".join(["a"] * 50), " BREAK ".join(["b"] * 50)) == (8, 1, 8)


def test_a_text_is_read_no_further_than_the_most_chunks_go() -> None:
    assert estimate_chunks("supercalifragilistic " * 4_000) == estimate_chunks("[a|b]" * 6_600) == 8
