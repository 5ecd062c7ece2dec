"""A worker process on this machine, as its parent holds it."""

import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import IO

import llmbench
from llmbench.errors import MachineError, ProtocolError
from llmbench.run.fork_server import Forked, ForkServer
from llmbench.run.protocol import START_S, Hello, Message, decode, encode

LOG_TAIL = 16_384  # bytes of a dead worker's output that are read: a crash writes the stack of every thread
SHOWN = 1500  # characters of it that are shown when no worker comes up


KEEP_MEMORY = {
    "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**32), "MALLOC_TOP_PAD_": str(2**26),
}  # fmt: skip
"""glibc gives large blocks that are freed back to the system, or does not, by how a process happens to lie in memory.

What it gave back costs page faults in the next call: a naive attention of 8 heads and 512 tokens took 13.7 to 19.0 ms
with 1,500 to 4,000 faults a call in fresh processes, and 10.5 to 11.1 ms with 0 to 140 under these settings. As CUDA's
allocator of torch does, it keeps what it has. Not by a high MALLOC_MMAP_THRESHOLD_, which ends at 32 MiB: what is
larger would still come and go. Source: mallopt(3).
"""


class WorkerDied(Exception):  # noqa: N818  (an event that the runner handles)
    """The worker ended on its own. `signal` is the number that killed it, or None; `exit_code` else."""

    def __init__(self, returncode: int, log: str) -> None:
        self.signal = -returncode if returncode < 0 else None
        self.exit_code, self.log = returncode, log
        super().__init__(self.reason)

    @property
    def reason(self) -> str:
        """`killed by SIGSEGV` or `exited with code 1`, with where it was or the last line that it wrote."""
        if self.signal is None:
            how = f"exited with code {self.exit_code}"
        else:
            try:
                how = f"killed by {signal.Signals(self.signal).name}"
            except ValueError:
                how = f"killed by signal {self.signal}"
        last = _telling_line(self.log)
        return f"{how}; {last[:300]}" if last else how


@dataclass(frozen=True, kw_only=True)
class Program:
    """How a worker is started. `first` goes first on sys.path; `harness`: the folder that holds llmbench, None for this
    very one; `more`: of its environment."""

    device: str
    plugins: Sequence[str]
    plugin_path: Path
    log: Path
    threads: int | None = None
    python: str = sys.executable
    first: Sequence[Path] = ()
    harness: Path | None = None
    more: Mapping[str, str] = field(default_factory=dict)

    def start(self, *how: str, descriptors: Sequence[int]) -> "subprocess.Popen[bytes]":
        """In a session of its own, so that Ctrl-C reaches the parent alone and a kill reaches all of it."""
        command = [self.python, "-P", "-m", "llmbench.run.serve", *how, "--device", self.device]
        command += [arg for plugin in self.plugins for arg in ("--plugin", plugin)] + ["--path", str(self.plugin_path)]
        command += [arg for folder in self.first for arg in ("--first", str(folder))]
        env = {**worker_environment(self.device, threads=self.threads, harness=self.harness), **self.more}
        with self.log.open("ab") as output:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=tuple(descriptors),
                start_new_session=True, env=env,
            )  # fmt: skip


class LocalWorker:
    """A worker with the descriptors that it is spoken to by: a fresh process, or where there is a `server` its fork."""

    def __init__(self, program: Program, server: ForkServer | None = None) -> None:
        self._log_path = program.log
        self._log_start = program.log.stat().st_size if program.log.exists() else 0
        child_in, self._to_child = os.pipe()
        self._from_child, child_out = os.pipe()
        theirs = child_in, child_out
        self.process: Forked | subprocess.Popen[bytes] = (server and server.fork(theirs)) or program.start(
            "--serve", f"{child_in},{child_out}", descriptors=theirs
        )
        os.close(child_in)
        os.close(child_out)
        self._reader: IO[bytes] = os.fdopen(self._from_child, "rb", buffering=0)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._reader, selectors.EVENT_READ)
        self._buffer = b""

    @property
    def pid(self) -> int:
        """The worker's process id, which is its process group's too."""
        return self.process.pid

    def hello(self) -> Hello:
        """The worker's first message. Raises: MachineError with what it wrote, when it does not come up."""
        try:
            return self.greeting()
        except WorkerDied as e:
            raise MachineError(f"the worker did not start: {e.log.strip()[-SHOWN:] or e.reason}") from e

    def greeting(self, *, within_s: float = START_S) -> Hello:
        """The worker's first message. Raises: WorkerDied; MachineError when none comes in time, and it is killed."""
        deadline = monotonic() + within_s
        while monotonic() < deadline:
            message = self.receive(1.0)
            if isinstance(message, Hello):
                return message
        self.kill()
        raise MachineError(f"the worker did not start within {within_s:.0f} s; its output is in {self._log_path}")

    def send(self, message: Message) -> None:
        """Hands over a unit, or a question. Raises: WorkerDied when nobody takes it."""
        data = memoryview(encode(message))
        try:
            while data:
                data = data[os.write(self._to_child, data) :]
        except BrokenPipeError:
            raise self._died() from None

    def receive(self, timeout_s: float) -> Message | None:
        """The next message, or None when none comes in time. Raises: WorkerDied after the last one; ProtocolError."""
        while b"\n" not in self._buffer:
            if not self._selector.select(timeout_s):
                return None
            chunk = self._reader.read(1 << 20)
            if not chunk:
                raise self._died()
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        try:
            return decode(line)
        except ProtocolError:
            self.kill()
            raise

    def stop(self) -> None:
        """Lets an idle worker end; one that does not is killed."""
        self._close_input()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)
        self.kill()

    def kill(self) -> None:
        """Kills the worker and all that it started; returns when it is gone."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._close_input()
        self._selector.close()
        self._reader.close()

    def _close_input(self) -> None:
        if self._to_child >= 0:
            os.close(self._to_child)
            self._to_child = -1

    def _died(self) -> WorkerDied:
        try:
            returncode = self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # it closed its end and lives on: not one of ours any more
            self.process.kill()
            returncode = self.process.wait()
        self.kill()
        with self._log_path.open("rb") as log:
            log.seek(max(self._log_start, self._log_path.stat().st_size - LOG_TAIL))
            return WorkerDied(returncode, log.read().decode(errors="replace"))


def _telling_line(log: str) -> str:
    """`in File "x.py", line 3 in call` where Python wrote its stack on a crash, else the last line."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    crash = next((i for i, line in enumerate(lines) if line.startswith("Fatal Python error")), None)
    if crash is not None:
        here = next((i for i, line in enumerate(lines) if i > crash and line.startswith("Current thread")), crash)
        return next((f"in {line}" for line in lines[here:] if line.startswith("File ")), lines[crash])
    return f"last output: {lines[-1]}" if lines else ""


THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def worker_environment(device: str, *, threads: int | None = None, harness: Path | None = None) -> dict[str, str]:
    """The environment of a worker: it imports this very llmbench, or that in `harness`, wherever it is started.

    On a CPU torch.compile gets no pool of processes of its own to outlive anybody, and the allocator of the C library
    keeps what is freed, unless the user sets it (`MALLOC_...`): see `KEEP_MEMORY`.
    """
    env = dict(os.environ)
    home = harness or Path(llmbench.__file__).parents[1]
    if home.name not in ("site-packages", "dist-packages"):  # a checkout that may be found by its folder only
        env["PYTHONPATH"] = os.pathsep.join([str(home), *filter(None, [env.get("PYTHONPATH")])])
    env.setdefault("KINETO_LOG_LEVEL", "6")  # the profiler of the memory pass would fill worker.log
    if device == "cpu":
        env.update(dict.fromkeys(THREADS, str(threads)) if threads else {})
        env.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
        if not any(name.startswith("MALLOC_") for name in env):
            env.update(KEEP_MEMORY)
    return env
