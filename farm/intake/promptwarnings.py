"""Warnings about the prompts of a job: each once, with the rows that it is about."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from farm.prompts.plan import warnings_of, warnings_of_negative
from farm.spec.budget import Budget

_MOST_WARNINGS = 20
_MORE = "There are more warnings than these"

# What takes time in a text are the signs of the prompt language, and not its length; bars and tags take most.
_SIGNS = "()[]|<\\"
_SLOW = 4


@dataclass(frozen=True)
class RowTexts:
    """The prompts of an image, and the row they come from, counted from 0."""

    row: int
    prompt: str
    negative_prompt: str
    base: str = ""
    """Of the checkpoint: names of embeddings are doubted among those that are made for it."""


Doubt = Callable[[str, str], Iterable[str]]
"""What a text may have meant by a name, for checkpoints of a base."""


def warnings_of_rows(prompts: Iterable[RowTexts], rows: int, budget: Budget, doubt: Doubt) -> tuple[str, ...]:
    """The warnings of a request of so many rows, each with those that it is about; of very many the first.

    Rows are counted from 1, as people do; the only row of a request is not named. Texts are looked through as far
    as the budget goes, and a last warning says from where on they were not.
    """
    about: dict[str, set[int]] = {}
    endings: list[str] = []
    for row, warnings in _look_through(prompts, budget, doubt):
        if warnings is None:
            endings.append(f"The prompts from row {row + 1} on were not looked through for warnings")
        for warning in warnings or ():
            if warning in about or len(about) < _MOST_WARNINGS:
                about.setdefault(warning, set()).add(row)
            elif _MORE not in endings:
                endings.insert(0, _MORE)
    return (*(_with_rows(warning, sorted(found), rows) for warning, found in about.items()), *endings)


def _look_through(
    prompts: Iterable[RowTexts], budget: Budget, doubt: Doubt
) -> Iterator[tuple[int, tuple[str, ...] | None]]:
    """Each row with the warnings of a text of it; None, and no more, where the allowance is spent."""
    known: dict[tuple[Callable[[str], tuple[str, ...]], str], tuple[str, ...]] = {}
    doubts = _Doubts(budget, doubt)
    for texts in prompts:
        for look, text in ((warnings_of, texts.prompt), (warnings_of_negative, texts.negative_prompt)):
            if (look, text) not in known:
                if not budget.signs.covers(_cost(text)):
                    yield texts.row, None
                    return
                # One text can hold thousands of tags that mean nothing.
                known[look, text] = look(text)[: _MOST_WARNINGS + 1]
            yield texts.row, known[look, text]
        yield texts.row, doubts(texts)


class _Doubts:
    """The doubts about names, each text asked once; of very much text the first."""

    def __init__(self, budget: Budget, doubt: Doubt) -> None:
        self._budget = budget
        self._doubt = doubt
        self._known: dict[tuple[str, str], tuple[str, ...]] = {}

    def __call__(self, texts: RowTexts) -> tuple[str, ...]:
        text = f"{texts.prompt}\n{texts.negative_prompt}"
        key = (text, texts.base)
        if key not in self._known and self._budget.doubted.covers(len(text)):
            self._known[key] = tuple(islice(self._doubt(*key), _MOST_WARNINGS + 1))
        return self._known.get(key, ())


def _cost(text: str) -> int:
    signs = sum(map(text.count, _SIGNS))
    return signs * _SLOW if "|" in text or "<" in text else signs


def _with_rows(warning: str, about: list[int], rows: int) -> str:
    """`row 3: ...`, `rows 3 and 7: ...`, `rows 3, 7 and 41 more: ...`, or `every row: ...`."""
    numbers = [str(row + 1) for row in about]
    if rows == 1:
        return warning
    if len(about) == 1:
        return f"row {numbers[0]}: {warning}"
    if len(about) == rows:
        return f"every row: {warning}"
    if len(about) <= 3:
        return f"rows {', '.join(numbers[:-1])} and {numbers[-1]}: {warning}"
    return f"rows {numbers[0]}, {numbers[1]} and {len(about) - 2:,} more: {warning}"
