"""Users: they submit jobs, repeat what was not answered, and cancel, pause, resume and retry some."""

import base64
import io
import random
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from PIL import Image

from farm.client import Client
from farm.errors import Conflict, FarmError, InvalidRequest, NotFound
from farm.intake.request import JobRequest, parse_request
from tests.chaos.stage import CHECKPOINTS, Stage

_ACTIONS = ("cancel", "pause", "resume", "retry", "priority")
_REMEMBERED = 20


@dataclass(frozen=True)
class Accepted:
    """A job that the portal said it has: from here on it must not be lost."""

    job_id: int
    key: str
    images: int


@dataclass
class Load:
    """Submits on a thread of its own while there is less than a backlog of work. Seeds are never used twice.

    `read_share` of the jobs make the farm read its store: they bring pictures, or are sweeps whose grids are drawn.
    """

    stage: Stage
    dice: random.Random
    backlog: int = 60
    action_share: float = 0.15
    images: tuple[int, int] = (1, 12)
    pause_seconds: tuple[float, float] = (0.02, 0.3)
    read_share: float = 0.0
    checkpoints: int = 2
    accepted: list[Accepted] = field(default_factory=list)
    repeats: int = 0
    problems: list[str] = field(default_factory=list)
    _paused: set[int] = field(default_factory=set)
    _stopped: threading.Event = field(default_factory=threading.Event)
    _next_seed: int = 0

    def __post_init__(self) -> None:
        self._client = Client(self.stage.url)
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop submitting; what is not answered is repeated until it is, and what is paused goes on."""
        self._stopped.set()

    def is_done(self) -> bool:
        return not self._thread.is_alive()

    def close(self) -> None:
        self._client.close()

    def _run(self) -> None:
        try:
            while not self._stopped.wait(self.dice.uniform(*self.pause_seconds)):
                self._take_turn()
            for job_id in self._paused:
                self._insist(partial(self._act, job_id, "resume"))
        except Exception:
            self.problems.append(f"the load broke:\n{traceback.format_exc()}")

    def _take_turn(self) -> None:
        if self.accepted and self.dice.random() < self.action_share:
            job_id = self.dice.choice(self.accepted[-_REMEMBERED:]).job_id
            action = self.dice.choice(_ACTIONS)
            self._insist(partial(self._act, job_id, action))
        elif self._waiting() < self.backlog:
            self._submit()

    def _waiting(self) -> int:
        """How many images wait, as the portal tells; none while it does not answer."""
        try:
            return sum(job.images.queued for job in self._client.jobs(status="active"))
        except FarmError:
            return 0

    def _submit(self) -> None:
        request, key = self._request(), f"{self.dice.getrandbits(64):016x}"
        job = self._insist(lambda: self._client.submit(request, key)[0])
        if job is not None:
            self.accepted.append(Accepted(job.id, key, job.images.total))

    def _request(self) -> JobRequest:
        """A job of tiny images, of a kind that others of its kind may be batched with."""
        images = self.dice.randint(*self.images)
        seed, self._next_seed = self._next_seed, self._next_seed + images
        size = self.dice.choice((64, 128)), 64
        kind = self.dice.choice(_READING) if self.dice.random() < self.read_share else _of_words
        return parse_request(
            {
                "prompts": ["a lighthouse"],
                "checkpoint": self.dice.choice(CHECKPOINTS[: self.checkpoints]),
                "width": size[0],
                "height": size[1],
                "num_inference_steps": self.dice.choice((4, 8)),
                "priority": self.dice.choice((20, 50, 80)),
                "deterministic": self.dice.random() < 0.1,
                **kind(range(seed, seed + images), size),
            }
        )

    def _insist(self, call: Callable[[], Any]) -> Any:
        """Repeat a request until it is answered, for as long as it takes. None if the portal would not have it."""
        while True:
            try:
                return call()
            except (NotFound, InvalidRequest) as error:
                self.problems.append(f"refused: {error}")
                return None
            except Conflict as error:
                if "Idempotency-Key" in str(error):
                    self.problems.append(f"refused: {error}")
                return None
            except FarmError:
                self.repeats += 1
                time.sleep(self.dice.uniform(0.05, 0.3))

    def _act(self, job_id: int, action: str) -> None:
        if action == "priority":
            self._client.set_priority(job_id, self.dice.randint(0, 100))
            return
        # Noted before it is done: the answer may get lost.
        if action == "pause":
            self._paused.add(job_id)
        self._client.act(job_id, action)


def _of_words(seeds: range, _size: tuple[int, int]) -> dict[str, Any]:
    return {"seed": seeds[0], "images_per_prompt": len(seeds)}


def _of_a_picture(seeds: range, size: tuple[int, int]) -> dict[str, Any]:
    """Brings a picture that no other job has: no worker has it in memory."""
    return {**_of_words(seeds, size), "mode": "img2img", "image": _picture(size, seeds[0])}


def _of_a_mask(seeds: range, size: tuple[int, int]) -> dict[str, Any]:
    mask = _picture(size, seeds[0], "white")
    return {**_of_a_picture(seeds, size), "mode": "inpaint", "mask": mask, "area": "whole"}


def _sweep(seeds: range, _size: tuple[int, int]) -> dict[str, Any]:
    """Its grid is drawn once all of it is final."""
    return {"seed": seeds[0], "axes": [{"field": "seed", "values": list(seeds)}]}


_READING = (_of_a_picture, _of_a_mask, _sweep)


def _picture(size: tuple[int, int], number: int, colour: str = "teal") -> str:
    """A picture in base64, made different from others by the colour of its first points."""
    picture = Image.new("RGB", size, colour)
    picture.putdata([(number >> shift & 255,) * 3 for shift in (0, 8, 16)])
    content = io.BytesIO()
    picture.save(content, "PNG")
    return base64.b64encode(content.getvalue()).decode()
