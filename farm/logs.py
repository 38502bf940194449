"""Logging: one sentence for people, fields for machines.

What users sent may stand in any message. Nothing of it can start a line of its own or steer a terminal:
JSON escapes all but ASCII, and for reading what cannot be printed is escaped here.
"""

import logging
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO, cast

import structlog
from structlog.typing import EventDict, Processor

from farm.config import Settings

# What has lines of its own. They are indented, so that none can pass for an entry of the log.
_MANY_LINES = frozenset({"exception", "stack"})


def configure(settings: Settings) -> None:
    """Write log lines to stderr, for reading or as JSON, both from structlog and from libraries."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    rendering = _as_json() if settings.log_format == "json" else _for_reading()
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Patient(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


@dataclass(frozen=True)
class _Patient:
    """A stream that loses what it cannot write: a reader that is gone, or a full disk, costs lines and no work.

    The standard library's handlers do so by themselves.
    """

    stream: TextIO

    def write(self, text: str) -> None:
        with suppress(OSError):
            self.stream.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self.stream.flush()


def _as_json() -> Sequence[Processor]:
    return [structlog.processors.JSONRenderer()]


def _for_reading() -> Sequence[Processor]:
    return [_escape, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0)]


def _escape(_logger: object, _method: str, event: EventDict) -> EventDict:
    return {name: _lines(value) if name in _MANY_LINES else _value(value) for name, value in event.items()}


@dataclass(frozen=True, repr=False)
class _Escaped:
    """A text that the renderer, which prints strings as they are, shows with its unprintables escaped."""

    text: str

    def __repr__(self) -> str:
        return repr(self.text)


def _value(value: object) -> object:
    text = value if isinstance(value, str) else repr(value)
    return value if text.isprintable() else _Escaped(text)


def _lines(text: str) -> str:
    """A traceback, whose last line may be a user's words."""
    return "\n".join(f"  {line if line.isprintable() else repr(line)}" for line in text.split("\n"))
