"""What a process that reads strangers' files can reach once it is shut in, should its reader ever fail."""

import json
import os
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from farm.processes import programs
from farm.processes.confinementplan import NO_CALLS, NO_FILES, plan_confinement
from farm.processes.kernel import KernelFeatures, probe
from workers.ingest.opening.pickled import unpickle

# Older kernels are in the decisions below, and in what is said where nothing confines.
needs_a_kernel_that_confines = pytest.mark.skipif(
    not (probe().landlock and probe().filters), reason="this kernel lacks Landlock or seccomp"
)

SECRET = "a secret that nobody who reads weights may know"

SHUT_IN = """
import ctypes, fcntl, json, os, resource, signal, socket, struct, subprocess, sys, threading
from pathlib import Path
from farm.processes.confinement import confine, limit
inside, outside, server, victim = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
held, other = socket.socketpair()
gaps = confine(read=[inside / "given"], write=[inside / "work"], memory_bytes=2**28, seconds=60, file_bytes=2**20)

def connect(family, address):
    with socket.socket(family) as client:
        client.connect(address)

def write(path, content="x"):
    path.write_text(content)

attempts = dict(
    read_given=lambda: (inside / "given").read_text(),
    write_work=lambda: (write(inside / "work" / "a"), (inside / "work" / "a").rename(inside / "work" / "b")),
    start_a_thread=lambda: threading.Thread(target=int).start(),
    import_a_library=lambda: __import__("wave"),
    read_a_secret=lambda: outside.read_text(),
    read_passwords=lambda: Path("/etc/passwd").read_text(),
    list_the_root=lambda: os.listdir("/"),
    see_the_parents_environment=lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
    write_elsewhere=lambda: write(outside.parent / "new"),
    write_what_may_be_read=lambda: write(inside / "given"),
    change_a_mode=lambda: outside.chmod(0o666),
    cut_a_file=lambda: os.truncate(outside, 0),
    remove_a_file=lambda: outside.unlink(),
    make_a_link_out=lambda: os.link(outside, inside / "work" / "link"),
    follow_a_link_out=lambda: (inside / "work" / "out").read_text(),
    fill_the_disk=lambda: write(inside / "work" / "large", "x" * 2**21),
    reach_a_servers_socket=lambda: connect(socket.AF_UNIX, server),
    reach_the_network=lambda: connect(socket.AF_INET, ("127.0.0.1", 9)),
    start_a_program=lambda: subprocess.run(["true"]),
    become_a_program=lambda: os.execv("/bin/true", ["true"]),
    fork=lambda: os.fork() or os._exit(0),
    end_its_parent=lambda: os.kill(os.getppid(), signal.SIGKILL),
    take_memory=lambda: bytearray(2**30),
    bound_itself=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    choose_its_processors=lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)),
    copy_a_descriptor=lambda: os.set_inheritable(os.dup(held.fileno()), True),
    ask_for_a_terminal=lambda: os.get_blocking(held.fileno()) and held.setblocking(False),
    bound_another=lambda: resource.prlimit(victim, resource.RLIMIT_FSIZE, (0, 0)),
    end_another_by_a_bound=lambda: resource.prlimit(victim, resource.RLIMIT_CPU, (0, 0)),
    hold_another_back=lambda: os.setpriority(os.PRIO_PROCESS, victim, 19),
    move_another=lambda: os.sched_setaffinity(victim, {0}),
    schedule_another=lambda: os.sched_setscheduler(victim, os.SCHED_IDLE, os.sched_param(0)),
    have_another_signalled=lambda: fcntl.fcntl(held, fcntl.F_SETOWN, victim),
    have_another_signalled_by_thread=lambda: fcntl.fcntl(held, 15, struct.pack("ii", 1, victim)),
    have_another_signalled_by_ioctl=lambda: fcntl.ioctl(held, 0x8901, struct.pack("i", victim)),
    choose_the_signal=lambda: fcntl.fcntl(held, 10, signal.SIGKILL),
    change_a_time=lambda: os.utime(outside, (1, 1)),
)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
done = {}
for name, attempt in attempts.items():
    try:
        attempt()
        done[name] = "done"
    except (OSError, MemoryError) as error:
        done[name] = type(error).__name__
libc = ctypes.CDLL(None, use_errno=True)
for name in sys.argv[5:]:
    if libc[name](-1, -1, -1, 0, 0) == -1:
        done[name] = os.strerror(ctypes.get_errno())
sys.stdout.write(json.dumps({"gaps": gaps, "done": done}))
"""
ALLOWED = (
    *("read_given", "write_work", "start_a_thread", "import_a_library"),
    *("bound_itself", "choose_its_processors", "copy_a_descriptor", "ask_for_a_terminal"),
)
# With arguments that no kernel takes: not allowed is another answer than not possible.
CALLS = (
    *("semget", "semop", "semtimedop", "shmget", "shmctl", "msgget", "msgctl", "msgsnd", "msgrcv"),
    *("mq_setattr", "sendmmsg", "recvmmsg", "fanotify_init", "fanotify_mark", "inotify_init1", "inotify_add_watch"),
    *("adjtimex", "clock_adjtime", "swapoff", "quotactl", "setpriority"),
)


@dataclass(frozen=True)
class Attempts:
    """What came of each attempt, and what lay outside afterwards."""

    done: Mapping[str, str]
    gaps: list[str]
    secret: str


@pytest.fixture(scope="module")
def attempts(tmp_path_factory: pytest.TempPathFactory) -> Attempts:
    folder = tmp_path_factory.mktemp("confined")
    (folder / "work").mkdir()
    (folder / "given").write_text("weights")
    outside = tmp_path_factory.mktemp("outside") / "secret.key"
    outside.write_text(SECRET)
    (folder / "work" / "out").symlink_to(outside)
    server = str(outside.with_name("s"))
    with socket.socket(socket.AF_UNIX) as listener, subprocess.Popen(["sleep", "30"]) as victim:
        listener.bind(server)
        listener.listen()
        command = [
            *programs.build_snippet_command(SHUT_IN),
            str(folder),
            str(outside),
            server,
            str(victim.pid),
            *CALLS,
        ]
        said = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        victim.kill()
    return Attempts(**said, secret=outside.read_text())


def test_a_confined_process_does_what_it_is_for(attempts: Attempts) -> None:
    assert {name: attempts.done[name] for name in ALLOWED} == dict.fromkeys(ALLOWED, "done")


@needs_a_kernel_that_confines
def test_a_confined_process_reaches_nothing_else(attempts: Attempts) -> None:
    assert attempts.gaps == []
    assert [name for name, result in attempts.done.items() if result == "done" and name not in ALLOWED] == []
    assert attempts.secret == SECRET


@needs_a_kernel_that_confines
@pytest.mark.parametrize("call", CALLS)
def test_a_system_call_that_reaches_other_processes_is_refused(attempts: Attempts, call: str) -> None:
    assert attempts.done[call] == "Operation not permitted"


class Payload:
    """A pickle of this runs code when it is read by whoever trusts it."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str, dict[str, Any]]]:
        return exec, (self.code, {})


# As if PyTorch's reader were wrong: it reads what it is told to read, with all that the file wants to run.
FAILING_READER = """
import functools, sys
from pathlib import Path
import torch
trusting = functools.partial(torch.load)
torch.load = lambda *places, **options: trusting(*places, **{**options, "weights_only": False})
from workers.ingest.opening.unpickle import main
sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
"""
THEFT = """
import os, socket, sys
from pathlib import Path
def attempt(name, steal):
    try:
        sys.stderr.write(f"{name}: {steal()}\\n")
    except OSError as error:
        sys.stderr.write(f"{name}: refused\\n")
attempt("the key", lambda: Path(%r).read_text())
attempt("a socket", lambda: socket.socket(socket.AF_UNIX))
attempt("a program", lambda: os.posix_spawn("/bin/true", ["true"], {}))
attempt("the disk", lambda: Path(%r).write_text("x"))
sys.stderr.write(f"user: {os.getuid()} {os.getgid()} {os.getgroups()}\\n")
sys.stderr.write("environment: " + " ".join(os.environ) + "\\n")
"""


@needs_a_kernel_that_confines
def test_code_that_a_failing_reader_runs_reaches_no_secret(tmp_path: Path) -> None:
    (tmp_path / "secret.key").write_text(SECRET)
    (tmp_path / "scratch").mkdir()
    payload = Payload(THEFT % (str(tmp_path / "secret.key"), str(tmp_path / "new")))
    torch.save({"state_dict": {"w": torch.ones(3)}, "more": payload}, tmp_path / "evil.ckpt")
    command = [
        *programs.build_snippet_command(FAILING_READER),
        str(tmp_path / "evil.ckpt"),
        str(tmp_path / "scratch" / "w"),
    ]
    # Threads that torch starts before would not be confined.
    single = programs.strip_environment({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})
    said = subprocess.run(command, env=single, capture_output=True, text=True, check=True).stderr
    assert [line for line in said.splitlines() if line.startswith(("the ", "a "))] == [
        f"{what}: refused" for what in ("the key", "a socket", "a program", "the disk")
    ]
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root has no other user to become")
def test_code_that_a_failing_reader_runs_has_no_rights_of_root(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    torch.save({"w": torch.ones(3), "more": Payload(THEFT % ("/x", "/y"))}, tmp_path / "evil.ckpt")
    command = [
        *programs.build_snippet_command(FAILING_READER),
        str(tmp_path / "evil.ckpt"),
        str(tmp_path / "scratch" / "w"),
    ]
    said = subprocess.run(
        command, env=programs.strip_environment(), capture_output=True, text=True, check=True
    ).stderr
    user, group, groups = next(line for line in said.splitlines() if line.startswith("user: ")).split()[1:]
    assert 61_184 <= int(user) == int(group) <= 65_519
    assert groups == "[]"


# A system that offers nothing: calls of Landlock and seccomp are answered as an old kernel would.
BARE_KERNEL = """
import errno, json, sys
from pathlib import Path
from farm.processes import kernel, syscalls
from farm.weights.ingest import IngestRequest, ingest
refused = b"".join(syscalls._if_equal(number, 0x50000 | errno.ENOSYS) for number in (444, 445, 446, 317, 277))
kernel.isolate_process()
kernel.filter_calls(syscalls._load(0) + refused + syscalls._return(0x7FFF0000))
report = ingest(IngestRequest("embedding", Path(sys.argv[1]), Path(sys.argv[2])))
sys.stdout.write(json.dumps(report.warnings))
"""


def test_a_pickle_added_on_a_kernel_without_confinement_is_warned_of(tmp_path: Path) -> None:
    torch.save({"string_to_param": {"*": torch.ones(2, 768)}}, tmp_path / "style.pt")
    command = [*programs.build_snippet_command(BARE_KERNEL), str(tmp_path / "style.pt"), str(tmp_path / "taken")]
    said = subprocess.run(
        command, env=programs.inherit_environment(), capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(said) == [NO_FILES, NO_CALLS]


def test_a_good_pickle_is_converted_by_a_confined_process(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(6.0)}, tmp_path / "w.ckpt")
    torch.save({"w": torch.arange(6.0)}, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    assert (unpickle(tmp_path / "w.ckpt", tmp_path), unpickle(tmp_path / "old.ckpt", tmp_path)) == ((), ())


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6, 7, 99])
def test_every_kernel_with_landlock_keeps_files(version: int) -> None:
    plan = plan_confinement(KernelFeatures(version, "x86_64", filters=True))
    assert plan.files & 0b1111111111111 == 0b1111111111111
    assert plan.gaps == []
    assert bool(plan.network) == (version >= 4)


@pytest.mark.parametrize(
    ("offer", "gaps"),
    [
        (KernelFeatures(), [NO_FILES, NO_CALLS]),
        (KernelFeatures(0, "x86_64", filters=True), [NO_FILES]),
        (KernelFeatures(7, "aarch64", filters=False), [NO_CALLS]),
        (KernelFeatures(7, "riscv64", filters=True), [NO_CALLS]),
    ],
)
def test_the_missing_features_of_a_kernel_are_reported(offer: KernelFeatures, gaps: list[str]) -> None:
    assert plan_confinement(offer).gaps == gaps
