"""`python -m tests.chaos`: break a real farm and see whether it keeps its promises. `--help` lists the commands."""

import argparse
import sys
from collections.abc import Callable

from tests.chaos import drills, figures, outage, recovery, report
from tests.chaos.endurance import endure
from tests.chaos.run import carry_out

_SMALL_SPOOL_BYTES = 2**20

Command = Callable[[argparse.Namespace], bool]


def main() -> int:
    """The exit status: 0 if every promise was kept."""
    arguments = _parser().parse_args()
    command: Command = arguments.command
    return 0 if command(arguments) else 1


def _run(arguments: argparse.Namespace) -> bool:
    drill = drills.full(arguments.seed, arguments.seconds, arguments.lease)
    outcome = carry_out(drill)
    _say(report.describe(drill, outcome))
    return not outcome.broken


def _ablate(arguments: argparse.Namespace) -> bool:
    found_out = [_is_found_out(build(arguments.seed)) for build in (drills.no_fence, drills.no_keeper)]
    return all(found_out)


def _is_found_out(ablation: drills.Ablation) -> bool:
    outcome = carry_out(ablation.drill)
    found = ablation.shown_by(outcome)
    _say(f"\nWithout {ablation.missing} the harness finds {ablation.symptom}: {found}\n")
    _say(report.describe(ablation.drill, outcome))
    return bool(found)


def _recover(arguments: argparse.Namespace) -> bool:
    found = recovery.measure(arguments.rounds)
    _say(figures.recoveries(found))
    outages = [outage.measure(arguments.outage), outage.measure(arguments.outage, spool_limit=_SMALL_SPOOL_BYTES)]
    for each in outages:
        _say(f"\n{figures.outage(each)}")
    return all(each.is_kept for each in found) and all(each.is_kept for each in outages)


def _endure(arguments: argparse.Namespace) -> bool:
    found = endure(arguments.minutes, arguments.rate, arguments.sample)
    _say(figures.endurance(found))
    return not list(found.complaints())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def add(name: str, command: Command, words: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=words)
        added.set_defaults(command=command)
        return added

    chaos = add("run", _run, "every fault against the farm as it is")
    chaos.add_argument("--seconds", type=float, default=600)
    chaos.add_argument("--seed", type=int, default=7)
    chaos.add_argument("--lease", type=float, default=4, help="seconds")
    ablations = add("ablations", _ablate, "farms without a safeguard, which must be found out")
    ablations.add_argument("--seed", type=int, default=7)
    recover = add("recovery", _recover, "how long it takes to go on after a loss or in an outage")
    recover.add_argument("--rounds", type=int, default=7)
    recover.add_argument("--outage", type=float, default=60, help="seconds")
    last = add("endurance", _endure, "what grows under steady work")
    last.add_argument("--minutes", type=float, default=30)
    last.add_argument("--rate", type=float, default=8, help="images per second")
    last.add_argument("--sample", type=float, default=30, help="seconds between samples")
    return parser


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
