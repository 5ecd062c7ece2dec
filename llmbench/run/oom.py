"""Whether a killed worker was killed for memory: the kernel counts those."""

from pathlib import Path
from signal import SIGKILL

from llmbench.run.local import WorkerDied
from llmbench.store.record import Status


class KillCounter:
    """Counts of out-of-memory kills when it was made: of this cgroup, and of the whole system."""

    def __init__(self) -> None:
        self._before = _kills()

    def explain(self, death: WorkerDied) -> tuple[Status, str]:
        """The status and reason of a worker's death."""
        if death.signal == SIGKILL and _kills() > self._before:
            return "oom", f"{death.reason}: the kernel killed it for memory"
        if "bad_alloc" in death.log or "MemoryError" in death.log.splitlines()[-1:]:
            return "oom", death.reason
        return "crashed", death.reason


def _kills() -> int:
    return _count(Path("/proc/vmstat"), "oom_kill") + sum(_count(path, "oom_kill") for path in _cgroup_events())


def _cgroup_events() -> list[Path]:
    """The memory events of this process's cgroup (version 2)."""
    try:
        group = Path("/proc/self/cgroup").read_text().splitlines()[-1].rpartition(":")[2].lstrip("/")
    except (OSError, IndexError):
        return []
    return [Path("/sys/fs/cgroup") / group / "memory.events"]


def _count(path: Path, name: str) -> int:
    try:
        return next(int(ln.split()[1]) for ln in path.read_text().splitlines() if ln.startswith(name + " "))
    except (OSError, StopIteration, ValueError):
        return 0
