"""The overhead of the farm compared with bare pipeline calls, and how soon an idle worker starts."""

import json
import statistics
import subprocess
import time
from dataclasses import dataclass

from sqlalchemy import select

from farm import config
from farm.bench.scratch import scratch_folder
from farm.client import Client
from farm.db.connection import Database, Role
from farm.db.tables.jobs import Attempt, Task
from farm.embedded.machine import LocalFarm, build_environment
from farm.intake.request import parse_request
from farm.processes import programs
from farm.reports.shapes import JobReport
from farm.spec.image import TextToImageSpec
from farm.weights.presets import preset

# The figures come from the database: polling does not change them, but costs the portal time.
_POLL_SECONDS = 2.0


@dataclass(frozen=True)
class OverheadFigures:
    """Wall seconds of the same images through the farm and in a bare loop; a median start in seconds."""

    images: int
    side: int
    farm_seconds: float
    bare_seconds: float
    first_step_seconds: float

    @property
    def ratio(self) -> float:
        return self.farm_seconds / self.bare_seconds


def measure(images: int, *, side: int, rounds: int, starts: int) -> OverheadFigures:
    """Render so many images in each of several rounds, farm and bare loop in turn, at batch 1.

    The farm's time runs from the submit to the COMMIT of the last result.
    """
    spec = TextToImageSpec(checkpoint="demo", prompt="a lighthouse", width=side, height=side, seed=1)
    with scratch_folder() as folder:
        settings = config.load_given(data_dir=folder / "data", max_batch=1, port=0)
        with LocalFarm(settings, "all") as farm:
            client = Client(farm.url)
            farm.wait_until_ready(client.is_ready)
            _run_job(client, spec, 2)
            farm_times, bare_times = [], []
            for _ in range(rounds):
                farm_times.append(_measure_duration(_run_job(client, spec, images)))
                bare_times.append(_time_bare_loop(farm, spec, images))
            database = Database.of(farm.settings, Role.TOOL)
            first_steps = [_time_first_step(client, database, spec) for _ in range(starts)]
            database.close()
    return OverheadFigures(images * rounds, side, sum(farm_times), sum(bare_times), statistics.median(first_steps))


def _run_job(client: Client, spec: TextToImageSpec, images: int) -> JobReport:
    fields = spec.model_dump(include={"checkpoint", "width", "height", "seed"})
    job, _ = client.submit(parse_request({**fields, "prompts": [spec.prompt], "images_per_prompt": images}))
    while not (job := client.job(job.id)).is_final:
        time.sleep(_POLL_SECONDS)
    return job


def _measure_duration(job: JobReport) -> float:
    assert job.finished_at is not None, "the job was waited for"
    return (job.finished_at - job.created_at).total_seconds()


def _time_bare_loop(farm: LocalFarm, spec: TextToImageSpec, images: int) -> float:
    checkpoint = preset(spec.checkpoint).source
    command = programs.build_command("workers.bench.bare_loop", checkpoint, spec.model_dump_json(), str(images))
    printed = subprocess.run(
        command,
        env=programs.inherit_environment(build_environment(farm.settings)),
        capture_output=True,
        text=True,
        check=True,
    )
    seconds: float = json.loads(printed.stdout.splitlines()[-1])["seconds"]
    return seconds


def _time_first_step(client: Client, database: Database, spec: TextToImageSpec) -> float:
    """From just before the submit to the end of the first step, on an idle worker."""
    time.sleep(1.0)
    started = time.time()
    job = _run_job(client, spec, 1)
    with database.begin() as session:
        claimed_at, timings = session.execute(
            select(Attempt.started_at, Attempt.timings).join(Task).where(Task.job_id == job.id)
        ).one()
    first_step: float = claimed_at.timestamp() + timings["first_step"] - started
    return first_step
