"""Weights that strangers made to harm whoever takes them in: each is refused by name, soon and at little cost."""

import io
import json
import os
import pickle
import shutil
import socket
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from farm.processes import programs
from farm.weights.files.header import BadWeights
from farm.weights.files.sourcefiles import inspect_source_files
from farm.weights.folder import BadCheckpoint, inspect_folder
from farm.weights.ingest import IngestRequest, ingest
from tests.checkpoints import small_checkpoint
from tests.costs import Meter
from tests.ingesting import ingest_here

SECONDS = 60
"""No attack may hold the process that reads weights for so long."""

HOSTILE_NUMBERS = [
    ("scheduler", "num_train_timesteps", 10**8),
    ("scheduler", "num_train_timesteps", 0),
    ("scheduler", "num_train_timesteps", "1000" * 100),
    ("scheduler", "trained_betas", [0.5] * 10**6),
    ("scheduler", "solver_order", 10**9),
    ("scheduler", "beta_end", float("nan")),
    ("scheduler", "steps_offset", -(10**9)),
    ("unet", "layers_per_block", -5),
    ("unet", "layers_per_block", 10**9),
    ("unet", "layers_per_block", [2, 2, 10**6]),
    ("unet", "transformer_layers_per_block", [[10**6]]),
    ("unet", "transformer_layers_per_block", 1e300),
    ("unet", "block_out_channels", [10**9, 10**9]),
    ("unet", "block_out_channels", [32] * 10_000),
    ("unet", "down_block_types", ["DownBlock2D"] * 10_000),
    ("unet", "cross_attention_dim", 10**12),
    ("unet", "attention_head_dim", 0),
    ("unet", "time_embedding_dim", 10**12),
    ("unet", "num_class_embeds", 10**12),
    ("unet", "act_fn", "x" * 10**6),
    ("unet", "in_channels", 10**400),
    ("unet", "in_channels", [[4]]),
    ("unet", "use_linear_projection", {"a": 1}),
    ("scheduler", "prediction_type", {"a": 1}),
    ("vae", "latent_channels", 10**9),
    ("vae", "norm_num_groups", 0),
    ("vae", "scaling_factor", 0),
    ("vae", "latents_mean", {"0": 1}),
    ("text_encoder", "vocab_size", 10**12),
    ("text_encoder", "max_position_embeddings", 10**12),
    ("text_encoder", "num_hidden_layers", 10**9),
    ("text_encoder", "hidden_size", -768),
    ("text_encoder", "intermediate_size", 10**12),
]


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_checkpoint("sd15", tmp_path_factory.mktemp("sound") / "sd15")


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A checkpoint that is in order, to be made hostile."""
    return Path(shutil.copytree(sound, tmp_path / "hostile"))


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Path]:
    """Where weights are to be written; of those that are refused nothing stays."""
    yield tmp_path / "taken" / "weights"
    assert not list((tmp_path / "taken").glob("*"))


def rewrite(folder: Path, part: str, **values: object) -> None:
    """Put values into the config of a part."""
    config = folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    config.write_text(json.dumps({**json.loads(config.read_text()), **values}))


def refusal(source: Path, target: Path, kind: str = "checkpoint") -> str:
    """What the process that reads weights says of them."""
    with pytest.raises(BadWeights) as refused:
        ingest(IngestRequest(kind, source, target), timeout_seconds=SECONDS)
    return str(refused.value)


@pytest.mark.parametrize(("part", "key", "value"), HOSTILE_NUMBERS, ids=lambda value: str(value)[:20])
def test_a_config_with_a_number_that_no_pipeline_has_is_refused_by_its_key(
    part: str, key: str, value: object, folder: Path, target: Path, costs: Meter
) -> None:
    rewrite(folder, part, **{key: value})
    with (
        costs.at_most(seconds=10, mebibytes=300),
        pytest.raises(BadWeights, match=f"config asks for {key} = ") as bad,
    ):
        ingest_here(IngestRequest("checkpoint", folder, target))
    assert len(str(bad.value)) < 500
    with pytest.raises(BadWeights, match=f"config asks for {key} = "):
        inspect_folder(folder)


def test_an_unknown_key_of_a_config_is_left_out_and_named(folder: Path, tmp_path: Path) -> None:
    rewrite(folder, "unet", auto_map={"x": "evil.Model"})
    rewrite(folder, "text_encoder", quantization_config={"quant_method": "evil"})
    rewrite(folder, "scheduler", evil_scale=10**12)
    report = ingest_here(IngestRequest("checkpoint", folder, tmp_path / "weights"))
    said = " ".join(report.warnings)
    assert all(f"not known here, and were left out: {key}." in said for key in ("auto_map", "quantization_config"))
    written = "".join(file.read_text() for file in (tmp_path / "weights").rglob("*config.json"))
    assert "evil" not in written


def a_pipe(place: Path) -> None:
    os.mkfifo(place)


def a_socket(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(place.parent)
        listener.bind(place.name)


def a_link_to_a_device(place: Path) -> None:
    place.symlink_to("/dev/zero")


def a_link_to_a_secret(place: Path) -> None:
    (place.parents[2] / "secret.key").write_text("a secret")
    place.symlink_to(place.parents[2] / "secret.key")


Place = Callable[[Path], None]
SPECIAL: list[Place] = [a_pipe, a_socket, a_link_to_a_device, a_link_to_a_secret]


@pytest.mark.parametrize("make", SPECIAL)
@pytest.mark.parametrize(
    "name", ["unet/config.json", "vae/diffusion_pytorch_model.safetensors", "tokenizer/vocab.json"]
)
def test_a_special_file_within_a_folder_is_refused_without_waiting(
    make: Place, name: str, folder: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / name).unlink(missing_ok=True)
    make(folder / name)
    said = refusal(folder, target)
    assert name in said
    assert "a secret" not in said
    with pytest.raises(BadWeights, match=name):
        inspect_folder(folder)


@pytest.mark.parametrize("make", [a_pipe, a_socket, a_link_to_a_device])
@pytest.mark.parametrize("kind", ["checkpoint", "lora", "embedding", "vae"])
def test_weights_that_are_a_special_file_are_refused_without_waiting(
    make: Place, kind: str, tmp_path: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "weights.safetensors")
    assert "not a file of weights" in refusal(tmp_path / "weights.safetensors", target, kind)


def test_a_folder_of_more_files_than_a_checkpoint_has_is_refused(folder: Path, target: Path, costs: Meter) -> None:
    for number in range(20_000):
        (folder / "unet" / str(number)).touch()
    with costs.at_most(seconds=3, mebibytes=100):
        assert "holds more than 10,000 files" in refusal(folder, target)


def test_links_in_a_circle_are_refused(folder: Path, target: Path) -> None:
    (folder / "unet" / "again").symlink_to(folder / "unet" / "again")
    (folder / "vae" / "up").symlink_to(folder)
    assert "unet/again" in refusal(folder, target) or "cannot be read" in refusal(folder, target)


def test_a_snapshot_of_the_hugging_face_cache_is_read_through_its_links(sound: Path, tmp_path: Path) -> None:
    hub = tmp_path / "models--owner--name"
    snapshot = hub / "snapshots" / "0123abcd"
    (hub / "blobs").mkdir(parents=True)
    for number, file in enumerate(sorted(file for file in sound.rglob("*") if file.is_file())):
        shutil.copy(file, hub / "blobs" / str(number))
        link = snapshot / file.relative_to(sound)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(hub / "blobs" / str(number), link.parent))
    report = ingest(IngestRequest("checkpoint", snapshot, tmp_path / "taken"))
    assert report.family == "sd15"
    assert len(inspect_source_files(snapshot).places) > 5


def reduce(name: str, *arguments: object) -> bytes:
    """A pickle that calls what has this name."""
    module, _, function = name.rpartition(".")
    return b"\x80\x02c" + f"{module}\n{function}\n".encode() + pickle.dumps(arguments, 2)[2:-1] + b"R."


def as_zip(content: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    """A pickle in the frame of PyTorch's files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as frame:
        frame.writestr("archive/data.pkl", content)
        frame.writestr("archive/version", "3\n")
    return stream.getvalue()


def doubling(times: int) -> bytes:
    """A list of two lists of two lists: a few bytes that are 2 ** times leaves to whoever walks through it."""
    levels = (b"]q%c(h%ch%ce" % (level + 1, level, level) for level in range(times))
    return b"\x80\x02]q\x00" + b"".join(levels) + b"."


HOSTILE_PICKLES: dict[str, bytes] = {
    "memory": reduce("builtins.bytearray", 200 * 2**30),
    "memory in a zip": as_zip(reduce("builtins.bytearray", 200 * 2**30)),
    "doubling": as_zip(doubling(60)),
    "depth": as_zip(b"\x80\x02" + b"]" * 10**6 + b"a" * (10**6 - 1) + b"."),
    "deflated zeros": as_zip(b"\x80\x02" + b"N0" * 10**8 + b"N.", zipfile.ZIP_DEFLATED),
    "a string of terabytes": as_zip(b"\x80\x04\x8d" + (2**42).to_bytes(8, "little") + b"x"),
    "code": as_zip(reduce("os.system", "id")),
    "code of a library": as_zip(reduce("torch.hub.load", "evil/repo", "model")),
}


@pytest.mark.parametrize("name", HOSTILE_PICKLES)
def test_a_hostile_pickle_is_refused_soon(name: str, tmp_path: Path, target: Path, costs: Meter) -> None:
    (tmp_path / "evil.ckpt").write_bytes(HOSTILE_PICKLES[name])
    with costs.at_most(seconds=30, mebibytes=200):
        said = refusal(tmp_path / "evil.ckpt", target)
    assert str(tmp_path / "evil.ckpt") in said
    assert "\n" not in said


PEAK = """
import resource, sys
from pathlib import Path
from farm.weights.files.header import BadWeights
from farm.weights.ingest import IngestRequest, ingest
try:
    ingest(IngestRequest("lora", Path(sys.argv[1]), Path(sys.argv[2])))
except BadWeights as error:
    print(error, file=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""
"""Take weights in, and say how many MiB the largest process had that took part."""


def a_long_header() -> bytes:
    """Some megabytes that are tensors of no bytes."""
    tensor = '{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
    header = "{" + ",".join(f'"{number}":{tensor}' for number in range(150_000)) + "}"
    return len(header).to_bytes(8, "little") + header.encode()


@pytest.mark.parametrize("name", ["memory", "depth", "deflated zeros", "a long header"])
def test_the_reader_of_hostile_weights_takes_bounded_memory(name: str, tmp_path: Path) -> None:
    (tmp_path / "evil").write_bytes(HOSTILE_PICKLES[name] if name in HOSTILE_PICKLES else a_long_header())
    command = [*programs.build_snippet_command(PEAK), str(tmp_path / "evil"), str(tmp_path / "taken")]
    done = subprocess.run(command, env=programs.inherit_environment(), capture_output=True, text=True, check=True)
    assert str(tmp_path / "evil") in done.stderr
    assert int(done.stdout) < 2000


def test_a_header_that_is_too_long_is_not_read(tmp_path: Path, target: Path, costs: Meter) -> None:
    with (tmp_path / "evil.safetensors").open("wb") as stream:
        stream.write((90_000_000).to_bytes(8, "little") + b"{")
        stream.truncate(100_000_000)
    with costs.at_most(seconds=10, mebibytes=50):
        assert "has a header of 90,000,000 bytes" in refusal(tmp_path / "evil.safetensors", target, "lora")


@pytest.mark.parametrize("text", ["[" * 10**6, '{"a":' * 10**5, "9" * 10**6, '{"a": 1' + "0" * 10**6 + "}", "null"])
def test_json_without_end_is_refused(text: str, folder: Path, target: Path, costs: Meter) -> None:
    (folder / "unet" / "config.json").write_text(text)
    with costs.at_most(seconds=10, mebibytes=200), pytest.raises(BadWeights, match=r"unet/config\.json"):
        ingest_here(IngestRequest("checkpoint", folder, target))


def test_pickles_are_not_registered_in_place_since_no_worker_opens_one(folder: Path, tmp_path: Path) -> None:
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(weights), weights.with_suffix(".bin"))
    weights.unlink()
    with pytest.raises(BadCheckpoint, match="vae holds its weights as pickles"):
        inspect_folder(folder)
    assert ingest_here(IngestRequest("checkpoint", folder, tmp_path / "weights")).family == "sd15"


def test_a_good_pickle_is_taken_in(tmp_path: Path) -> None:
    torch.save({"string_to_param": {"*": torch.ones(2, 768)}, "name": "style"}, tmp_path / "style.pt")
    report = ingest(IngestRequest("embedding", tmp_path / "style.pt", tmp_path / "taken" / "weights"))
    assert (report.family, report.warnings) == ("sd15", ())


def test_a_private_file_is_taken_in(tmp_path: Path) -> None:
    torch.save({"string_to_param": {"*": torch.ones(2, 768)}}, tmp_path / "style.pt")
    (tmp_path / "style.pt").chmod(0o600)
    report = ingest(IngestRequest("embedding", tmp_path / "style.pt", tmp_path / "taken" / "weights"))
    assert report.family == "sd15"


def test_a_process_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    save_file({"w": torch.ones(3)}, tmp_path / "w.safetensors")
    request = IngestRequest("lora", tmp_path / "w.safetensors", tmp_path / "taken" / "weights")
    with pytest.raises(Exception, match="was not ingested within 0 s"):
        ingest(request, timeout_seconds=0.01)
    assert list((tmp_path / "taken").glob("*")) == []
