"""The actions on an accepted job, by the name that the addresses of API and portal use."""

from collections.abc import Callable, Mapping

from farm.queue import steering
from web.services import Services


def _cancel(farm: Services, job_id: int) -> None:
    steering.cancel(farm.database, job_id)


def _pause(farm: Services, job_id: int) -> None:
    steering.pause(farm.database, job_id)


def _resume(farm: Services, job_id: int) -> None:
    steering.resume(farm.database, farm.doorbell, job_id)


def _retry(farm: Services, job_id: int) -> None:
    steering.retry(farm.database, farm.settings, farm.doorbell, job_id)


ACTIONS: Mapping[str, Callable[[Services, int], None]] = {
    "cancel": _cancel,
    "pause": _pause,
    "resume": _resume,
    "retry": _retry,
}
