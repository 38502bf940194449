"""The current step of each running task: kept in Redis, may be lost, and nothing waits for it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import redis
import structlog

log = structlog.get_logger(__name__)

_EXPIRES_SECONDS = 60


@dataclass(frozen=True)
class Progress:
    """Steps done out of all steps of one task's attempt."""

    attempt: int
    step: int
    steps: int

    @property
    def fraction(self) -> float:
        return self.step / self.steps if self.steps else 0.0


class ProgressBoard:
    """Writes and reads progress. A Redis that does not answer costs half a second, and raises nothing."""

    def __init__(self, redis_url: str) -> None:
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=0.5, socket_connect_timeout=0.5)

    def write(self, progress: Mapping[int, Progress]) -> None:
        """Write the progress of tasks, by task id."""
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for task_id, p in progress.items():
                    pipeline.set(_key(task_id), f"{p.attempt} {p.step} {p.steps}", ex=_EXPIRES_SECONDS)
                pipeline.execute()
        except redis.RedisError as error:
            log.debug("Progress was not written to Redis.", error=str(error))

    def read(self, task_ids: Iterable[int]) -> dict[int, Progress]:
        """The progress of those tasks that wrote some recently."""
        ids = list(task_ids)
        if not ids:
            return {}
        try:
            values = self._redis.mget([_key(task_id) for task_id in ids])
        except redis.RedisError as error:
            log.debug("Progress was not read from Redis.", error=str(error))
            return {}
        return {
            task_id: Progress(*map(int, value.split())) for task_id, value in zip(ids, values, strict=True) if value
        }

    def is_reachable(self) -> bool:
        """Whether Redis answers now."""
        try:
            return bool(self._redis.ping())
        except redis.RedisError:
            return False

    def close(self) -> None:
        self._redis.close()


def _key(task_id: int) -> str:
    return f"farm:progress:{task_id}"
