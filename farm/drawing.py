"""What dynamic prompts unfold into: a choice for each image by its seed, or every combination."""

from collections.abc import Iterator

from farm.errors import FieldProblem, InvalidRequest
from farm.geometry import Settings
from farm.library import Library
from farm.prompts.dynamic import is_dynamic, unfold_all, unfold_random


def drawn(
    how: str, settings: Settings, library: Library, count: int, limit: int
) -> Iterator[tuple[dict[str, str], range]]:
    """Each distinct pair of prompts that settings unfold into, and the seeds that it is rendered with.

    `how` is that of the request, `count` the images of a prompt. Raises InvalidRequest.
    """
    prompt, negative, first = settings["prompt"], settings.get("negative_prompt", ""), settings["seed"]
    if how == "off" or not (is_dynamic(prompt) or is_dynamic(negative)):
        yield {}, range(first, first + count)
    elif how == "all":
        for text in unfold_all(prompt, library.lookup, limit):
            yield (
                {"prompt": text, "negative_prompt": _negative(negative, library, first)},
                range(first, first + count),
            )
    else:
        for seed in range(first, first + count):
            text = unfold_random(prompt, library.lookup, seed)
            yield {"prompt": text, "negative_prompt": _negative(negative, library, seed)}, range(seed, seed + 1)


def _negative(negative: str, library: Library, seed: int) -> str:
    """Drawn even where the prompts are all rendered: combinations of both would be too many."""
    try:
        return unfold_random(negative, library.lookup, seed)
    except InvalidRequest as error:
        raise InvalidRequest([FieldProblem("negative_prompt", p.message) for p in error.problems]) from None
