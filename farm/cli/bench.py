"""`farm bench`: measurements that print figures, each on a scratch farm of its own."""

import os
from typing import Any

import click

from farm.bench import claim as claim_bench
from farm.bench import memory as memory_bench
from farm.bench import overhead as overhead_bench
from farm.bench import spread as spread_bench
from farm.bench import submit as submit_bench
from farm.bench import threads as threads_bench
from farm.bench.fleet import report as fleet_report
from farm.bench.fleet import run as fleet_run
from farm.bench.fleet.options import FleetOptions
from farm.bench.policy import curve as policy_curve
from farm.bench.policy import report as policy_report
from farm.bench.policy.scenario import Made
from farm.bench.policy.scenarios import SCENARIOS, drain
from farm.bench.scratch import describe_machine
from farm.cli.extras import require_worker_packages


@click.group()
def bench() -> None:
    """Measure this machine. Nothing of a running farm is touched."""


@bench.command()
@click.option("--images", default=10_000, show_default=True, type=click.IntRange(100, 100_000))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1, 50))
def submit(images: int, rounds: int) -> None:
    """How long accepting one job takes."""
    figures = submit_bench.measure(images, rounds)
    click.echo(describe_machine())
    click.echo(f"accept a job of {figures.images:,} images: {figures.submit_seconds:.3f} s (median of {rounds})")
    click.echo(f"bare COPY of the same rows: {figures.copy_seconds:.3f} s")
    click.echo(f"ratio: {figures.ratio:.2f}")


@bench.command()
@click.option("--rounds", default=100, show_default=True, type=click.IntRange(20, 1000), help="Claims from each.")
@click.option("--batch", default=8, show_default=True, type=click.IntRange(1, 64))
@click.option("--tasks", default=1_000_000, show_default=True, type=click.IntRange(10_000, 10_000_000))
def claim(rounds: int, batch: int, tasks: int) -> None:
    """How fast a worker claims, by what is queued beside it, with a plan and without."""
    click.echo(f"{describe_machine()}, load average {os.getloadavg()[0]:.1f}; claims of {batch} images")
    found = claim_bench.measure(claim_bench.list_fillings(tasks), rounds=rounds, batch=batch)
    first = {figures.has_plan: figures.p50 for figures in reversed(found)}
    for figures in found:
        click.echo(
            f"{figures.filling.name}, {'with a seat' if figures.has_plan else 'without a plan'}: "
            f"p50 {figures.p50 * 1000:.1f} ms, p95 {figures.p95 * 1000:.1f} ms; "
            f"p50 {figures.p50 / first[figures.has_plan]:.2f} times the first"
        )


@bench.command()
@click.option("--images", default=50, show_default=True, type=click.IntRange(1, 1000), help="In each round.")
@click.option("--side", default=256, show_default=True, type=click.IntRange(64, 1024), help="Pixels.")
@click.option("--rounds", default=4, show_default=True, type=click.IntRange(1, 20))
@click.option("--starts", default=15, show_default=True, type=click.IntRange(1, 100))
def overhead(images: int, side: int, rounds: int, starts: int) -> None:
    """The farm's overhead compared with a bare loop of the same pipeline calls."""
    require_worker_packages()
    figures = overhead_bench.measure(images, side=side, rounds=rounds, starts=starts)
    click.echo(describe_machine())
    click.echo(f"{figures.images} images of {side} px, batch 1: {figures.farm_seconds:.1f} s through the farm")
    click.echo(f"the same calls in a bare loop: {figures.bare_seconds:.1f} s")
    click.echo(f"ratio: {figures.ratio:.3f}")
    click.echo(
        f"submit to first step on an idle worker: p50 {figures.first_step_seconds * 1000:.0f} ms of {starts}"
    )


@bench.command()
@click.option("--jobs", default=50, show_default=True, type=click.IntRange(20, 10_000))
@click.option("--checkpoints", default=5, show_default=True, type=click.IntRange(2, 50))
@click.option("--residents", default=3, show_default=True, type=click.IntRange(1, 50), help="So many have room.")
def memory(jobs: int, checkpoints: int, residents: int) -> None:
    """Whether a worker's memory stays flat while checkpoints alternate, and how many loads it avoids."""
    require_worker_packages()
    figures = memory_bench.measure(jobs, checkpoints, residents)
    click.echo(describe_machine())
    click.echo(
        f"{jobs} jobs that alternate {checkpoints} checkpoints of {figures.checkpoint_bytes / 2**20:.0f} MiB each; "
        f"a budget of {residents}; resident memory of the worker, medians:"
    )
    for name, value in zip(("first", "second", "last"), figures.thirds, strict=True):
        click.echo(f"  {name} third: {value / 2**20:.0f} MiB")
    click.echo(f"growth: {100 * (figures.growth - 1):+.1f} %, at most {figures.most_bytes / 2**20:.0f} MiB")
    click.echo(
        f"loads: {figures.loads} (at least {figures.fewest_loads}); with one resident {jobs}: "
        f"{figures.loads_avoided} avoided, {100 * figures.loads_avoided / jobs:.0f} %"
    )


@bench.command()
@click.option("--images", default=2, show_default=True, type=click.IntRange(1, 1000), help="In each round.")
@click.option("--rounds", default=1, show_default=True, type=click.IntRange(1, 50))
def threads(images: int, rounds: int) -> None:
    """What one other busy process costs a render on the CPU, by the way torch's threads wait for each other."""
    require_worker_packages()
    click.echo(f"{describe_machine()}, load average {os.getloadavg()[0]:.1f}")
    click.echo(f"{images} images of 128 px, medians of {rounds}:")
    for figures in threads_bench.measure(images, rounds=rounds):
        click.echo(
            f"  {figures.policy:<33}alone {figures.alone_seconds:6.2f} s, next to a busy process "
            f"{figures.beside_seconds:6.2f} s: {figures.ratio:.1f} times"
        )


@bench.command()
@click.option("--scenario", "names", multiple=True, type=click.Choice(list(SCENARIOS)), help="Default: all.")
@click.option("--devices", type=click.IntRange(1, 10_000), help="Left out: as many as the scenario has.")
@click.option("--hours", type=click.FloatRange(0.2, 100), help="Of virtual time. Left out: the scenario's own.")
@click.option("--seed", default=1, show_default=True)
@click.option("--curve", is_flag=True, help="Instead: fairness against reloading, by FARM_RELOAD_SHARE.")
@click.option("--deaths", is_flag=True, help="Instead: how much longer a drain takes if 5 % of the devices die.")
def policy(
    names: tuple[str, ...], devices: int | None, hours: float | None, seed: int, curve: bool, deaths: bool
) -> None:
    """The real planner in virtual time; exits with 1 if an invariant breaks.

    A scenario takes from seconds to minutes; the ones named large and huge take longest.
    """
    click.echo(describe_machine())
    if curve:
        _print_curve(seed, hours or 1.0)
    elif deaths:
        _print_deaths(seed, devices or 1000)
    else:
        _print_scenarios(names or tuple(SCENARIOS), devices, hours, seed)


def _print_scenarios(names: tuple[str, ...], devices: int | None, hours: float | None, seed: int) -> None:
    broken = 0
    for name in names:
        scenario = SCENARIOS[name]()
        if devices is not None:
            scenario = scenario.of(made=(Made(devices, slots=scenario.made[0].slots),))
        if hours is not None:
            scenario = scenario.of(hours=hours)
        result = policy_report.simulate(scenario, seed)
        click.echo("\n".join([f"[{name}] of {scenario.devices:,} devices", *policy_report.describe(result)]))
        broken += len(result.broken)
    if broken:
        raise click.exceptions.Exit(1)


def _print_curve(seed: int, hours: float) -> None:
    for name, part, result in policy_curve.measure_curve(seed, hours):
        worst = f"{100 * result.worst[0]:+6.1f} %" if result.worst else "-"
        click.echo(
            f"{name:<10}reload_share {part:5.3f}: reloading {100 * result.reloading:5.2f} %, worst share {worst}"
        )


def _print_deaths(seed: int, devices: int) -> None:
    ended = [policy_report.simulate(drain(devices, dying=dying), seed) for dying in (0.0, 0.05)]
    for result in ended:
        click.echo(f"{result.scenario.name}, {devices:,} devices: {result.ended_at:.0f} s")
        click.echo("\n".join(f"  BROKEN: {what}" for what in result.broken) or "  nothing lost")
    click.echo(f"longer by {100 * (ended[1].ended_at / ended[0].ended_at - 1):.1f} %")
    if any(result.broken for result in ended):
        raise click.exceptions.Exit(1)


@bench.command()
@click.option("--devices", default=1000, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--tasks", default=100_000, show_default=True, type=click.IntRange(1, 10_000_000), help="Images.")
@click.option("--owners", default=100, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--checkpoints", default=200, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--image-seconds", type=click.FloatRange(0.001, 3600), help="Left out: as --offered asks for.")
@click.option("--load-seconds", default=15.0, show_default=True, type=click.FloatRange(0, 3600))
@click.option("--slots", default=1, show_default=True, type=click.IntRange(1, 64), help="Checkpoints on a device.")
@click.option("--offered", default=0.8, show_default=True, type=click.FloatRange(0.01, 2), help="Of the ceiling.")
@click.option("--load", default=0.0, show_default=True, type=click.FloatRange(0, 2), help="0: all jobs at once.")
@click.option("--seed", default=1, show_default=True)
def fleet(**options: Any) -> None:
    """Many simulated devices on a real Postgres and Redis, with the real claims, renewals and publishes.

    First the ceiling is measured: how many images a second the machine claims and publishes if nothing renders.
    Then the devices render, each image for so long that all devices together make --offered of the ceiling. All
    jobs are there at once; with --load they come one after the other, and ask for so much of what the devices
    can render. Exits with 1 if an invariant breaks.
    """
    click.echo(f"{describe_machine()}, load average {os.getloadavg()[0]:.1f}")
    wanted = FleetOptions(**options)
    ceiling = fleet_run.measure_ceiling(wanted)
    for line in fleet_report.describe_ceiling(ceiling, wanted.devices):
        click.echo(line)
    figures = fleet_run.measure(wanted, ceiling)
    for line in fleet_report.describe(figures):
        click.echo(line)
    if figures.broken:
        raise click.exceptions.Exit(1)


@bench.command()
@click.option("--rounds", default=10, show_default=True, type=click.IntRange(1, 100))
@click.option("--image-seconds", default=0.5, show_default=True, type=click.FloatRange(0.01, 60))
def spread(rounds: int, image_seconds: float) -> None:
    """Whether simultaneous claims spread over what waits, and whether small jobs fill batches."""
    click.echo(f"{describe_machine()}, load average {os.getloadavg()[0]:.1f}")
    found = spread_bench.measure_spread(rounds)
    click.echo(
        f"{found.claimers} workers claim at once, {found.claimers} jobs of one image wait, each of its own batch "
        f"key: with nothing were left, in {rounds} rounds: {', '.join(map(str, found.empty_handed))}"
    )
    for has_planner in (True, False):
        figures = spread_bench.measure_fill(has_planner=has_planner, image_seconds=image_seconds)
        click.echo(
            f"{figures.options.tasks:,} images of one batch key in {figures.jobs:,} jobs on "
            f"{figures.options.devices} devices, {'with' if has_planner else 'without'} the planner: "
            f"mean batch {figures.mean_batch:.2f} of {figures.options.batch}"
        )
