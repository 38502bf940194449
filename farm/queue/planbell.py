"""The bell of the planner: says, over Redis, that something changed that a plan should take into account.

It may be lost and says nothing else: without it, the next plan comes a second later.
"""

import contextlib
import time
from functools import cached_property

import redis
import structlog

log = structlog.get_logger(__name__)

_CHANNEL = "farm.plan"
_PATIENCE_SECONDS = 0.5
# A URL that is not one is a ValueError: whoever rings has work committed, which nothing may undo.
_FAILURES = (redis.RedisError, OSError, ValueError)


class PlanBell:
    """Rings whoever leads, and is heard by it. Never raises and never waits long for a Redis that is away."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._heard: redis.client.PubSub | None = None

    def ring(self, pool: str) -> None:
        """Say that there is something new in a pool."""
        try:
            self._redis.publish(_CHANNEL, pool)
        except _FAILURES as error:
            log.debug("The planner was not rung.", error=str(error))

    def wait(self, seconds: float) -> bool:
        """Wait for a ring, at most so long; whether one came. All that came until now count as one."""
        started = time.monotonic()
        try:
            return self._listen(seconds)
        except _FAILURES as error:
            log.debug("The planner's bell cannot be heard.", error=str(error))
            self._stop_listening()
            time.sleep(max(0.0, seconds - (time.monotonic() - started)))
            return False

    def close(self) -> None:
        self._stop_listening()
        with contextlib.suppress(*_FAILURES):
            self._redis.close()

    @cached_property
    def _redis(self) -> redis.Redis:
        return redis.Redis.from_url(
            self._redis_url, socket_timeout=_PATIENCE_SECONDS, socket_connect_timeout=_PATIENCE_SECONDS
        )

    def _listen(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        heard = self._start_listening()
        while (left := deadline - time.monotonic()) > 0:
            if heard.get_message(ignore_subscribe_messages=True, timeout=left):
                while heard.get_message(ignore_subscribe_messages=True, timeout=0):
                    pass
                return True
        return False

    def _start_listening(self) -> redis.client.PubSub:
        if self._heard is None:
            self._heard = self._redis.pubsub()  # type: ignore[no-untyped-call]  # redis types only a part of itself
            self._heard.subscribe(_CHANNEL)
        return self._heard

    def _stop_listening(self) -> None:
        heard, self._heard = self._heard, None
        if heard is not None:
            with contextlib.suppress(*_FAILURES):
                heard.close()
