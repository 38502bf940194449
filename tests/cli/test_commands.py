"""Every command, typed on a farm that runs."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from farm.network.runningfarm import running_farm
from farm.queue.workers import exclusions
from farm.weights import checkpoints
from farm.weights.presets import preset
from tests.cli.conftest import Farm
from tests.farms import RunningFarm
from tests.waiting import wait_until

SMALL = ("-c", "demo", "-W", "64", "-H", "64", "--steps", "2")
NEVER = (*SMALL, "--pool", "nobody")


@pytest.fixture
def queued(farm: Farm) -> int:
    """A job that no worker will take."""
    return int(json.loads(farm("submit", "a fox", *NEVER, "--json").stdout)["id"])


@pytest.fixture(scope="module")
def done(farm: Farm) -> int:
    """A job of two prompts and four images that has succeeded."""
    said = farm("submit", "a fox", "a lighthouse", *SMALL, "-n", 2, "--seed", 7, "--wait", "--json")
    return int(json.loads(said.stdout)["id"])


@pytest.fixture(scope="module")
def failed(farm: Farm, tmp_path_factory: pytest.TempPathFactory) -> int:
    """A job whose one image has failed."""
    broken = tmp_path_factory.mktemp("checkpoints") / "broken"
    shutil.copytree(preset("demo").source, broken)
    (broken / "note.txt").write_text("Not the checkpoint it was copied from.")
    assert farm("checkpoints", "add", broken, "--in-place").exit_code == 0
    shutil.rmtree(broken)
    said = farm("submit", "a fox", *SMALL, "-c", "broken", "--wait", "--json")
    assert farm("checkpoints", "remove", "broken").exit_code == 0
    assert said.exit_code == 3
    return int(json.loads(said.stdout)["id"])


def job_of(farm: Farm, job_id: int) -> dict[str, object]:
    found: dict[str, object] = json.loads(farm("job", job_id, "--json").stdout)
    return found


def count_jobs(farm: Farm) -> int:
    return len(json.loads(farm("jobs", "--json", "--limit", 200).stdout))


class TestWhere:
    def test_the_data_folder_says_where_the_portal_is(self, running: RunningFarm, farm: Farm) -> None:
        assert running_farm(running.farm.settings.data_dir)["url"] == running.farm.url
        assert farm("jobs").exit_code == 0

    def test_a_second_farm_on_the_same_folder_says_where_the_first_is(
        self, running: RunningFarm, farm: Farm
    ) -> None:
        said = farm("up", "--port", 0)
        assert said.exit_code == 2
        assert "already running" in said.output
        assert running.farm.url in said.output


class TestSubmit:
    def test_a_submitted_job_is_printed_with_the_address_of_its_page(
        self, farm: Farm, running: RunningFarm
    ) -> None:
        said = farm("submit", "a fox", *NEVER)
        assert said.exit_code == 0
        assert re.fullmatch(rf"Job (\d+): 1 image\. {re.escape(running.farm.url)}/jobs/\1\n", said.stdout)

    def test_flags_reach_the_job(self, farm: Farm, running: RunningFarm) -> None:
        flags = (
            "--negative fog --sampler DDIM --guidance 5 --seed 9 --count 3 --priority 80 --project maps --name x"
        )
        said = farm("submit", "a fox", *NEVER, *flags.split(), "--json")
        job = json.loads(said.stdout)
        assert (job["name"], job["project"], job["priority"], job["images"]["total"]) == ("x", "maps", 80, 3)
        spec = next(running.client.tasks(job["id"])).spec
        assert (spec["negative_prompt"], spec["sampler"], spec["guidance_scale"]) == ("fog", "DDIM", 5)

    def test_a_submit_to_a_pool_without_a_worker_warns(self, farm: Farm) -> None:
        assert "Warning: " in farm("submit", "a fox", *NEVER).stderr

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("p.txt", "a fox\na lighthouse\n"),
            ("p.json", '["a fox", {"prompt": "a lighthouse", "steps": 3}]'),
            ("p.jsonl", '"a fox"\n{"prompt": "a lighthouse"}\n'),
            ("p.csv", "prompt,seed\na fox,1\na lighthouse,\n"),
        ],
    )
    def test_prompts_come_from_a_file_of_any_format(
        self, farm: Farm, running: RunningFarm, tmp_path: Path, name: str, content: str
    ) -> None:
        (tmp_path / name).write_text(content)
        job = json.loads(farm("submit", "a tree", *NEVER, "-f", tmp_path / name, "--json").stdout)
        prompts = [task.spec["prompt"] for task in running.client.tasks(job["id"])]
        assert prompts == ["a tree", "a fox", "a lighthouse"]

    def test_every_bad_row_of_a_file_is_named_and_nothing_is_stored(self, farm: Farm, tmp_path: Path) -> None:
        (tmp_path / "p.csv").write_text("prompt,steps,width\na,many,64\nb,4,64\nc,4,65\n")
        before = count_jobs(farm)
        said = farm("submit", *SMALL, "-f", tmp_path / "p.csv")
        assert (said.exit_code, said.stdout) == (2, "")
        assert [line.split(":")[0] for line in said.stderr.splitlines()[1:]] == [
            f"  {tmp_path / 'p.csv'}, line 2, num_inference_steps",
            f"  {tmp_path / 'p.csv'}, line 4, width",
        ]
        assert count_jobs(farm) == before

    @pytest.mark.parametrize(
        ("flags", "message"),
        [
            ("-c nope", "checkpoint: unknown checkpoint 'nope'. Known: demo"),
            ("-c demo -W 4096", "width: must be at most 2048 on this farm, not 4096"),
            ("-c demo --deadline 2020-01-01T00:00:00Z", "deadline: has passed already"),
        ],
    )
    def test_a_request_beyond_this_farm_is_refused_with_the_reason(
        self, farm: Farm, flags: str, message: str
    ) -> None:
        said = farm("submit", "a fox", *flags.split())
        assert said.exit_code == 2
        assert said.stderr == f"The request is refused; nothing was stored:\n  {message}\n"

    def test_an_idempotency_key_makes_one_job(self, farm: Farm) -> None:
        first, again = (farm("submit", "a fox", *NEVER, "--idempotency-key", "k1", "--json") for _ in range(2))
        assert json.loads(first.stdout)["id"] == json.loads(again.stdout)["id"]

    def test_an_idempotency_key_used_for_another_job_is_a_conflict(self, farm: Farm) -> None:
        farm("submit", "a fox", *NEVER, "--idempotency-key", "k2")
        said = farm("submit", "a tree", *NEVER, "--idempotency-key", "k2")
        assert said.exit_code == 1
        assert said.stderr == "farm: This Idempotency-Key was used before with a different request.\n"


class TestWaiting:
    def test_a_job_that_succeeds_ends_with_0(self, farm: Farm) -> None:
        said = farm("submit", "a fox", *SMALL, "--wait")
        assert said.exit_code == 0
        assert said.stderr.endswith("succeeded: 1 of 1 image.\n")

    def test_a_job_with_failed_images_ends_with_3(self, farm: Farm, failed: int) -> None:
        assert farm("watch", failed).exit_code == 3

    def test_a_job_that_is_cancelled_ends_with_4(self, farm: Farm) -> None:
        soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
        said = farm("submit", "a fox", *NEVER, "--deadline", soon, "--wait")
        assert said.exit_code == 4
        assert said.stderr.endswith("cancelled: 0 of 1 image.\n")

    def test_a_pipe_gets_each_change_of_a_job_in_a_line(self, farm: Farm, done: int) -> None:
        assert farm("watch", done).stderr == f"Job {done} succeeded: 4 of 4 images.\n"

    def test_images_are_saved_while_waiting(self, farm: Farm, tmp_path: Path) -> None:
        said = farm("submit", "a fox", *SMALL, "-n", 2, "--download", tmp_path / "new" / "folder")
        assert said.exit_code == 0
        assert len(list((tmp_path / "new" / "folder").glob("*.png"))) == 2

    def test_an_interrupted_wait_ends_with_130(self, running: RunningFarm, queued: int) -> None:
        command = [sys.executable, "-m", "farm", "watch", str(queued)]
        environment = {"FARM_DATA_DIR": str(running.farm.settings.data_dir)}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as watching:
            assert watching.stderr is not None
            assert watching.stderr.readline() == f"Job {queued} active: 0 of 1 image\n"
            watching.send_signal(signal.SIGINT)
            assert watching.stderr.read() == "Interrupted.\n"
        assert watching.returncode == 130


class TestListings:
    def test_a_pipe_gets_columns_between_tabs(self, farm: Farm, queued: int) -> None:
        heading, newest, *_ = farm("jobs").stdout.splitlines()
        assert heading.split("\t") == ["ID", "NAME", "STATUS", "DONE", "FAILED", "PRIO", "OWNER", "AGE"]
        assert newest.split("\t")[:7] == [str(queued), "a fox", "active", "0/1", "", "50", "local"]

    def test_jobs_can_be_chosen_by_status(self, farm: Farm, queued: int, done: int) -> None:
        found = [job["id"] for job in json.loads(farm("jobs", "--status", "succeeded", "--json").stdout)]
        assert done in found
        assert queued not in found

    def test_the_number_of_jobs_can_be_limited(self, farm: Farm, queued: int, done: int) -> None:
        assert len(json.loads(farm("jobs", "--limit", 1, "--json").stdout)) == 1

    def test_a_name_cannot_command_the_terminal(self, farm: Farm) -> None:
        farm("submit", "red\x1b[31m\ttab", *NEVER)
        assert "red [31m tab" in farm("jobs").stdout

    def test_a_name_with_a_control_character_is_refused(self, farm: Farm) -> None:
        said = farm("submit", "a fox", *NEVER, "--name", "red\x1b[31m")
        assert (said.exit_code, "name: must not contain" in said.stderr) == (2, True)

    def test_a_job_says_why_it_does_not_run(self, farm: Farm, queued: int) -> None:
        lines = farm("job", queued).stdout.splitlines()
        assert lines[0] == f"Job        {queued}  a fox"
        assert [line for line in lines if line.startswith("Waiting ") and "nobody" in line]

    def test_a_job_says_what_failed(self, farm: Farm, failed: int) -> None:
        assert "Failed     image 0: This worker does not find checkpoint 'broken'" in farm("job", failed).stdout

    def test_an_unknown_job_is_reported(self, farm: Farm) -> None:
        said = farm("job", 10_000)
        assert (said.exit_code, said.stderr) == (1, "farm: There is no job 10000.\n")

    def test_a_job_says_how_it_is_dispatched(self, farm: Farm) -> None:
        marks = ("--class", "bulk", "--max-devices", 2, "--priority", 40)
        job_id = json.loads(farm("submit", "a fox", *NEVER, *marks, "--json").stdout)["id"]
        assert "Priority   40, bulk, in pool nobody, on at most 2 devices\n" in farm("job", job_id).stdout

    def test_the_workers_are_listed(self, farm: Farm, running: RunningFarm) -> None:
        running.children(1)
        [worker] = json.loads(farm("workers", "--json").stdout)
        heading, row = farm("workers").stdout.splitlines()
        assert heading.startswith("ID\tNAME\tDEVICE\t")
        assert row.startswith(f"{worker['id']}\t{worker['name']}\t")

    def test_the_farm_is_shown_in_figures(self, farm: Farm, done: int) -> None:
        wait_until(lambda: "default: 1 device, " in farm("stats").stdout)
        found = json.loads(farm("stats", "--json").stdout)
        assert [plan["pool"] for plan in found["plans"] if plan["pool"] == "default"] == ["default"]
        lines = farm("stats").stdout.splitlines()
        assert [line.split()[0] for line in lines[:2]] == ["Images", "Workers"]
        assert any(line.startswith("Ends ") for line in lines)

    def test_a_dry_run_says_when_a_job_would_start(self, farm: Farm, done: int) -> None:
        wait_until(lambda: "Submitted now, it starts" in farm("submit", "a fox", *SMALL, "--dry-run").stdout)
        found = json.loads(farm("submit", "a fox", *SMALL, "--dry-run", "--json").stdout)
        assert found["expected"]["starts_low"] <= found["expected"]["starts_high"]

    def test_projects_and_accounts_have_weights(self, farm: Farm) -> None:
        farm("submit", "a fox", *NEVER, "--project", "weighed")
        [found] = [row for row in farm("projects", "list").stdout.splitlines() if row.startswith("weighed\t")]
        assert found.split("\t")[1] == "none of its own"
        assert farm("projects", "weight", "weighed", 2).stdout == "Project weighed has the weight 2.\n"
        assert farm("users", "weight", "local", 1).stdout == "local has the weight 1.\n"
        [found] = [row for row in farm("projects", "list").stdout.splitlines() if row.startswith("weighed\t")]
        assert found.split("\t")[1] == "2"
        gone = farm("projects", "weight", "weighed", "none").stdout
        assert gone == "Project weighed has no weight of its own.\n"

    def test_the_checkpoints_are_listed(self, farm: Farm) -> None:
        assert "demo" in [
            checkpoint["name"] for checkpoint in json.loads(farm("checkpoints", "list", "--json").stdout)
        ]


class TestControl:
    def test_a_queued_job_is_cancelled(self, farm: Farm, queued: int) -> None:
        assert farm("cancel", queued).stdout == f"Job {queued} is cancelled: 0 of 1 image succeeded.\n"

    def test_a_job_is_paused_and_goes_on(self, farm: Farm, queued: int) -> None:
        assert farm("pause", queued).stdout == f"Job {queued} is paused: 0 of 1 image succeeded.\n"
        assert farm("resume", queued).stdout == f"Job {queued} is active: 0 of 1 image succeeded.\n"

    def test_a_job_gets_another_priority(self, farm: Farm, queued: int) -> None:
        assert farm("priority", queued, 90).exit_code == 0
        assert job_of(farm, queued)["priority"] == 90

    def test_failed_images_are_tried_again(self, farm: Farm, failed: int) -> None:
        assert farm("retry", failed).stdout == f"Job {failed} is active: 0 of 1 image succeeded.\n"
        assert farm("watch", failed).exit_code == 3

    @pytest.mark.parametrize(
        ("command", "reason"),
        [
            ("cancel", "is succeeded; it cannot be cancelled."),
            ("pause", "is succeeded; it cannot be paused."),
            ("resume", "is succeeded; it cannot be resumed."),
            ("retry", "has no failed images to retry."),
        ],
    )
    def test_a_finished_job_is_left_as_it_is(self, farm: Farm, done: int, command: str, reason: str) -> None:
        said = farm(command, done)
        assert (said.exit_code, said.stderr) == (1, f"farm: Job {done} {reason}\n")


@pytest.fixture
def worker(farm: Farm, running: RunningFarm) -> Iterator[str]:
    """The name of the farm's worker, which is in service again after the test."""
    running.children(1)
    name: str = json.loads(farm("workers", "--json").stdout)[0]["name"]
    yield name
    farm("restore", name)


class TestService:
    def test_a_drained_worker_takes_no_work_until_it_is_restored(
        self, farm: Farm, running: RunningFarm, worker: str
    ) -> None:
        assert farm("drain", worker).stdout == (
            f"Worker {worker} takes no more work. `farm restore {worker}` puts it back.\n"
        )
        wait_until(lambda: running.client.workers()[0].status == "drained")
        job_id = json.loads(farm("submit", "a fox", *SMALL, "--json").stdout)["id"]
        assert f"Worker {worker} is out of service: drained by local." in farm("job", job_id).stdout
        assert farm("restore", worker).stdout == f"Worker {worker} takes all work again.\n"
        assert farm("watch", job_id).exit_code == 0

    def test_a_drained_worker_is_listed_with_what_it_is_kept_from_and_why(self, farm: Farm, worker: str) -> None:
        farm("drain", worker, "--reason", "a new fan")
        said = farm("workers")
        assert said.stdout.splitlines()[1].endswith("\tall work")
        assert re.search(rf"{worker} is kept from all work since \d+s: drained by local: a new fan ", said.stderr)
        [exclusion] = json.loads(farm("workers", "--json").stdout)[0]["exclusions"]
        assert (exclusion["checkpoint"], exclusion["reason"]) == (None, "drained by local: a new fan")

    def test_a_single_checkpoint_is_given_back_to_a_worker(
        self, farm: Farm, running: RunningFarm, worker: str
    ) -> None:
        with running.database.begin() as session:
            exclusions.avoid(session, worker, checkpoints.get(session, "demo").id, "torn")
        farm("drain", worker)
        assert f"`farm restore {worker} --checkpoint demo`" in farm("workers").stderr
        said = farm("restore", worker, "--checkpoint", "demo").stdout
        assert said == (
            f"Worker {worker} takes checkpoint demo again.\nIt is still kept from all work: drained by local\n"
        )

    @pytest.mark.parametrize("command", ["drain", "restore"])
    def test_an_unknown_worker_is_refused_with_those_that_are_known(
        self, farm: Farm, worker: str, command: str
    ) -> None:
        said = farm(command, "nobody/cpu")
        assert said.exit_code == 1
        assert said.stderr == f"farm: There is no worker 'nobody/cpu'. Known: {worker}.\n"

    def test_a_worker_in_service_cannot_be_restored(self, farm: Farm, worker: str) -> None:
        said = farm("restore", worker)
        assert (said.exit_code, said.stderr) == (1, f"farm: Worker {worker} is not kept from all work.\n")


class TestDownload:
    def test_all_images_are_saved_once(self, farm: Farm, done: int, tmp_path: Path) -> None:
        for _ in range(2):
            said = farm("download", done, tmp_path)
        assert (said.exit_code, said.stdout) == (0, f"Saved 4 images in {tmp_path}\n")
        assert len(list(tmp_path.iterdir())) == 4

    def test_a_contact_sheet_has_a_row_for_each_prompt(self, farm: Farm, done: int, tmp_path: Path) -> None:
        farm("download", done, tmp_path, "--contact-sheet")
        with Image.open(tmp_path / "contact-sheet.png") as sheet:
            assert sheet.height > 2 * 256
            assert 2 * 256 < sheet.width < 3 * 256

    def test_a_job_without_images_saves_none(self, farm: Farm, queued: int, tmp_path: Path) -> None:
        said = farm("download", queued, tmp_path / "none", "--contact-sheet")
        assert (said.exit_code, said.stdout) == (0, f"Saved 0 images in {tmp_path / 'none'}\n")

    def test_a_download_folder_that_cannot_be_made_is_reported(self, farm: Farm, done: int, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        said = farm("download", done, tmp_path / "file" / "folder")
        assert said.exit_code == 1
        assert said.stderr == f"farm: Cannot save images in {tmp_path}/file/folder: Not a directory\n"


class TestCheckpoints:
    def test_a_folder_that_holds_no_checkpoint_is_refused(self, farm: Farm, tmp_path: Path) -> None:
        said = farm("checkpoints", "add", tmp_path, "--in-place")
        assert (said.exit_code, said.stdout) == (1, "")
        assert "has no model_index.json" in said.stderr

    def test_an_unknown_name_cannot_be_removed(self, farm: Farm) -> None:
        said = farm("checkpoints", "remove", "nope")
        assert (said.exit_code, said.stderr) == (1, "farm: There is no checkpoint 'nope'.\n")
