"""What a run showed, in lines for people."""

from collections.abc import Iterator, Sequence

from farm.bench.fleet.calls import CONNECTIONS_OF_A_DEVICE
from farm.bench.fleet.ceiling import Ceiling
from farm.bench.fleet.figures.samples import quantile
from farm.bench.fleet.figures.watch import Cost
from farm.bench.fleet.run import FleetFigures


def describe_ceiling(ceiling: Ceiling, devices: int) -> Iterator[str]:
    """What this machine takes where no device ever renders."""
    for alone in ceiling.alone:
        how = f"in batches of {alone.batch}" if alone.batch > 1 else "one by one"
        yield (
            f"alone, {how}: {alone.claims_per_second:,.0f} claims/s ({alone.claimed_per_second:,.0f} images/s), "
            f"and {alone.published_per_second:,.0f} images/s published"
        )
    fleet = ceiling.fleet
    renewals = len(fleet.samples.beats) / fleet.samples.seconds
    yield (
        f"ceiling of {devices:,} devices that claim, publish and renew: {fleet.images_per_second:,.0f} images/s, "
        f"{fleet.claims_per_second:,.0f} claims/s, {renewals:,.0f} renewals/s"
    )
    yield f"  bound by {fleet.cost.binds}"
    yield f"  processor: {_describe_parts(fleet.cost)}"
    yield f"  seen at active statements: {_describe_counts(fleet.cost)}"


def describe(figures: FleetFigures) -> Iterator[str]:
    """What the fleet did."""
    options, samples, timing = figures.options, figures.samples, figures.timing
    yield (
        f"{options.devices:,} devices; {options.tasks:,} images in {figures.jobs:,} jobs of {options.owners} "
        f"owners and {options.checkpoints} checkpoints; {timing.image_seconds:.2f} s an image of 512 x 512, "
        f"{timing.load_seconds:.0f} s a load"
    )
    device_seconds = options.devices * figures.drain_seconds
    yield (
        f"rendering {samples.render_seconds / device_seconds:.1%} of the device time, reloading "
        f"{samples.load_seconds / device_seconds:.1%} ({samples.loads:,} loads)"
    )
    yield (
        f"drained in {figures.drain_seconds:.1f} s, ideal {figures.ideal_seconds:.1f} s: "
        f"{figures.drain_seconds / figures.ideal_seconds:.2f} times"
    )
    yield f"mean batch {figures.mean_batch:.2f} of {options.batch}"
    yield (
        f"off the fair share in the first half: {figures.deviation.mean:.1%} (mean of the owners), "
        f"{figures.deviation.worst:.1%} (worst)"
    )
    yield from _describe_calls(figures)
    yield from _describe_waits(figures)
    yield from _describe_cost(figures)
    yield from (f"error: {error}" for error in samples.errors)
    yield from (f"BROKEN: {name} ({count:,})" for name, count in figures.broken.items())


def _describe_calls(figures: FleetFigures) -> Iterator[str]:
    samples = figures.samples
    asked = [seconds + late for seconds, late in zip(samples.claims, samples.late, strict=True)]
    yield (
        f"claim: p50 {_ms(samples.claims, 0.5)}, p95 {_ms(samples.claims, 0.95)}, p99 "
        f"{_ms(samples.claims, 0.99)} ms of {len(samples.claims):,}; {len(samples.empty_claims):,} more found "
        f"nothing, {samples.races:,} lost a race"
    )
    yield (
        f"  with the wait for a thread that acts for the device: p50 {_ms(asked, 0.5)}, p95 {_ms(asked, 0.95)}, "
        f"p99 {_ms(asked, 0.99)} ms"
    )
    yield (
        f"publish of a batch: p50 {_ms(samples.publishes, 0.5)}, p99 {_ms(samples.publishes, 0.99)} ms; "
        f"{samples.published / samples.seconds:,.0f} images/s; {samples.lost:,} images lost their lease"
    )
    yield (
        f"renewals: {len(samples.beats) / figures.drain_seconds:,.0f}/s, {figures.due_renewals:,.0f}/s are due; "
        f"p50 {_ms(samples.beats, 0.5)}, "
        f"p99 {_ms(samples.beats, 0.99)} ms"
    )


def _describe_waits(figures: FleetFigures) -> Iterator[str]:
    for work_class, waits in figures.waits.items():
        yield (
            f"waits, {work_class}: p50 {waits.p50:.1f}, p95 {waits.p95:.1f}, p99 {waits.p99:.1f}, longest "
            f"{waits.longest:.1f} s ({waits.images:,} images)"
        )


def _describe_cost(figures: FleetFigures) -> Iterator[str]:
    cost, devices = figures.cost, figures.options.devices
    yield f"processor: {_describe_parts(cost)}"
    yield f"seen at active statements: {_describe_counts(cost)}"
    at_most = ", ".join(f"{name} {count}" for name, count in sorted(cost.connections.items()))
    yield (
        f"connections at most: {at_most}; the simulated devices share theirs: real ones would hold "
        f"{CONNECTIONS_OF_A_DEVICE} each, {devices * CONNECTIONS_OF_A_DEVICE:,} in all, which wants a PgBouncer"
    )


def _describe_parts(cost: Cost) -> str:
    parts = ", ".join(f"{name} {used / cost.seconds:.2f}" for name, used in cost.cpu_seconds.items())
    return f"{parts} of {cost.cores} cores"


def _describe_counts(cost: Cost) -> str:
    seen = sorted(cost.waits.items(), key=lambda item: -item[1])[:5]
    total = sum(cost.waits.values())
    return ", ".join(f"{name} {count / total:.0%}" for name, count in seen) or "nothing"


def _ms(seconds: Sequence[float], part: float) -> str:
    return f"{quantile(seconds, part) * 1000:.1f}"
