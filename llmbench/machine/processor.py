"""What disturbs times on the CPU and in memory, each with what to do about it: clocks, neighbours, limits, threads."""

import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from llmbench.machine.finding import Finding, State, judged
from llmbench.machine.host import Host, text_of

BUSY = 0.25
"""Share of the cores in other hands above which timing on the CPU is warned of: on two cores a half-busy one is."""

STOLEN = 0.01
"""Share of the time since boot that the hypervisor gave to others, above which it is warned of: an interval of a
median is to be within 1 %."""

SHORT = 0.25  # of the memory: below it, what a run needs may push pages out


def processor(host: Host, *, root: Path) -> list[Finding]:
    """Findings about the CPU and its threads. `root` is where /proc and /sys are looked for."""
    load = _load(root)
    return [
        Finding("cpu", "model", "ok", f"{host.name} ({host.arch})"),
        *_limits(host),
        judged(
            "cpu", "load", load <= BUSY * host.cores, f"{load:.2f} on {host.cores} cores",
            "other programs run; wait until the load falls, or stop them", disturbs=True,
        ),
        *_clocks(host),
        *_hypervisor(host, root),
        *_hardware_threads(host),
        *_threads(host),
        *_waiting(host, busy=load > BUSY * host.cores),
        *_cache(host),
    ]  # fmt: skip


def memory(host: Host, *, root: Path) -> list[Finding]:
    """Findings about the memory."""
    facts, available = host.facts, psutil.virtual_memory().available
    if limit := facts["cgroup_memory_bytes"]:
        available = min(available, int(limit))
    short = available < SHORT * host.memory_bytes
    found = [
        judged(
            "memory", "available", not short, f"{_gib(available)} available of {_gib(host.memory_bytes)}",
            "large cases will run out of memory; close other programs",
        ),
        *_swap(root, short=short),
    ]  # fmt: skip
    if facts["cgroup_memory_bytes"] is not None:
        advice = "the kernel kills what goes above it, and the case is recorded as oom; raise it for larger cases"
        found.append(Finding("memory", "cgroup limit", "info", _gib(host.memory_bytes), advice))
    if (thp := facts["transparent_hugepages"]) is not None:
        advice = "it changes times of large CPU tensors; compare only with runs of the same setting"
        state: State = "ok" if thp == "madvise" else "info"
        found.append(Finding("memory", "huge pages", state, str(thp), "" if state == "ok" else advice))
    return found


def _limits(host: Host) -> Iterator[Finding]:
    if (quota := host.facts["cgroup_cpus"]) is not None:
        advice = "the quota stops the process in the middle of a sample; lift it, or pin to whole cores instead"
        yield Finding("cpu", "cgroup quota", "warn", f"{quota:g} cores", advice, disturbs=True)
    affinity, cpus = str(host.facts["affinity"]), host.facts["cpus"]
    yield Finding("cpu", "affinity", "ok", f"{affinity} of {cpus} processors")


def _clocks(host: Host) -> Iterator[Finding]:
    governor, turbo = host.facts["governor"], host.facts["turbo"]
    if governor is not None:
        advice = "the clock follows the load; set it with: cpupower frequency-set -g performance"
        yield judged("cpu", "governor", governor == "performance", str(governor), advice, disturbs=True)
    if turbo is not None:
        advice = (
            "the clock follows the temperature and how many cores work; switch it off with: "
            "echo 1 > /sys/devices/system/cpu/intel_pstate/no_turbo, or echo 0 > /sys/devices/system/cpu/cpufreq/boost"
        )
        yield judged("cpu", "turbo", not turbo, "on" if turbo else "off", advice, disturbs=True)


def _hypervisor(host: Host, root: Path) -> Iterator[Finding]:
    if not host.facts["hypervisor"]:
        return
    stolen = _stolen(root)
    seen = "virtual machine" if stolen is None else f"virtual machine, {stolen:.1%} of the time since boot stolen"
    advice = "a virtual machine shares its cores with others; trust paired comparisons more than absolute times"
    state: State = "warn" if stolen is not None and stolen > STOLEN else "info"
    yield Finding("cpu", "hypervisor", state, seen, advice, disturbs=True)


def _hardware_threads(host: Host) -> Iterator[Finding]:
    cores, smt = host.facts["physical_cores"], host.facts["smt"]
    if not isinstance(cores, int):
        return
    usable = _processors(host)
    if not smt:
        yield Finding("cpu", "hardware threads", "ok", "one a core")
        return
    asked = max(_asked(host).values(), default=0)
    if usable <= cores:
        seen = f"{usable} of ours on {cores} cores, each core with another that is not ours"
        advice = "whatever runs on the other thread takes half of the core: keep it idle, or switch SMT off"
        yield Finding("cpu", "hardware threads", "info", seen, advice)
        return
    seen = f"{usable} on {cores} cores"
    advice = (
        "two threads of one core share it, and where a thread runs changes its time; "
        f"set OMP_NUM_THREADS={cores} and pin to one thread a core with taskset -c (lscpu -e lists them)"
    )
    yield Finding("cpu", "hardware threads", "warn" if asked > cores else "info", seen, advice, disturbs=True)


def _threads(host: Host) -> Iterator[Finding]:
    """What the environment asks torch for. Unset, torch takes a thread for each core that it may run on; what it
    took is in the device key of a run, and beside the ceilings."""
    asked = _asked(host)
    for name, threads in asked.items():
        seen = f"{name}={threads} on {host.cores} cores"
        if threads > host.cores:
            advice = f"threads wait for a core while others wait for them; set {name}={host.cores}"
            yield Finding("cpu", "threads", "warn", seen, advice, disturbs=True)
        elif threads < host.cores:
            advice = "the other cores stay idle; only runs with the same number of threads are compared"
            yield Finding("cpu", "threads", "info", seen, advice)
        else:
            yield Finding("cpu", "threads", "ok", seen)
    if asked:
        return
    if _processors(host) > host.cores:
        seen = f"not set: torch starts as many as the affinity has processors, the quota gives {host.cores} cores"
        advice = f"threads are stopped in the middle of their work; set OMP_NUM_THREADS={host.cores}"
        yield Finding("cpu", "threads", "warn", seen, advice, disturbs=True)
    else:
        yield Finding("cpu", "threads", "ok", "not set: torch takes one a core")


def _waiting(host: Host, *, busy: bool) -> Iterator[Finding]:
    """Threads that wait for each other spin by default: on a busy machine they burn the time of those that work."""
    threads = min(_asked(host).values(), default=host.cores)
    policy = str(host.facts.get("env_OMP_WAIT_POLICY") or "not set")
    if threads < 2:
        return
    advice = (
        "waiting threads spin on cores that others need, 4 to 5 times slower was seen; "
        "set OMP_WAIT_POLICY=passive while other programs run"
    )
    good = policy.lower() == "passive" or not busy
    yield judged("cpu", "OMP_WAIT_POLICY", good, policy, advice, disturbs=True)


def _cache(host: Host) -> Iterator[Finding]:
    if host.llc_bytes == 0:
        advice = "cold-cache timing assumes a size where the system tells none; prefer cache: warm here"
        yield Finding("cpu", "last-level cache", "warn", "unknown size", advice)
    else:
        yield Finding("cpu", "last-level cache", "ok", f"{host.llc_bytes / 1024**2:.0f} MiB of the usable cores")


def _swap(root: Path, *, short: bool) -> Iterator[Finding]:
    sizes = dict(line.split(":", 1) for line in text_of(root / "proc/meminfo").splitlines() if ":" in line)
    if "SwapTotal" not in sizes:
        return
    total, free = (int(sizes.get(f"Swap{what}", "0").split()[0]) * 1024 for what in ("Total", "Free"))
    used = total - free
    if used <= 0:
        yield Finding("memory", "swap", "ok", "none" if not total else f"{_gib(total)}, unused")
        return
    advice = "what is read back from disk in the middle of a sample counts in it; free memory, then: swapoff -a"
    yield Finding("memory", "swap", "warn" if short else "info", f"{_gib(used)} in use", advice, disturbs=True)


def _load(root: Path) -> float:
    """Runnable programs, mean over a minute."""
    try:
        return float(text_of(root / "proc/loadavg").split()[0])
    except (IndexError, ValueError):
        return psutil.getloadavg()[0]


def _stolen(root: Path) -> float | None:
    """Share of the processors' time since boot that the hypervisor gave to others. Source: proc(5), /proc/stat."""
    first = text_of(root / "proc/stat").partition("\n")[0].split()
    ticks = [int(n) for n in first[1:9] if n.isdigit()]  # the later columns, guests, are in user time already
    total = sum(ticks)
    return ticks[7] / total if len(ticks) == 8 and total else None


def _processors(host: Host) -> int:
    """Logical processors that this process may run on, whatever its quota."""
    parts = [part.split("-") for part in str(host.facts["affinity"]).split(",") if part]
    return sum(int(p[-1]) - int(p[0]) + 1 for p in parts) or os.cpu_count() or 1


def _asked(host: Host) -> dict[str, int]:
    """Setting of the environment -> the number of threads that it asks for."""
    texts = {name: str(host.facts.get(f"env_{name}") or "").partition(",")[0] for name in _THREADS}
    return {name: int(text) for name, text in texts.items() if text.strip().isdigit()}


_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""torch asks MKL where it has it, and OpenMP else. Source: ATen/ParallelOpenMP.cpp, init_num_threads."""


def _gib(size_bytes: float) -> str:
    return f"{size_bytes / 1024**3:.1f} GiB"
