"""From what a paired gate has seen to its outcome: verdicts, exit code, warnings."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from llmbench.analyze.compare import Side as Told
from llmbench.analyze.stored import NO_BASELINE, Outcome, exit_code
from llmbench.analyze.verdict import Verdict, Word
from llmbench.machine.nvml import open_nvml
from llmbench.run.paired.outcome import demoted, missing, systemic_verdict, untold_differences, verdict_on
from llmbench.run.paired.seen import Seen
from llmbench.run.paired.subject import WORKING_TREE
from llmbench.run.paired.turns import SIDES
from llmbench.run.paired.witness import changed_since
from llmbench.store.record import SideName
from llmbench.suite.case import facts_of
from llmbench.suite.catalog import DeviceSpec

SOFTWARE = ("python", "torch", "triton", "numpy", "cuda", "cudnn")  # that two environments may have in two versions
SHOWN = 10  # differences that are told without being gated
UNTIMED = 5
FALSE_ALARMS: frozenset[Word] = frozenset({"REGRESSED", "IMPROVED", "BROKEN", "FIXED"})
"""What a gate may not say of code against itself; a gate that finds improvements by chance finds regressions too."""


@dataclass(frozen=True)
class Found:
    """What a paired gate found: its outcome in the words of the stored gate, and all that it was made from."""

    outcome: Outcome
    seen: Seen


def found_of(seen: Seen) -> Found:
    """The outcome of what was seen, worst first."""
    verdicts = tuple(sorted(_verdicts(seen), key=lambda v: v.pressing))
    words = {v.word for v in verdicts}
    code = exit_code(words, inconclusive="fail" if seen.suspects else seen.inconclusive)
    if code in (0, NO_BASELINE, 5) and seen.asked.itself and words & FALSE_ALARMS:  # what is left open excuses none
        code = 1
    outcome = Outcome(
        code, seen.inconclusive, _told(seen, "base"), _told(seen, "head"), seen.limits.shares, verdicts,
        tuple(dict.fromkeys(_warnings(seen, verdicts))), itself=seen.asked.itself,
    )  # fmt: skip
    if code in (0, 5) and _untimed(seen, words):
        outcome = replace(outcome, exit_code=UNTIMED)
    elif code in (0, 5) and not outcome.judged:
        outcome = replace(outcome, exit_code=NO_BASELINE)
    return Found(outcome, seen)


def _untimed(seen: Seen, words: Collection[Word]) -> bool:
    """Whether times were to be judged and no pair gave one: nothing that is forgiven as inconclusive."""
    wanted = any("time" in seen.limits.of(facts_of(case)).shares for case in seen.cases)
    return wanted and "INCONCLUSIVE" in words and all(d.ratio is None for d in seen.decisions.values())


def broken(seen: Seen, why: Mapping[SideName, str]) -> None:
    """Notes that a side does not import: the base's is a baseline that is missing, the head's a head that is broken."""
    if "base" in why:
        both = f"; nor does the head: {why['head']}" if "head" in why else ""
        reason = f"{_of(seen, 'base')} does not import: {why['base']}{both}{_submodules(seen, 'base')}"
        seen.refused.append(Verdict(None, "base", "MISSING", reason))
    elif "head" in why:
        reason = f"{_of(seen, 'head')} does not import: {why['head']}{_submodules(seen, 'head')}"
        seen.refused.append(Verdict(None, "head", "BROKEN", reason))


def _submodules(seen: Seen, side: SideName) -> str:
    """That the files of submodules are not there, where a tree was made of a commit that has some."""
    own = seen.sides.of(side)
    if own.path is None or own.path.is_symlink() or not (own.path / ".gitmodules").is_file():
        return ""
    return "; it has submodules (.gitmodules), whose files a worktree of git does not hold"


def not_up(seen: Seen, side: SideName, why: str) -> None:
    """Notes that no process of a side is to be had, for no reason that its code gave: nothing is said of the code."""
    done = f"; {seen.pairs} pairs had been measured and are in {seen.folder}" if seen.pairs else ""
    seen.refused.append(Verdict(None, side, "ENV_ERROR", f"{_of(seen, side)}: {why}{done}"))


def other_device(seen: Seen) -> Verdict | None:
    """That the two sides see different devices, as two environments may; None if it is one."""
    if len(seen.hellos) < 2:
        return None
    a, b = (seen.hellos[side].machine for side in SIDES)
    if a.device_key == b.device_key:
        return None
    keys = sorted(k for k in {*a.key, *b.key} if a.key.get(k) != b.key.get(k))
    differs = "; ".join(f"{k} {b.key.get(k)} against {a.key.get(k)}" for k in keys)
    return Verdict(None, "device", "ENV_ERROR", f"head is on another device than base: {differs}")


def foreign_processes(device: DeviceSpec) -> Verdict | None:
    """That other programs are on the GPU, whose work would be in the times; None if none are, or nobody can tell."""
    if not device.device.startswith("cuda"):
        return None
    nvml = open_nvml(device.uuid or int(device.device.partition(":")[2] or 0))
    if isinstance(nvml, str):
        return None
    others = nvml.other_processes()
    nvml.close()
    if not others:
        return None
    text = f"{others} other process{'es' if others > 1 else ''} on {device.name}: wait for them, or use another device"
    return Verdict(None, "device", "ENV_ERROR", text)


def _verdicts(seen: Seen) -> Iterator[Verdict]:
    yield from seen.refused
    if (device := other_device(seen)) is not None:
        yield device
    for side, text in seen.strangers():
        word: Word = "MISSING" if side == "base" else "ENV_ERROR"
        reason = f"{_of(seen, side)}: {text}, and not from its own tree: is it at another place there?"
        yield Verdict(None, side, word, reason)
    changed = [file for side in SIDES for file in changed_since(seen.sources(side))]
    if changed:
        yield Verdict(None, "code", "ENV_ERROR", f"{', '.join(changed[:3])} changed while it was measured")
    if seen.judged is not None and seen.judged.systemic is not None:
        shift = systemic_verdict(seen.judged.systemic)
        if isinstance(shift, Verdict):
            yield shift
    if seen.tier is None or any(True for _ in seen.strangers()):
        return
    gone = {case.case_id: case for case in seen.gone}
    for case in seen.cases:
        key = case.case_id
        if key in gone:  # the base's suite has it and does not skip it
            yield missing(gone.pop(key), f"skipped by the head: {case.skip}")
            continue
        losses, blocks = [loss for loss in seen.losses if loss.key == key], [b for b in seen.blocks if b.case_id == key]
        yield verdict_on(case, seen.tier, losses, seen.decisions.get(key), blocks, seen.limits.of(facts_of(case)))
    for case in gone.values():
        yield missing(case, f"in the suite of {seen.sides.base.revision}, not in that of the head")


def _warnings(seen: Seen, verdicts: tuple[Verdict, ...]) -> Iterator[str]:
    """What the exit code does not say, most important first."""
    if seen.same_code and not seen.asked.itself and not _differ_in_versions(seen):
        yield "both sides are the same code: what differs is noise"
    if seen.spent:
        warm = "" if seen.suite is not None and seen.suite.measure.cache == "warm" else ", or a suite with cache: warm"
        less = f"; none was finished: give more minutes, fewer cases (--only){warm}"
        each_s = seen.pairs_s / max(1, seen.pairs)
        mean = (f", {each_s:.1f} s each" if each_s >= 0.1 else "") if seen.pairs else less
        yield f"the budget was spent after {seen.pairs} pairs: fewer than asked{mean}"
    if (suspects := seen.suspects) and seen.inconclusive == "pass":
        first = next(case.label for case in seen.cases if case.case_id == suspects[0].case)
        more = f" and {len(suspects) - 1} more" if len(suspects) > 1 else ""
        yield (
            f"{first}{more}: slower by more than the limit, but over too few pairs to call it a regression; "
            "--inconclusive pass does not forgive that: give more minutes"
        )
    if _untimed(seen, {v.word for v in verdicts}):
        yield "nothing was timed, so nothing passes, whatever --inconclusive says"
    for fact in SOFTWARE:
        a, b = (seen.hellos[side].versions.get(fact) if side in seen.hellos else None for side in SIDES)
        if a != b:
            yield f"different {fact}: base {a or 'none'}, head {b or 'none'}; a change may be its doing"
    if seen.sides.head.dirty:
        yield "head had uncommitted changes: its commit does not name its code"
    yield from _untracked(seen)
    if seen.judged is not None and seen.judged.systemic is not None:
        shift = systemic_verdict(seen.judged.systemic)
        if isinstance(shift, str):
            yield f"the suite as a whole: {shift}"
    if seen.layout == "sequential":
        yield "both sides do not fit into memory at once: one process at a time, so drift between them is in the pairs"
    yield from demoted(verdicts)
    if seen.tier is not None:
        told = list(untold_differences(seen.cases, seen.tier, seen.limits))
        yield from told[:SHOWN]
        if len(told) > SHOWN:
            yield f"{len(told) - SHOWN} more such differences are in {seen.folder}"
    yield from seen.notes


def _untracked(seen: Seen) -> Iterator[str]:
    """Which files of the working tree no commit holds, but those that a gate or Python leaves there."""
    head, repository = seen.sides.head, seen.sides.repository
    names = [name for name in head.untracked if not name.endswith("__pycache__/")]
    if repository is not None:
        names = [name for name in names if not seen.folder.resolve().is_relative_to((repository.root / name).resolve())]
    if not names:
        return
    files = f"{', '.join(names[:3])}{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
    if head.revision == WORKING_TREE:
        yield f"no commit holds {files}: measured with the head, and its commit does not name it"
    else:
        yield f"no commit holds {files}: not in {head.revision}, so it is not measured"


def _differ_in_versions(seen: Seen) -> bool:
    versions = [seen.hellos[side].versions for side in SIDES if side in seen.hellos]
    return any(other != versions[0] for other in versions[1:])


def _of(seen: Seen, side: SideName) -> str:
    own = seen.sides.of(side)
    return f"{own.revision}{f' ({own.commit[:12]})' if own.commit and own.revision != own.commit else ''}"


def _told(seen: Seen, side: SideName) -> Told:
    """The side as the stored gate tells a run."""
    own, hello = seen.sides.of(side), seen.hellos.get(side)
    machine, versions = (hello.machine, hello.versions) if hello else (None, {})
    host = machine.facts.get("host") if machine else None
    return Told(
        run_id=own.revision, folder=str(seen.folder), suite=seen.suite_name, host=str(host) if host else None,
        device_name=machine.device_name if machine else None, device_key=machine.device_key if machine else None,
        torch=versions.get("torch"), triton=versions.get("triton"), commit=own.commit, dirty=own.dirty, quick=False,
        complete=not seen.spent, started=seen.started, load=seen.load,
    )  # fmt: skip
