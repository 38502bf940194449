"""What the history of a worker shows against it: pure rules, over attempts that have ended.

What went wrong is put down to whatever all of it has in common: to the owner's job, to the checkpoint, or to
the worker.

- A batch counts once, however many images it had: one crash is one crash.
- What was handed back or cancelled counts neither way, nor does a batch of which something is excused: an
  image too large for the device's memory, what failed before a person mended it and said retry, a spec of a
  newer release.
- A lease that merely ended counts once its worker has been heard of again. One that is gone may have been
  switched off or cut off, and is not to blame.
- A batch with a task that other workers failed too counts for nothing: the task is at fault.
- A batch that other workers rendered, all of it, speaks against the worker: so a broken one is found, whichever
  owns the jobs.
- What nobody else has tried yet may be the fault of one owner's jobs, and speaks against the worker only
  where the jobs of several owners failed.
- What fails on other workers too is put down to the checkpoint, and leaves this worker in service.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any

_BAD_BATCHES_OF_A_WORKER = 5
_OWNERS = 2
_BAD_BATCHES_OF_A_CHECKPOINT = 3
_TASKS = 2

_LONGEST_ERROR = 300


@dataclass(frozen=True)
class Ended:
    """One ended attempt, as the rules see it; and how the same task ended on other workers, if it did."""

    batch: tuple[int, datetime]
    task_id: int
    owner_id: int
    checkpoint_id: int
    outcome: str
    error: str | None
    elsewhere: frozenset[str] = frozenset()
    is_excused: bool = False

    @property
    def is_refuted(self) -> bool:
        """Whether the task is at fault: others failed it too, and none rendered it."""
        return bool(self.elsewhere) and not self.is_confirmed

    @property
    def is_confirmed(self) -> bool:
        """Whether the worker is at fault: another one rendered the task."""
        return "succeeded" in self.elsewhere


def against_worker(history: Iterable[Ended], avoided_elsewhere: frozenset[int] = frozenset()) -> str | None:
    """Why the worker should render nothing more; None if it may go on. `history` begins with the newest."""
    bad = [entry for entry in _since_success(history) if entry.checkpoint_id not in avoided_elsewhere]
    evidence = _evidence(bad, _BAD_BATCHES_OF_A_WORKER)
    return evidence and f"its last {evidence}. The last error: {_short(bad[0].error)}"


def against_pair(history: Iterable[Ended], checkpoint_id: int) -> str | None:
    """Why the worker should be kept from the checkpoint; None if it may go on."""
    bad = _since_success(entry for entry in history if entry.checkpoint_id == checkpoint_id)
    if len({entry.task_id for entry in bad}) < _TASKS:
        return None
    evidence = _evidence(bad, _BAD_BATCHES_OF_A_CHECKPOINT)
    return evidence and f"with this checkpoint its last {evidence}. The last error: {_short(bad[0].error)}"


def _evidence(bad: Sequence[Ended], least: int) -> str | None:
    """What at least so many batches show, in words; None where they show nothing against the worker."""
    batches = [batch for batch in _by_batch(bad) if not any(entry.is_excused for entry in batch)]
    confirmed = [batch for batch in batches if all(entry.is_confirmed for entry in batch)]
    if len(confirmed) >= least:
        return f"{len(confirmed)} batches failed, and other workers rendered them"
    # One task that is at fault fails its whole batch.
    open_ = [batch for batch in batches if not any(entry.is_refuted for entry in batch)]
    if len(open_) >= least and len(owners := _sole_owners(open_)) >= _OWNERS:
        return f"{len(open_)} batches failed, for {len(owners)} owners"
    return None


def _sole_owners(batches: Iterable[Sequence[Ended]]) -> set[int]:
    """The owners of batches that were wholly theirs: in a mixed one any of them may be at fault."""
    owners = [{entry.owner_id for entry in batch} for batch in batches]
    return {owner for of_batch in owners if len(of_batch) == 1 for owner in of_batch}


def _by_batch(entries: Iterable[Ended]) -> Sequence[Sequence[Ended]]:
    batches: dict[Any, list[Ended]] = defaultdict(list)
    for entry in entries:
        batches[entry.batch].append(entry)
    return list(batches.values())


def _since_success(history: Iterable[Ended]) -> list[Ended]:
    return list(takewhile(lambda entry: entry.outcome != "succeeded", history))


def _short(error: str | None) -> str:
    text = (error or "unknown").rstrip(".")
    return text if len(text) <= _LONGEST_ERROR else f"{text[:_LONGEST_ERROR]}…"
