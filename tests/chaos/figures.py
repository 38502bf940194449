"""The figures of recovery, outages and endurance, as tables for people and for `docs/promises-and-faults.md`."""

from collections.abc import Iterator, Sequence

from farm.bench.scratch import describe_machine
from tests.chaos.endurance import Endurance, Figures
from tests.chaos.outage import Outage
from tests.chaos.recovery import Recovery
from tests.chaos.report import table
from tests.chaos.samples import Sample

_MIB = 2**20


def recoveries(found: Sequence[Recovery]) -> str:
    rows = [
        (
            r.name,
            f"{r.median_seconds:.2f} s",
            f"{max(r.seconds):.2f} s",
            str(len(r.seconds)),
            "none" if r.bound_seconds is None else f"{r.bound_seconds:g} s" + ("" if r.is_kept else ", broken"),
        )
        for r in found
    ]
    return f"{describe_machine()}\n\n" + table(
        ("loss", "median to the next attempt", "longest", "of", "bound"), rows
    )


def outage(found: Outage) -> str:
    """Renders in each 10 s; those during the outage stand between the bars."""
    before, during, after = (
        " ".join(map(str, part))
        for part in (found.renders[: found.began], found.renders_during, found.renders[found.ended :])
    )
    return (
        f"Storage answers 500 for {found.seconds:.0f} s, {found.images_per_second:g} images/s submitted, "
        f"spool bounded at {found.spool_limit / _MIB:,.0f} MiB:\n"
        f"  images rendered in each 10 s: {before} | {during} | {after}\n"
        f"  images {found.tasks}, most attempts of one {found.most_attempts}, "
        f"fullest spool of a worker {found.spool_bytes / _MIB:.2f} MiB"
        + ("" if found.is_kept else "\n  a promise broke")
    )


def endurance(found: Endurance) -> str:
    last = found.samples[-1]
    lines = [
        (
            f"{last.at / 60:.0f} min, {found.images_per_second:g} images/s, {last.images:,} images; "
            f"{describe_machine()}"
        ),
        "",
        table(("resident memory", "first third", "last third", "growth"), list(_memory(found))),
        "",
        table(("connections", "first third", "last third"), list(_counts(found, lambda s: s.connections))),
        "",
        table(("dead rows", "first third", "last third"), list(_counts(found, lambda s: s.dead))),
        "",
        "MiB of tables: " + ", ".join(f"{name} {size / _MIB:.1f}" for name, size in _largest(last)),
        f"MiB in the spools: {last.spool_bytes / _MIB:.2f}; images waiting at the end: {found.unfinished}",
    ]
    return "\n".join([*lines, *(f"BROKEN: {sentence}" for sentence in found.complaints())])


def _memory(found: Endurance) -> Iterator[Sequence[str]]:
    for name, (first, _, last) in found.thirds(lambda s: s.memory).items():
        yield name, f"{first / _MIB:.1f} MiB", f"{last / _MIB:.1f} MiB", f"{last / first - 1:+.1%}"


def _counts(found: Endurance, figures: Figures) -> Iterator[Sequence[str]]:
    for name, (first, _, last) in found.thirds(figures).items():
        if first or last:
            yield name, f"{first:.0f}", f"{last:.0f}"


def _largest(sample: Sample) -> list[tuple[str, int]]:
    return sorted(sample.sizes.items(), key=lambda item: -item[1])[:6]
