"""Objects in the store that belong to no image and never will: what a worker had uploaded when it died, say.

The rule needs no clock. Keys are listed first and judged second, each page by one statement:

- An object that an artifact names belongs to it.
- The key of a rendered object names job, task and attempt. Attempts only grow: what the task has gone
  beyond, or is not running any more, can never be published. That is an orphan.
- The key of an upload's object stands in `discards` from before the object is put until its artifact names it:
  what was put in vain is deleted from there (see `farm.pictures.uploads`), and is no orphan here.
- What names no task of this farm, or an attempt that has not been, is a stranger: somebody else's, or from
  after the backup that this database was restored from. It is counted and left alone.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.orm import Session

from farm.db.connection import Database
from farm.errors import StoreRefused
from farm.store.keys import WEIGHTS, RenderedKey, parse_key
from farm.store.protocol import Store, delete_each
from farm.weights.blobs import tidy

log = structlog.get_logger(__name__)

_PAGE = 1000
_LEFTOVER_SECONDS = 86400.0


@dataclass(frozen=True)
class Verdict:
    """Which keys of a page are orphans, and how many are strangers."""

    orphans: Sequence[str]
    strangers: int


@dataclass(frozen=True)
class Swept:
    """What a sweep found; `orphans` and `leftovers` are deleted, `strangers` are still there."""

    orphans: int
    leftovers: int
    strangers: int

    def __str__(self) -> str:
        return (
            f"deleted: {self.orphans} orphans, {self.leftovers} half-written files; "
            f"left alone: {self.strangers} objects that are not this farm's"
        )


def sweep(database: Database, store: Store) -> Swept:
    """Delete every orphan, page by page. Raises StoreError; nothing is lost by sweeping again.

    What the store refuses to do keeps the rest from nothing: the right to list begun uploads is often missing.
    """
    orphans = strangers = 0
    others = (key for key in store.keys("") if not key.startswith(WEIGHTS))
    for page in _pages(others):
        with database.begin() as session:
            verdict = judge(session, page)
        orphans += len(delete_each(store, verdict.orphans))
        strangers += verdict.strangers
    # Weights have a rule of their own: nothing tells when one of them was put.
    orphans += _unless_refused(lambda: tidy(database, store))
    leftovers = _unless_refused(lambda: store.clear_leftovers(_LEFTOVER_SECONDS))
    return Swept(orphans, leftovers, strangers)


def _unless_refused(step: Callable[[], int]) -> int:
    try:
        return step()
    except StoreRefused as error:
        log.warning("The store refuses a step of the sweep.", error=str(error))
        return 0


def judge(session: Session, keys: Sequence[str]) -> Verdict:
    """Tell orphans from strangers among keys that were listed before."""
    columns: dict[str, list[Any]] = {"keys": list(keys), "jobs": [], "tasks": [], "attempts": []}
    for key in map(parse_key, keys):
        rendered = key if isinstance(key, RenderedKey) else None
        columns["jobs"].append(rendered and rendered.job_id)
        columns["tasks"].append(rendered and rendered.task_id)
        columns["attempts"].append(rendered and rendered.attempt)
    found = session.execute(_JUDGE, columns).all()
    orphans = [key for key, is_orphan in found if is_orphan]
    return Verdict(orphans, strangers=len(found) - len(orphans))


_JUDGE = text(
    """
    SELECT k.key, coalesce(k.attempt <= t.attempt, false)
    FROM unnest(
        CAST(:keys AS text[]), CAST(:jobs AS bigint[]), CAST(:tasks AS bigint[]), CAST(:attempts AS bigint[])
    ) AS k (key, job_id, task_id, attempt)
    LEFT JOIN tasks t ON t.id = k.task_id AND t.job_id = k.job_id
    WHERE NOT EXISTS (SELECT FROM artifacts WHERE artifacts.key = k.key)
      AND NOT EXISTS (SELECT FROM discards WHERE discards.key = k.key)
      AND (t.status = 'running' AND t.attempt = k.attempt) IS NOT TRUE
    """
)


def _pages(keys: Iterable[str]) -> Iterator[list[str]]:
    rest = iter(keys)
    while page := list(islice(rest, _PAGE)):
        yield page
