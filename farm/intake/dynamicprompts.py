"""What dynamic prompts unfold into: a choice for each image by its seed, or every combination."""

from collections.abc import Iterator
from contextlib import contextmanager

from farm.errors import FieldProblem, InvalidRequest
from farm.prompts.dynamic import DynamicPrompt
from farm.prompts.template import count_signs, may_be_dynamic
from farm.prompts.wildcards import WildcardLookup
from farm.spec.budget import Budget, OverBudget
from farm.spec.sizes import Settings


def unfold_dynamic(
    settings: Settings, count: int, *, how: str, lookup: WildcardLookup, limit: int, budget: Budget
) -> Iterator[tuple[dict[str, str], range]]:
    """Each distinct pair of prompts that settings unfold into, and the seeds that it is rendered with.

    `count` is how many images a prompt has, `how` what the request says of dynamic prompts, `limit` how many
    prompts one may unfold into. Raises InvalidRequest; OverBudget.
    """
    prompt, negative, first = settings["prompt"], settings.get("negative_prompt", ""), settings["seed"]
    if how == "off" or not (may_be_dynamic(prompt) or may_be_dynamic(negative)):
        yield {}, range(first, first + count)
        return
    budget.reading.spend(count_signs(prompt) + count_signs(negative))
    positives = DynamicPrompt(prompt, lookup, budget.choices)
    with _naming_negative():
        negatives = DynamicPrompt(negative, lookup, budget.choices)
    if not (positives.is_dynamic or negatives.is_dynamic):
        yield {}, range(first, first + count)
        return
    if how == "all":
        # One choice even where the prompts are all rendered: combinations of both would be too many.
        chosen = _choose_negative(negatives, first)
        for text in positives.all(limit):
            yield {"prompt": text, "negative_prompt": chosen}, range(first, first + count)
        return
    positives.require(count)
    negatives.require(count)
    for seed in range(first, first + count):
        texts = {"prompt": positives.random(seed), "negative_prompt": _choose_negative(negatives, seed)}
        yield texts, range(seed, seed + 1)


def _choose_negative(negatives: DynamicPrompt, seed: int) -> str:
    with _naming_negative():
        return negatives.random(seed)


@contextmanager
def _naming_negative() -> Iterator[None]:
    """What is wrong with the negative prompt is named as its own."""
    try:
        yield
    except OverBudget:
        raise
    except InvalidRequest as error:
        raise InvalidRequest([FieldProblem("negative_prompt", p.message) for p in error.problems]) from None
