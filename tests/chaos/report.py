"""What a drill came to, as a table for people and for `docs/promises-and-faults.md`."""

from collections.abc import Mapping, Sequence

from farm.bench.scratch import describe_machine
from tests.chaos.run import Drill, Outcome

_MOST_LINES = 40


def describe(drill: Drill, outcome: Outcome) -> str:
    """The faults with how often each struck, then the totals, in markdown."""
    plan = drill.plan
    setting = f"{drill.seconds:.0f} s, seed {plan.seed}, lease {plan.lease_seconds:g} s"
    farm = f"1 portal, {plan.keepers} keepers, {plan.hosts} workers"
    lines = [
        f"{setting}; {farm}; {describe_machine()}",
        "",
        table(("fault", "times"), [(name, str(count)) for name, count in _faults(drill, outcome)]),
        "",
        table(("total", "count"), [(name, f"{count:,}") for name, count in _totals(outcome).items()]),
    ]
    if outcome.logbook.errors:
        lines += ["", "Errors in the logs:", *(f"  {n} x {what}" for what, n in outcome.logbook.errors.items())]
    if outcome.broken:
        kept = f"; the logs are in {outcome.logs}" if outcome.logs else ""
        lines += ["", f"{len(outcome.broken)} promises broken{kept}:"]
        lines += [f"  {sentence}" for sentence in outcome.broken[:_MOST_LINES]]
    return "\n".join(lines)


def _faults(drill: Drill, outcome: Outcome) -> list[tuple[str, int]]:
    struck = [(name, outcome.faults[name]) for name in drill.faults]
    return [
        *struck,
        (f"rings lost, {drill.plan.lost_rings:.0%} of all", outcome.logbook.lost_rings),
        ("hosts whose clock is an hour fast, all the time", drill.plan.skewed_hosts),
        ("**faults in all**", outcome.faults.total() + outcome.logbook.lost_rings),
    ]


def _totals(outcome: Outcome) -> Mapping[str, int]:
    verdict = outcome.verdict
    return {
        "accepted images": verdict.accepted,
        "succeeded": verdict.statuses["succeeded"],
        "cancelled by users": verdict.statuses["cancelled"],
        "failed": verdict.statuses["failed"],
        "lost": verdict.lost,
        "stored twice": verdict.stored_twice,
        "wrong image": verdict.wrong,
        "stuck": verdict.stuck,
        "orphans left": verdict.orphans,
        "orphans swept": outcome.swept,
        "further attempts": verdict.repeated_attempts,
        "duplicate executions": outcome.logbook.duplicates,
        "refused stale writes": outcome.logbook.refused,
        "requests repeated": outcome.repeats,
        "handed back while the store was away": outcome.logbook.handed_back,
        "grids drawn": verdict.grids,
        "pictures downloaded": outcome.downloads.saved,
        "downloads that failed for a while": outcome.downloads.refused,
    }


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown that is aligned for reading as it is."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(f"{c:{w}}" for c, w in zip(line, widths, strict=True)) + " |" for line in lines
    )
