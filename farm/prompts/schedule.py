"""The text of a prompt at each step: `[from:to:when]`, `[to:when]`, `[from::when]`, alternating `[one|other]`.

The rules are those of AUTOMATIC1111's WebUI since 1.6. `when` with a point is a fraction of the steps,
without one a number of steps; the change comes after that many. Through the second pass of a hires fix both
are counted on: 1.5 is the middle of the second pass, and after a first pass of 20 steps 25 is five steps
into the second. Changes due in the first pass have happened, and alternation restarts. The WebUI's sampler uses
the earlier text for one step more than its own description says; here the change comes at the written step.

Brackets that make none of these stay as they are, for `attention`. A `|` that does not part the options of
`[one|other]` makes a prompt that does not parse.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

_TOKEN = re.compile(r"(?:\\.|[^\\\[\]():|])+|[\[\]():|\\]", re.DOTALL)
_NUMBER = re.compile(r"\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)\s*")
_OPENERS = {")": "(", "]": "["}


@dataclass(frozen=True)
class PromptStage:
    """A text that holds until so many steps are done; attention and escapes are still in it."""

    until_step: int
    text: str


def schedule(text: str, steps: int, *, first_pass_steps: int | None = None) -> tuple[PromptStage, ...]:
    """What holds through a pass of `steps` steps; the last stage ends with it. `steps` is 1 or more.

    `first_pass_steps` is None for the only or first pass; a number means that this is the second.
    A text that does not parse is one stage, as it stands.
    """
    nodes = _ScheduleParser(_PassSteps(steps, first_pass_steps)).read(text)
    if nodes is None:
        return (PromptStage(steps, text),)
    stages: list[PromptStage] = []
    for step in sorted(_find_change_steps(nodes, steps)):
        current = _build_text(nodes, step)
        if stages and stages[-1].text == current:
            stages.pop()
        stages.append(PromptStage(step, current))
    return tuple(stages)


def parses(text: str) -> bool:
    """Whether every `|` in the text parts the options of an alternation."""
    return "|" not in text or _ScheduleParser(_PassSteps(steps=1, first_pass_steps=None)).read(text) is not None


@dataclass(frozen=True)
class _PassSteps:
    """The pass that a schedule is read for."""

    steps: int
    first_pass_steps: int | None

    def count_until(self, when: str) -> int:
        """How many steps of this pass are done when `when` is reached, from 0 to all of them."""
        if "." in when:
            passes_before = 0.0 if self.first_pass_steps is None else 1.0
            steps = (float(when) - passes_before) * self.steps
        else:
            steps = float(when) - (self.first_pass_steps or 0)
        return int(max(0.0, min(float(self.steps), steps)))


@dataclass(frozen=True)
class _Switch:
    """`[before:after:when]`"""

    before: tuple["_ScheduleNode", ...]
    after: tuple["_ScheduleNode", ...]
    until_step: int


@dataclass(frozen=True)
class _Alternation:
    """`[one|other]`"""

    options: tuple[tuple["_ScheduleNode", ...], ...]


_ScheduleNode = str | _Switch | _Alternation


@dataclass
class _OpenBracket:
    """A bracket that is being read, and what stood between its separators so far."""

    opener: str
    parts: list[list[_ScheduleNode]] = field(default_factory=lambda: [[]])
    separators: list[str] = field(default_factory=list)

    def separate(self, separator: str) -> None:
        self.separators.append(separator)
        self.parts.append([])

    def as_written(self) -> Iterator[_ScheduleNode]:
        for before, part in zip([self.opener, *self.separators], self.parts, strict=True):
            yield before
            yield from part

    def close(self, closer: str, pass_steps: _PassSteps) -> tuple[_ScheduleNode, ...] | None:
        """The nodes that the bracket stands for; None if it is not well formed."""
        if self.opener != _OPENERS[closer]:
            return None
        colons, bars = self.separators.count(":"), self.separators.count("|")
        if not self.separators or (self.opener == "(" and colons == 1):
            return _compact([*self.as_written(), closer])
        if self.opener == "(" or (colons and bars):
            return None
        parts = [_compact(part) for part in self.parts]
        return (_Alternation(tuple(parts)),) if bars else _parse_switch(parts, pass_steps)


def _parse_switch(parts: list[tuple[_ScheduleNode, ...]], steps: _PassSteps) -> tuple[_ScheduleNode, ...] | None:
    """`before:after:when` or `after:when`; None if it is neither."""
    *texts, when = parts
    number = _NUMBER.fullmatch(when[0]) if len(when) == 1 and isinstance(when[0], str) else None
    if number is None or len(texts) > 2:
        return None
    before = texts[0] if len(texts) == 2 else ()
    return (_Switch(before, texts[-1], steps.count_until(number[1])),)


class _ScheduleParser:
    """Reads a text into nodes, without recursion: a prompt may nest as deep as it is long.

    A bracket is one only if everything in it is well formed. So where something is not, every bracket that is
    open becomes text, and reading goes on outside of them.
    """

    def __init__(self, pass_steps: _PassSteps) -> None:
        self._pass_steps = pass_steps
        self._done: list[_ScheduleNode] = []
        self._frames: list[_OpenBracket] = []

    def read(self, text: str) -> tuple[_ScheduleNode, ...] | None:
        """The text as nodes, or None if it does not parse."""
        for token in _TOKEN.findall(text):
            if token in ("(", "["):
                self._frames.append(_OpenBracket(token))
            elif token in _OPENERS:
                self._close(token)
            elif token == "|" and not (self._frames and self._frames[-1].opener == "["):
                return None
            elif token in (":", "|") and self._frames:
                self._frames[-1].separate(token)
            else:
                self._current.append(token)
        self._give_up()
        # Only what was given up has left a bar of its own; an escaped one has its backslash.
        return None if "|" in self._done else _compact(self._done)

    @property
    def _current(self) -> list[_ScheduleNode]:
        return self._frames[-1].parts[-1] if self._frames else self._done

    def _close(self, closer: str) -> None:
        nodes = self._frames[-1].close(closer, self._pass_steps) if self._frames else None
        if nodes is None:
            self._give_up()
            self._done.append(closer)
        else:
            self._frames.pop()
            self._current.extend(nodes)

    def _give_up(self) -> None:
        for frame in self._frames:
            self._done.extend(frame.as_written())
        self._frames.clear()


def _compact(nodes: Iterable[_ScheduleNode]) -> tuple[_ScheduleNode, ...]:
    """The nodes with neighbouring texts joined, so that what is nested deep is not copied piece by piece."""
    runs = groupby(nodes, key=lambda node: isinstance(node, str))
    return tuple(node for is_text, run in runs for node in (["".join(map(str, run))] if is_text else run))


def _find_change_steps(nodes: tuple[_ScheduleNode, ...], steps: int) -> set[int]:
    """The steps after which the text may change, and the last."""
    ends = {steps}
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if isinstance(node, _Switch):
            ends.add(node.until_step)
            waiting += [*node.before, *node.after]
        elif isinstance(node, _Alternation):
            ends.update(range(1, steps + 1))
            waiting += [inner for option in node.options for inner in option]
    return {end for end in ends if end > 0} | {steps}


def _build_text(nodes: tuple[_ScheduleNode, ...], step: int) -> str:
    """The text that holds while step number `step`, counted from 1, is rendered."""
    texts = []
    waiting = list(reversed(nodes))
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            texts.append(node)
        elif isinstance(node, _Switch):
            waiting += reversed(node.before if step <= node.until_step else node.after)
        else:
            waiting += reversed(node.options[(step - 1) % len(node.options)])
    return "".join(texts)
