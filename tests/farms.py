"""Whole farms of real processes, each in a folder of its own."""

import fcntl
import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import psutil
from PIL import Image
from sqlalchemy import text

from farm import config
from farm.client import Client
from farm.db.connection import Database, Role
from farm.embedded.machine import LocalFarm
from farm.intake.request import parse_request
from farm.reports.shapes import ImageReport, JobReport
from tests.waiting import wait_until

SHARED_FOLDER = "TESTS_SHARED_FOLDER"
"""The environment variable that names a folder of all test processes of a run."""


@dataclass
class RunningFarm:
    """A farm that runs, with what tests ask of it."""

    farm: LocalFarm
    client: Client
    database: Database

    def submit(self, **fields: Any) -> int:
        """Submit a job of small images; return its id."""
        request = {
            "prompts": ["a lighthouse"],
            "checkpoint": "demo",
            "width": 64,
            "height": 64,
            "num_inference_steps": 4,
            **fields,
        }
        return self.client.submit(parse_request(request))[0].id

    def finish(self, job_id: int) -> JobReport:
        """Wait for a job's end."""
        wait_until(lambda: self.client.job(job_id).is_final)
        return self.client.job(job_id)

    def fetch(self, image: ImageReport) -> Image.Image:
        """The stored picture, with its text."""
        return Image.open(io.BytesIO(self.fetch_file(image)))

    def fetch_file(self, image: ImageReport) -> bytes:
        return httpx.get(urljoin(self.client.url, image.url)).raise_for_status().content

    def pictures(self, job_id: int) -> list[Image.Image]:
        """The pictures of a job in their order, once it has succeeded."""
        job = self.finish(job_id)
        assert job.status == "succeeded", [task.reason for task in self.client.tasks(job_id)]
        return [self.fetch(image).convert("RGB") for image in self.client.images(job_id)]

    def wait_until_rendering(self, job_id: int) -> None:
        """Wait until a task of the job has made a step."""
        wait_until(lambda: any(task.progress for task in self.client.tasks(job_id, status="running")))

    def children(self, count: int) -> list[psutil.Process]:
        """The processes that are pinned to devices, once there are so many."""
        wait_until(lambda: len(self._children()) == count)
        return self._children()

    def wait_until_idle(self, count: int) -> None:
        """Wait until so many workers have nothing to do."""
        wait_until(lambda: len(self.idle_workers()) == count)

    def idle_workers(self) -> set[int]:
        """The ids of the workers that have nothing to do."""
        return {worker.id for worker in self.client.workers() if worker.status == "idle"}

    def renderer(self, job_id: int) -> psutil.Process:
        """The process that renders the job's task now, in the midst of it."""
        self.wait_until_rendering(job_id)
        query = "SELECT worker_id FROM tasks WHERE job_id = :job AND status = 'running'"
        with self.database.begin() as session:
            worker_id = session.execute(text(query), {"job": job_id}).scalar_one()
        return next(p for p in self._children() if ["workers.child", str(worker_id)] == p.cmdline()[3:5])

    def process(self, name: str) -> psutil.Process:
        """The one process of the farm whose command line has this word."""
        return next(p for p in self.processes() if any(name in part for part in p.cmdline()[:4]))

    def processes(self) -> list[psutil.Process]:
        found = psutil.Process().children(recursive=True)
        return [process for process in found if self._is_ours(process)]

    def _children(self) -> list[psutil.Process]:
        return [p for p in self.processes() if "workers.child" in p.cmdline()]

    def _is_ours(self, process: psutil.Process) -> bool:
        ours = str(self.farm.settings.data_dir)
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return process.environ().get("FARM_DATA_DIR") == ours or ours in " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            # It ended while we looked.
            return False


def passable_folder() -> Path:
    """A new folder for a farm. Run as root, its Postgres is another user, who must pass here."""
    folder = Path(tempfile.mkdtemp(prefix="farm-e2e-"))
    folder.chmod(0o711)
    return folder


class Foundation(LocalFarm):
    """What a farm's programs stand on: the servers, the schema, the first checkpoint."""

    def _add_program(self, *_: Any, **__: Any) -> None:
        pass


def _started_once() -> Path:
    """A folder with all that is made when a farm is started for the first time; one for all test processes."""
    started = Path(os.environ[SHARED_FOLDER]) / "started"
    with open(f"{started}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not started.exists():
            folder = passable_folder()
            with Foundation(config.load_given(data_dir=folder / "data", port=0), "cpu"):
                pass
            folder.rename(started)
    return started


def used_folder() -> Path:
    """A folder for a farm whose first start, which takes its time, is behind it: its data are in `data`."""
    folder = passable_folder()
    # With their owners: some are Postgres'.
    subprocess.run(["cp", "-a", f"{_started_once()}/.", folder], check=True)
    return folder


@contextmanager
def run_farm(devices: str, **settings: Any) -> Iterator[RunningFarm]:
    """Run a farm, with the demo checkpoint that it added by itself."""
    folder = used_folder()
    given = {"data_dir": folder / "data", "port": 0, "lease_seconds": 3, "grace_seconds": 5, **settings}
    try:
        with LocalFarm(config.load_given(**given), devices) as farm:
            database = Database.of(farm.settings, Role.TOOL)
            with Client(farm.url) as client, closing(database):
                farm.wait_until_ready(client.is_ready)
                yield RunningFarm(farm, client, database)
    finally:
        shutil.rmtree(folder)
