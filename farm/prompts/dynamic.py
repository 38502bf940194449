"""Dynamic prompts: what `farm.prompts.template` describes, unfolded when a job is submitted.

The library `dynamicprompts` does the same, and is not used because a # or // cuts off the rest of a prompt, a
lone { or $ is an error and some hundred { a RecursionError, braces cannot be escaped, an unknown wildcard stays
in the prompt, and nothing bounds what it unfolds into.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from heapq import nsmallest
from itertools import permutations, product
from random import Random

from farm.prompts import template
from farm.prompts.template import Choice, Template, TemplateNode, WeightedOption, WildcardName, parse, refusal
from farm.prompts.wildcards import Nesting, WildcardLookup, Wildcards
from farm.spec.budget import LONGEST_PROMPT, Allowance, Budget, format_count

# A bound on the memory that all the prompts of one template may take.
_MOST_CHARACTERS = 64 * 2**20

# Names are compared with every wildcard there is, and each * makes that slower.
_LONGEST_NAME = 200
_MOST_STARS = 4

# Handling so many options, or joining so many texts, takes as long as drawing one choice.
_DRAWN_TOGETHER = 8


def is_dynamic(text: str) -> bool:
    """Whether a prompt holds a choice or a wildcard."""
    return template.is_dynamic(text)


class DynamicPrompt:
    """A prompt with choices and wildcards: parsed once, and unfolded as often as a request asks for it.

    Its drawings are spent from the request's allowance. Raises InvalidRequest for weights that are all 0.
    """

    def __init__(self, text: str, wildcards: Wildcards | WildcardLookup, choices: Allowance) -> None:
        self._nodes = parse(text)
        self.is_dynamic = any(not isinstance(node, str) for node in self._nodes)
        self._lookup = wildcards if isinstance(wildcards, WildcardLookup) else WildcardLookup(wildcards)
        self._choices = choices

    def require(self, draws: int) -> None:
        """Raise OverBudget where the allowance is too small for so many drawings, counting the least each needs."""
        self._choices.require(draws * sum(not isinstance(node, str) for node in self._nodes))

    def random(self, seed: int) -> str:
        """One prompt, decided by the seed alone: the same on every machine and in every version of Python.

        Raises InvalidRequest for an unknown wildcard, one that leads back to itself, and a prompt that gets
        too long; OverBudget.
        """
        unfolding = _RandomUnfolding(self._lookup, seed)
        try:
            return unfolding.text(self._nodes, Nesting())
        finally:
            self._choices.spend(unfolding.choices)

    def all(self, limit: int) -> list[str]:
        """Every prompt that can be drawn, each once; the last choice changes fastest.

        Raises InvalidRequest as `random` does, and where there are more than `limit`. Equal texts are
        built and counted too: once at each depth, since deeper levels have removed their duplicates.
        """
        return list(dict.fromkeys(_FullUnfolding(self._lookup, limit, self._choices).texts(self._nodes, Nesting())))


def unfold_random(text: str, wildcards: Wildcards, seed: int) -> str:
    """One prompt alone, as `Prompt.random` has it."""
    return DynamicPrompt(text, wildcards, Budget().choices).random(seed)


def unfold_all(text: str, wildcards: Wildcards, limit: int) -> list[str]:
    """Every prompt of a text alone, as `Prompt.all` has it."""
    return DynamicPrompt(text, wildcards, Budget().choices).all(limit)


def _enter(node: Choice | WildcardName, lookup: WildcardLookup, nesting: Nesting) -> tuple[Choice, Nesting]:
    """The choice that a node stands for, and the nesting of its options."""
    if isinstance(node, WildcardName):
        return _look_up(node.name, lookup), nesting.enter_wildcard(node.name)
    if (wildcard := node.only_wildcard) is not None:
        return replace(node, options=_look_up(wildcard.name, lookup).options), nesting.enter_wildcard(wildcard.name)
    return node, nesting.descend()


def _look_up(name: str, lookup: WildcardLookup) -> Choice:
    if len(name) > _LONGEST_NAME or name.count("*") > _MOST_STARS:
        raise refusal(f"a wildcard's name has at most {_LONGEST_NAME} letters and {_MOST_STARS} times *")
    return lookup.choice(name)


class _RandomUnfolding:
    """One drawing of one prompt. Only `Random.random` is used, which Python promises never to change."""

    def __init__(self, lookup: WildcardLookup, seed: int) -> None:
        self._lookup = lookup
        self._random = Random(seed).random
        self._left = LONGEST_PROMPT
        self.choices = 0
        """How many choices were drawn so far."""

    def text(self, nodes: Template, nesting: Nesting) -> str:
        return "".join([self._unfold_node(node, nesting) for node in nodes])

    def _unfold_node(self, node: TemplateNode, nesting: Nesting) -> str:
        if isinstance(node, str):
            self._spend(len(node))
            return node
        self._spend(1)
        self.choices += 1
        return self._unfold_choice(*_enter(node, self._lookup, nesting))

    def _unfold_choice(self, choice: Choice, nesting: Nesting) -> str:
        if not choice.is_counted:
            return self.text(self._pick_one(choice).template, nesting)
        most = min(choice.most, len(choice.options))
        fewest = min(choice.fewest, most)
        count = fewest + int(self._random() * (most - fewest + 1))
        self._spend(len(choice.separator) * count)
        return choice.separator.join(
            self.text(option.template, nesting) for option in self._pick_several(choice, count)
        )

    def _spend(self, characters: int) -> None:
        """A choice counts as a character: otherwise wildcards within wildcards could choose nothing without end."""
        self._left -= characters
        if self._left < 0:
            raise refusal(f"unfolds into more than {LONGEST_PROMPT:,} characters")

    def _pick_one(self, choice: Choice) -> WeightedOption:
        sums = choice.summed_weights
        return choice.options[min(bisect_right(sums, self._random() * sums[-1]), len(sums) - 1)]

    def _pick_several(self, choice: Choice, count: int) -> Sequence[WeightedOption]:
        """So many options in the order in which they would be drawn one after the other.

        Each waits for an exponential time at the rate of its weight, and the first to come are taken: the
        same as to draw without putting back, but without going through the rest again for each.
        """
        self.choices += len(choice.options) // _DRAWN_TOGETHER
        waits = [-math.log(1 - self._random()) / option.weight for option in choice.options]
        return [choice.options[index] for index in nsmallest(count, range(len(waits)), key=waits.__getitem__)]


class _FullUnfolding:
    """All prompts of a template. More than the limit is refused before it is built."""

    def __init__(self, lookup: WildcardLookup, limit: int, choices: Allowance) -> None:
        self._lookup = lookup
        self._limit = limit
        self._choices = choices
        self._unfolded: dict[TemplateNode, list[str]] = {}

    def texts(self, nodes: Template, nesting: Nesting) -> list[str]:
        parts = []
        count = 1
        for node in nodes:
            parts.append(self._unfold_node(node, nesting))
            count *= len(parts[-1])
            self._check(count, 0)
        self._check(count, sum(sum(map(len, part)) * (count // len(part)) for part in parts))
        self._spend(count, len(parts))
        return ["".join(chosen) for chosen in product(*parts)]

    def _unfold_node(self, node: TemplateNode, nesting: Nesting) -> list[str]:
        if isinstance(node, str):
            return [node]
        if isinstance(node, Choice) and node.only_wildcard is None:
            return self._unfold_once(node, nesting)
        if node not in self._unfolded:
            self._unfolded[node] = self._unfold_once(node, nesting)
        return self._unfolded[node]

    def _unfold_once(self, node: Choice | WildcardName, nesting: Nesting) -> list[str]:
        return list(dict.fromkeys(self._unfold_choice(*_enter(node, self._lookup, nesting))))

    def _unfold_choice(self, choice: Choice, nesting: Nesting) -> Iterator[str]:
        options: list[list[str]] = []
        count = characters = 0
        for option in choice.options:
            options.append(self.texts(option.template, nesting))
            count += len(options[-1])
            # Each text of each option can be drawn, unless nothing is.
            self._check(count if choice.most else 1, 0)
        count = 0
        for size in range(min(choice.fewest, len(options)), min(choice.most, len(options)) + 1):
            self._check(math.perm(len(options), size), 0)
            self._spend(math.factorial(size) * _sum_products(list(map(len, options)), size), size)
            for chosen in permutations(options, size):
                for texts in product(*chosen):
                    joined = choice.separator.join(texts)
                    count, characters = count + 1, characters + len(joined)
                    self._check(count, characters)
                    yield joined

    def _spend(self, texts: int, pieces: int) -> None:
        """Spend the allowance for so many texts of so many pieces each, equal ones too, before they are built."""
        if pieces:
            self._choices.spend(texts * (1 + pieces // _DRAWN_TOGETHER))

    def _check(self, count: int, characters: int) -> None:
        if count > self._limit:
            raise refusal(
                f"unfolds into {format_count(count)} prompts or more; at most {self._limit:,} are allowed"
            )
        if characters > _MOST_CHARACTERS:
            raise refusal(f"unfolds into more than {_MOST_CHARACTERS:,} characters")


def _sum_products(counts: list[int], size: int) -> int:
    """The sum of the products of each `size` of these numbers: how many texts there are when so many are chosen."""
    sums = [1] + [0] * size
    for count in counts:
        for chosen in range(size, 0, -1):
            sums[chosen] += count * sums[chosen - 1]
    return sums[size]
