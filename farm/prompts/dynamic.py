"""Dynamic prompts: what `farm.prompts.template` describes, unfolded when a job is submitted.

The library `dynamicprompts` does the same, and does not serve: a # or // cuts off the rest of a prompt, a lone
{ or $ is an error and some hundred { a RecursionError, braces cannot be escaped, an unknown wildcard stays in
the prompt, and nothing bounds what it unfolds into.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from heapq import nsmallest
from itertools import permutations, product
from random import Random

from farm.prompts import template
from farm.prompts.budget import LONGEST_PROMPT, Allowance, Budget, format_count
from farm.prompts.template import Choice, Node, Option, Template, WildcardName, parse, refusal
from farm.prompts.wildcards import Lookup, Place, Wildcards

# A bound on the memory that all the prompts of one template may take.
_MOST_CHARACTERS = 64 * 2**20

# Names are compared with every wildcard there is, and each * makes that slower.
_LONGEST_NAME = 200
_MOST_STARS = 4

# What is done to so many options, or texts that are joined, takes as long as to draw one choice.
_DRAWN_TOGETHER = 8


def is_dynamic(text: str) -> bool:
    """Whether a prompt holds a choice or a wildcard."""
    return template.is_dynamic(text)


class Prompt:
    """A prompt with choices and wildcards: read once, and unfolded as often as a request asks for it.

    What it draws is spent from the request's allowance. Raises InvalidRequest for weights that are all 0.
    """

    def __init__(self, text: str, wildcards: Wildcards | Lookup, choices: Allowance) -> None:
        self._nodes = parse(text)
        self.is_dynamic = any(not isinstance(node, str) for node in self._nodes)
        self._lookup = wildcards if isinstance(wildcards, Lookup) else Lookup(wildcards)
        self._choices = choices

    def require(self, draws: int) -> None:
        """Raise OverBudget where so many drawings are too much, by what each of them draws at least."""
        self._choices.require(draws * sum(not isinstance(node, str) for node in self._nodes))

    def random(self, seed: int) -> str:
        """One prompt, decided by the seed alone: the same on every machine and in every version of Python.

        Raises InvalidRequest for an unknown wildcard, one that leads back to itself, and a prompt that gets
        too long; OverBudget.
        """
        drawing = _Draw(self._lookup, seed)
        try:
            return drawing.text(self._nodes, Place())
        finally:
            self._choices.spend(drawing.choices)

    def all(self, limit: int) -> list[str]:
        """Every prompt that can be drawn, each once; what stands last changes fastest.

        Raises InvalidRequest as `random` does, and where there are more than `limit`. Texts that are equal are made
        all the same and count: at each depth once, since what lies deeper was rid of them before.
        """
        return list(dict.fromkeys(_Every(self._lookup, limit, self._choices).texts(self._nodes, Place())))


def unfold_random(text: str, wildcards: Wildcards, seed: int) -> str:
    """One prompt alone, as `Prompt.random` has it."""
    return Prompt(text, wildcards, Budget().choices).random(seed)


def unfold_all(text: str, wildcards: Wildcards, limit: int) -> list[str]:
    """Every prompt of a text alone, as `Prompt.all` has it."""
    return Prompt(text, wildcards, Budget().choices).all(limit)


def _entered(node: Choice | WildcardName, lookup: Lookup, place: Place) -> tuple[Choice, Place]:
    """What is to be chosen from, and where its options stand."""
    if isinstance(node, WildcardName):
        return _found(node.name, lookup), place.through(node.name)
    if (wildcard := node.only_wildcard) is not None:
        return replace(node, options=_found(wildcard.name, lookup).options), place.through(wildcard.name)
    return node, place.within()


def _found(name: str, lookup: Lookup) -> Choice:
    if len(name) > _LONGEST_NAME or name.count("*") > _MOST_STARS:
        raise refusal(f"a wildcard's name has at most {_LONGEST_NAME} letters and {_MOST_STARS} times *")
    return lookup.choice(name)


class _Draw:
    """One drawing of one prompt. Only `Random.random` is used, which Python promises never to change."""

    def __init__(self, lookup: Lookup, seed: int) -> None:
        self._lookup = lookup
        self._random = Random(seed).random
        self._left = LONGEST_PROMPT
        self.choices = 0
        """What was drawn so far."""

    def text(self, nodes: Template, place: Place) -> str:
        return "".join([self._node(node, place) for node in nodes])

    def _node(self, node: Node, place: Place) -> str:
        if isinstance(node, str):
            self._spend(len(node))
            return node
        self._spend(1)
        self.choices += 1
        return self._chosen(*_entered(node, self._lookup, place))

    def _chosen(self, choice: Choice, place: Place) -> str:
        if not choice.is_counted:
            return self.text(self._one(choice).template, place)
        most = min(choice.most, len(choice.options))
        fewest = min(choice.fewest, most)
        count = fewest + int(self._random() * (most - fewest + 1))
        self._spend(len(choice.separator) * count)
        return choice.separator.join(self.text(option.template, place) for option in self._several(choice, count))

    def _spend(self, characters: int) -> None:
        """A choice counts as a character: wildcards within wildcards could also choose nothing for ever."""
        self._left -= characters
        if self._left < 0:
            raise refusal(f"unfolds into more than {LONGEST_PROMPT:,} characters")

    def _one(self, choice: Choice) -> Option:
        sums = choice.summed_weights
        return choice.options[min(bisect_right(sums, self._random() * sums[-1]), len(sums) - 1)]

    def _several(self, choice: Choice, count: int) -> Sequence[Option]:
        """So many options in the order in which they would be drawn one after the other.

        Each waits for an exponential time at the rate of its weight, and the first to come are taken: the
        same as to draw without putting back, but without going through the rest again for each.
        """
        self.choices += len(choice.options) // _DRAWN_TOGETHER
        waits = [-math.log(1 - self._random()) / option.weight for option in choice.options]
        return [choice.options[index] for index in nsmallest(count, range(len(waits)), key=waits.__getitem__)]


class _Every:
    """All prompts of a template. Whatever would make more than the limit is refused before it is made."""

    def __init__(self, lookup: Lookup, limit: int, choices: Allowance) -> None:
        self._lookup = lookup
        self._limit = limit
        self._choices = choices
        self._from_wildcards: dict[Node, list[str]] = {}

    def texts(self, nodes: Template, place: Place) -> list[str]:
        parts = []
        count = 1
        for node in nodes:
            parts.append(self._node(node, place))
            count *= len(parts[-1])
            self._check(count, 0)
        self._check(count, sum(sum(map(len, part)) * (count // len(part)) for part in parts))
        self._spend(count, len(parts))
        return ["".join(chosen) for chosen in product(*parts)]

    def _node(self, node: Node, place: Place) -> list[str]:
        if isinstance(node, str):
            return [node]
        if isinstance(node, Choice) and node.only_wildcard is None:
            return self._each(node, place)
        if node not in self._from_wildcards:
            self._from_wildcards[node] = self._each(node, place)
        return self._from_wildcards[node]

    def _each(self, node: Choice | WildcardName, place: Place) -> list[str]:
        return list(dict.fromkeys(self._chosen(*_entered(node, self._lookup, place))))

    def _chosen(self, choice: Choice, place: Place) -> Iterator[str]:
        options: list[list[str]] = []
        count = characters = 0
        for option in choice.options:
            options.append(self.texts(option.template, place))
            count += len(options[-1])
            # Each text of each option can be drawn, unless nothing is.
            self._check(count if choice.most else 1, 0)
        count = 0
        for size in range(min(choice.fewest, len(options)), min(choice.most, len(options)) + 1):
            self._check(math.perm(len(options), size), 0)
            self._spend(math.factorial(size) * _products(list(map(len, options)), size), size)
            for chosen in permutations(options, size):
                for texts in product(*chosen):
                    said = choice.separator.join(texts)
                    count, characters = count + 1, characters + len(said)
                    self._check(count, characters)
                    yield said

    def _spend(self, texts: int, pieces: int) -> None:
        """Pay for so many texts of so many pieces each, equal ones too, before they are made."""
        if pieces:
            self._choices.spend(texts * (1 + pieces // _DRAWN_TOGETHER))

    def _check(self, count: int, characters: int) -> None:
        if count > self._limit:
            raise refusal(
                f"unfolds into {format_count(count)} prompts or more; at most {self._limit:,} are allowed"
            )
        if characters > _MOST_CHARACTERS:
            raise refusal(f"unfolds into more than {_MOST_CHARACTERS:,} characters")


def _products(counts: list[int], size: int) -> int:
    """The product of each `size` of these numbers, added up: how many texts there are when so many are chosen."""
    sums = [1] + [0] * size
    for count in counts:
        for chosen in range(size, 0, -1):
            sums[chosen] += count * sums[chosen - 1]
    return sums[size]
