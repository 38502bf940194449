"""A plain Celery farm, the thing people build first: one message an image, one upload an image.

A worker process a device takes whatever message is next, and keeps the pipeline that it used last: no batches, no
choice. It renders with the farm's own code, so that an image takes as long here as there and is the same one.
"""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from subprocess import Popen
from typing import Any

import boto3
import torch
from celery import Celery, group

from farm.embedded.child import spawn, stop
from farm.infotext import infotext
from farm.processes import programs
from farm.queue.claim import ClaimedCheckpoint
from farm.queue.doorbell import broker_url
from farm.spec.modes import read_spec
from tests.waiting import wait_until
from workers.canvas.inputs import NoInputs
from workers.diffusion import DiffusionRenderer
from workers.loop.delivery.encode import encode_png
from workers.model.pipelines import Pipelines
from workers.model.provenance import Machine

_RENDER = "render"


@dataclass(frozen=True)
class Site:
    """Where the parts of the farm are. `checkpoints` are the fields of each; `threads`: those of one worker."""

    redis_url: str
    endpoint: str
    bucket: str
    checkpoints: Sequence[Mapping[str, Any]]
    threads: int


def make_app(site: Site) -> Celery:
    url = broker_url(site.redis_url)
    app = Celery("plainfarm", broker=url, backend=url, set_as_current=False)
    app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1)
    return app


def render_all(site: Site, specs: Sequence[Mapping[str, Any]]) -> list[float]:
    """Render the specs, in this order; return how many seconds each waited for weights."""
    app = make_app(site)
    seconds: list[float] = group(app.signature(_RENDER, numbered) for numbered in enumerate(specs))().get()
    app.close()
    return seconds


def key_of(number: int) -> str:
    """Where the image of a spec is kept."""
    return f"plain/{number}.png"


class LastPipeline:
    """The pipeline that was used last."""

    def __init__(self, site: Site) -> None:
        self._checkpoints = {known["name"]: ClaimedCheckpoint(**known) for known in site.checkpoints}
        self._machine = Machine("cpu", "fp32", site.threads)
        self.checkpoint: ClaimedCheckpoint | None = None

    def load(self, name: str) -> float:
        """Load a checkpoint unless it is there; return the seconds that it took, 0 for none."""
        if self.checkpoint == self._checkpoints[name]:
            return 0.0
        started = time.monotonic()
        self.checkpoint = self._checkpoints[name]
        self.renderer = DiffusionRenderer(Pipelines("cpu", "auto"), self._machine, NoInputs())
        self.renderer.load(self.checkpoint)
        return time.monotonic() - started


def work(site: Site, name: str) -> None:
    """Be a worker until a signal comes."""
    torch.set_num_threads(site.threads)
    store = boto3.client("s3", endpoint_url=site.endpoint)
    last = LastPipeline(site)
    app = make_app(site)

    def render(number: int, fields: Mapping[str, Any]) -> float:
        spec = read_spec(fields)
        seconds = last.load(spec.checkpoint)
        assert last.checkpoint is not None
        (picture,) = last.renderer.render(last.checkpoint, [spec], lambda _step, _steps: None)
        image = encode_png(picture.pixels, infotext(spec, last.checkpoint.sha256))
        store.put_object(Bucket=site.bucket, Key=key_of(number), Body=image.content, ContentType=image.media_type)
        return seconds

    app.task(name=_RENDER, shared=False, lazy=False)(render)
    app.worker_main(["worker", "--pool=solo", f"--hostname={name}", "--loglevel=WARNING"])


@contextmanager
def run_workers(site: Site, count: int, log: Path) -> Iterator[None]:
    """So many workers, from when all of them listen."""
    command = programs.build_command("tests.bench.plainfarm", json.dumps(asdict(site)))
    workers = [spawn([*command, f"device-{number}"], log=log, env={}) for number in range(count)]
    app = make_app(site)
    try:
        wait_until(lambda: _count_listening(app, workers) == count)
        yield
    finally:
        app.close()
        for worker in workers:
            stop(worker, grace_seconds=5)


def _count_listening(app: Celery, workers: Sequence[Popen[bytes]]) -> int:
    assert all(worker.poll() is None for worker in workers), "a worker of the plain farm ended; see its log"
    return len(app.control.ping(timeout=0.5))


if __name__ == "__main__":
    work(Site(**json.loads(sys.argv[1])), sys.argv[2])
