"""Every error the farm raises on purpose; the docstring of each is its default message."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self


class FarmError(Exception):
    """Something went wrong in the farm."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class ConfigError(FarmError):
    """A setting is missing or wrong."""


@dataclass(frozen=True)
class FieldProblem:
    """One thing wrong with one field of a request, and how to put it right."""

    field: str
    message: str


class InvalidRequest(FarmError):
    """The request has mistakes; nothing was stored."""

    def __init__(self, problems: list[FieldProblem]) -> None:
        self.problems = problems
        super().__init__("; ".join(f"{p.field}: {p.message}" for p in problems))

    @classmethod
    def at(cls, field: str, message: str) -> Self:
        """The refusal for one problem with one field, which is the usual number."""
        return cls([FieldProblem(field, message)])


class NotFound(FarmError):
    """There is no such thing here."""


class Conflict(FarmError):
    """The thing is not in a state that allows this."""


class IdempotencyConflict(Conflict):
    """This Idempotency-Key was used before with a different request."""


class Raced(FarmError):
    """Others claim at this moment all that this worker could take; try again at once.

    `jobs`: the ids of those that no device is left for at this moment. Try without them: there may be others.
    """

    def __init__(self, jobs: Iterable[int] = ()) -> None:
        super().__init__("Others claim at this moment all that this worker could take.")
        self.jobs = frozenset(jobs)


class Busy(FarmError):
    """Many pictures are being read at this moment; try again shortly."""


class StoreError(FarmError):
    """The artifact store refused or failed."""


class StoreOutage(StoreError):
    """The artifact store does not answer now.

    It passes by itself: a timeout, a 5xx, a body cut short, a network share that is gone. It says nothing
    of the object, nor of who wants it.
    """


class StoreRefused(StoreError):
    """The artifact store refuses this farm.

    Credentials, bucket or rights are wrong, until a person mends them. It says nothing of the object either.
    """


class StoreFull(StoreError):
    """The artifact store has no room left."""


class ObjectMissing(StoreError):
    """The artifact store holds no such object."""


class RenderError(FarmError):
    """A render attempt failed.

    `is_retryable` is decided where the error is raised: another attempt may help (a lost file
    system, a broken device) or cannot (the checkpoint refuses the request). `relief` names what was
    done before, for want of memory.
    """

    is_retryable = True
    relief: Sequence[str] = ()


class CannotRender(RenderError):
    """This task cannot be rendered, and another attempt would fail alike."""

    is_retryable = False


class DeviceBroken(RenderError):
    """The device failed in a way that lasts as long as its process, which ends. A fresh one may do better."""


class OutOfMemory(RenderError):
    """The device has too little memory for this image. Another device may have more."""

    def __init__(self, message: str, relief: Sequence[str]) -> None:
        super().__init__(message)
        self.relief = relief


class StoreAway(RenderError):
    """What a render needs cannot be read from the store now.

    Neither the task nor the worker is to blame: it is handed back, which costs no try.
    """


class DeviceUnfit(FarmError):
    """The device of a worker cannot render."""


class LeaseLost(FarmError):
    """The lease ended or the task was cancelled while it rendered."""
