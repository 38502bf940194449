"""`python -m tests.bench`: what the farm is measured against from outside. `--help` lists the commands."""

import argparse
import sys
from collections.abc import Callable

from farm.bench.scratch import describe_machine, scratch_folder
from tests.bench.contest import carry_out, describe
from tests.bench.former import beside
from tests.bench.former.life import write_life
from tests.bench.former.record import LIFE, record
from tests.bench.mix import Mix
from tests.bench.weights import write_checkpoints

_CHECKPOINTS = ("first", "second", "third", "fourth")

Command = Callable[[argparse.Namespace], bool]


def main() -> int:
    """The exit status: 0 if all went well."""
    arguments = _parser().parse_args()
    command: Command = arguments.command
    return 0 if command(arguments) else 1


def _yardstick(arguments: argparse.Namespace) -> bool:
    """Whether every image that both rendered alone came out the same."""
    _say(describe_machine())
    are_same = True
    with scratch_folder() as folder:
        write_checkpoints(folder / "weights", _CHECKPOINTS)
        for owners in arguments.owners:
            mix = Mix(
                arguments.tasks,
                _CHECKPOINTS,
                [f"owner-{number + 1}" for number in range(owners)],
                sides=(arguments.side, arguments.side * 3 // 4),
                steps=arguments.steps,
                in_a_row=arguments.in_a_row,
                images_per_job=arguments.job,
            )
            outcome = carry_out(mix, folder / "weights", folder / f"owners-{owners}")
            _say(f"\n{describe(outcome)}")
            are_same &= not any(outcome.differences_alone)
    return are_same


def _try_former_release(arguments: argparse.Namespace) -> bool:
    """Whether its workers keep every promise beside this release, which is the order of an upgrade."""
    verdicts = list(beside.try_all(arguments.revision))
    _say(beside.describe(verdicts))
    return not any(verdict.broken for verdict in verdicts if verdict.trial.former == "worker")


def _record_former_release(arguments: argparse.Namespace) -> bool:
    """Write down anew what the release tells Postgres, for the suite to tell it again."""
    write_life(record(arguments.revision), LIFE)
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    commands = parser.add_subparsers(required=True)

    def add(name: str, command: Command, words: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=words)
        added.set_defaults(command=command)
        return added

    yardstick = add("yardstick", _yardstick, "the farm against a plain Celery farm, on two CPU workers")
    yardstick.add_argument("--tasks", type=int, default=500, help="images in each run")
    yardstick.add_argument("--owners", type=int, nargs="+", default=[1, 4], choices=(1, 2, 4))
    yardstick.add_argument("--side", type=int, default=128, help="pixels")
    yardstick.add_argument("--steps", type=int, default=8)
    yardstick.add_argument("--job", type=int, default=20, help="images that an owner submits at a time")
    yardstick.add_argument("--in-a-row", type=int, default=1, help="images of a checkpoint that come together")
    former = add("former-release", _try_former_release, "a former release beside this one, on one database")
    former.add_argument("revision", help="of git, of the release before this one")
    recorded = add("record-former-release", _record_former_release, "what a former release tells Postgres, anew")
    recorded.add_argument("revision", help="of git, with the schema of tests/releases/0007-in-use.sql")
    return parser


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
