"""A whole prompt as the renderer needs it: its sub-prompts, their text at each step, the weight of each word."""

from dataclasses import dataclass

from farm.prompts.attention import (
    LARGEST_WEIGHT,
    Section,
    count_unclosed,
    find_large_weights,
    weigh,
)
from farm.prompts.compose import SubPrompt, compose
from farm.prompts.networks import extract_networks
from farm.prompts.schedule import PromptStage, parses, schedule

_NOT_SCHEDULED = (
    r"rendered as it is written, with no change between steps: a | stands outside of [one|other]. Write \| for "
    "a bar that is text"
)


@dataclass(frozen=True)
class PlannedStage:
    """Weighed sections that hold until so many steps are done."""

    until_step: int
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class PlannedSubPrompt:
    """A sub-prompt, what its guidance is multiplied by, and its stages; the last ends with the pass."""

    weight: float
    stages: tuple[PlannedStage, ...]


def plan(text: str, steps: int, *, first_pass_steps: int | None = None) -> tuple[PlannedSubPrompt, ...]:
    """The sub-prompts of a prompt, at least one; network tags are taken out. Never raises.

    `steps` and `first_pass_steps` are those of `schedule`. A part whose schedule does not parse is one
    stage, its text as it is written; attention counts in it all the same, as in the WebUI.
    """
    untagged, _, _ = extract_networks(text)
    return tuple(
        PlannedSubPrompt(part.weight, _plan_stages(schedule(part.text, steps, first_pass_steps=first_pass_steps)))
        for part in compose(untagged)
    )


def plan_negative(text: str, steps: int, *, first_pass_steps: int | None = None) -> PlannedSubPrompt:
    """A negative prompt: schedule and attention count in it, AND does not. Never raises.

    Network tags are taken out and call nothing.
    """
    untagged, _, _ = extract_networks(text)
    return PlannedSubPrompt(1.0, _plan_stages(schedule(untagged, steps, first_pass_steps=first_pass_steps)))


def warnings_of(text: str) -> tuple[str, ...]:
    """What the user of a prompt should know; nothing if all of it is rendered as written."""
    untagged, _, warnings = extract_networks(text)
    parts = compose(untagged)
    return (*warnings, *_warnings_of_weight(parts), *_warnings_of_words(untagged, [part.text for part in parts]))


def warnings_of_negative(text: str) -> tuple[str, ...]:
    """The same for a negative prompt."""
    untagged, tags, warnings = extract_networks(text)
    idle = tuple(f"<lora:{tag.name}> has no effect in a negative prompt" for tag in tags)
    return (*idle, *warnings, *_warnings_of_words(untagged, [untagged]))


def _warnings_of_weight(parts: tuple[SubPrompt, ...]) -> tuple[str, ...]:
    """A number behind a colon is easily meant otherwise where there is no AND: `the sky at 10:30`."""
    if len(parts) > 1 or parts[0].weight == 1:
        return ()
    return (f"the whole prompt weighs {parts[0].weight:g}, because it ends with a colon and a number",)


def _warnings_of_words(text: str, parts: list[str]) -> tuple[str, ...]:
    if not all(parses(part) for part in parts):
        return (_NOT_SCHEDULED,)
    large = tuple(f"a weight is at most {LARGEST_WEIGHT:g}, not {weight:g}" for weight in find_large_weights(text))
    unclosed = sum(count_unclosed(part) for part in parts)
    reach = "1 bracket is" if unclosed == 1 else f"{unclosed} brackets are"
    return (*large, *([f"{reach} never closed: the weight holds to the end of the prompt"] if unclosed else []))


def _plan_stages(stages: tuple[PromptStage, ...]) -> tuple[PlannedStage, ...]:
    """Each text is weighed once: alternation repeats few of them over many stages."""
    weighed = {text: weigh(text) for text in {stage.text for stage in stages}}
    return tuple(PlannedStage(stage.until_step, weighed[stage.text]) for stage in stages)
