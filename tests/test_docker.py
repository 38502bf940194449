"""The container files: a valid compose file, and images whose settings and commands the farm knows."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from farm.cli.main import main
from farm.config import Settings

DOCKER = Path(__file__).parents[1] / "docker"
COMPOSE = DOCKER / "compose.yaml"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)

each_dockerfile = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
each_of_our_services = pytest.mark.parametrize("name", OURS)


def instructions(dockerfile: Path, word: str, what: str = "(.*)") -> list[str]:
    """What follows each `word` that begins a line."""
    return re.findall(rf"^{word} +{what}", dockerfile.read_text(), re.MULTILINE)


def environment(service: dict[str, Any]) -> str:
    return " ".join(f"{name}={value}" for name, value in service.get("environment", {}).items())


def test_the_compose_file_follows_the_specification() -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE)]
    answer = subprocess.run(check, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@each_dockerfile
def test_an_image_runs_as_a_fixed_user_who_is_not_root(dockerfile: Path) -> None:
    assert instructions(dockerfile, "USER")[-1:] == ["10001:10001"]
    assert dockerfile.read_text().splitlines()[-1].startswith("USER ")


@each_dockerfile
def test_an_image_has_one_health_check(dockerfile: Path) -> None:
    assert len(instructions(dockerfile, "HEALTHCHECK")) == 1


@each_dockerfile
def test_an_image_installs_the_versions_of_the_constraints_file(dockerfile: Path) -> None:
    assert "-c constraints.txt" in dockerfile.read_text()


def test_every_dockerfile_is_built_by_a_service_and_no_other_is() -> None:
    built = {DOCKER.parent / SERVICES[name]["build"]["dockerfile"] for name in OURS}
    assert built == set(DOCKERFILES)


@each_dockerfile
def test_an_image_runs_a_command_of_the_farm(dockerfile: Path) -> None:
    command = json.loads(instructions(dockerfile, "CMD")[0])
    assert CliRunner().invoke(main, [*command, "--help"]).exit_code == 0


@each_of_our_services
def test_a_service_runs_a_command_of_the_farm(name: str) -> None:
    assert CliRunner().invoke(main, [*SERVICES[name]["command"], "--help"]).exit_code == 0


@each_of_our_services
def test_a_service_waits_until_the_database_is_migrated(name: str) -> None:
    conditions = {other: how["condition"] for other, how in SERVICES[name]["depends_on"].items()}
    assert name == "migrate" or conditions["migrate"] == "service_completed_successfully"


def test_a_service_that_others_wait_for_has_a_health_check() -> None:
    awaited = {
        other
        for service in SERVICES.values()
        for other, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    }
    assert {name for name in awaited if "test" in SERVICES[name]["healthcheck"]} == awaited


def test_a_published_port_is_bound_to_this_machine_by_default() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert [port for port in published if ":-127.0.0.1:" not in port] == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_right_but_those_to_become_a_user(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert set(service.get("cap_add", [])) <= {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
    assert name in {"postgres", "valkey"} or "cap_add" not in service


def test_every_server_asks_for_a_password() -> None:
    assert "--requirepass" in SERVICES["valkey"]["command"]
    assert "POSTGRES_PASSWORD" in SERVICES["postgres"]["environment"]
    assert "ROOT_SECRET_ACCESS_KEY" in SERVICES["store"]["environment"]


def test_the_migrations_see_the_database_alone() -> None:
    assert set(SERVICES["migrate"]["environment"]) == {"FARM_DATABASE_URL"}


def test_no_secret_has_a_default() -> None:
    given = " ".join(environment(service) for service in SERVICES.values())
    secrets = re.findall(r"\$\{(\w*(?:PASSWORD|SECRET)\w*)(:.)?", given)
    assert {how for _, how in secrets} == {":?"}


@pytest.mark.parametrize("file", sorted(DOCKER.iterdir()), ids=lambda path: path.name)
def test_every_farm_variable_is_a_setting(file: Path) -> None:
    named = set(re.findall(r"\bFARM_[A-Z_]+\b", file.read_text()))
    assert named <= {f"FARM_{name.upper()}" for name in Settings.model_fields}


def test_the_example_names_every_variable_of_the_compose_file() -> None:
    wanted = {*re.findall(r"\$\{(\w+)", COMPOSE.read_text()), "COMPOSE_PROFILES"}
    assert wanted == set(re.findall(r"^#?(\w+)=", (DOCKER / "example.env").read_text(), re.MULTILINE))


def test_workers_on_gpus_and_on_the_cpu_are_each_started_by_a_profile() -> None:
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"worker": ["gpu"], "worker-cpu": ["cpu"]}
    assert "COMPOSE_PROFILES=gpu\n" in (DOCKER / "example.env").read_text()


def test_a_worker_on_the_cpu_asks_for_no_gpu_and_no_cuda() -> None:
    worker = SERVICES["worker-cpu"]
    assert "deploy" not in worker
    assert worker["build"]["args"]["TORCH_INDEX"].endswith("/cpu")
    assert set(worker["build"]["args"]) <= set(instructions(DOCKER / "worker.Dockerfile", "ARG", r"(\w+)="))


@each_dockerfile
def test_a_health_check_asks_an_address_that_the_image_serves(dockerfile: Path) -> None:
    [port] = re.findall(r"http://127.0.0.1:\$(\w+)/(?:healthz|readyz)", dockerfile.read_text())
    assert re.search(rf"^ +{port}=\d+", dockerfile.read_text(), re.MULTILINE)
    assert port.removeprefix("FARM_").lower() in Settings.model_fields
