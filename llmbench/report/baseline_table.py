"""What a store of baselines holds, for the terminal and for machines: by suite and device, segment by segment."""

import json
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from llmbench.analyze.history import MIN_RUNS
from llmbench.codec import to_plain
from llmbench.report.escape import one_line
from llmbench.store.entry import Entry, Segment, segments, void_acceptances, when
from llmbench.store.past import versions_text

SCHEMA = "llmbench.baselines/1"


def added(entry: Entry, entries: Sequence[Entry]) -> str:
    """`attention/...: run 4 of its history (torch 2.13.0); 6 more until times are judged`."""
    (mine,) = [s for s in segments(entries) if s.current and _same(s, entry)]
    count = len(mine.runs)
    left = f"; {MIN_RUNS - count} more until times are judged" if count < MIN_RUNS else ""
    did = "accepted, " if entry.event == "accept" else ""
    return one_line(f"{entry.run.run_id}: {did}run {count} of its history ({versions_text(mine.soft)}){left}")


def quarantined(entry: Entry, entries: Sequence[Entry]) -> str:
    """`attention/...: in quarantine`, and what is judged by again where the run had begun the current history."""
    told, void = f"{entry.run.run_id}: in quarantine", _void_of(entry, entries)
    if void:
        told += f"; {_void_text(void)}"
        (mine,) = [s for s in segments(entries) if s.current and _same(s, entry)]
        if mine.accepted is None or mine.accepted.id < void[-1].id:
            count = f"{len(mine.runs)} run{'' if len(mine.runs) == 1 else 's'}"
            told += f": the history before it goes on, now with {count} ({versions_text(mine.soft)})"
    return one_line(told)


def show(url: str, entries: Sequence[Entry], console: Console) -> None:
    """Prints every segment with its runs, and what is in quarantine with the reason."""
    if not entries:
        console.print(Text(f"{url}: nothing yet"), overflow="fold")
    for own in _groups(entries):
        run = own[0].run
        console.print(Text(one_line(f"{run.suite} on {run.device_name} ({run.device_key})"), style="bold"))
        for segment in segments(own):
            console.print(Text(f"  {one_line(_segment_text(segment))}"), overflow="fold")
            for entry in segment.runs:
                console.print(Text(f"    {one_line(_run_text(entry))}"), overflow="fold")
        for entry in own:
            if entry.event == "quarantine":
                told = f"quarantine {entry.run.run_id} · {when(entry)} · {entry.by}: {entry.why}"
                void = _void_of(entry, own)
                told += f" · {_void_text(void)}" if void else ""
                console.print(Text(f"  {one_line(told)}", style="yellow"), overflow="fold")


def document(url: str, entries: Sequence[Entry]) -> str:
    """Segments and entries as JSON text, ending in a newline. Runs of segments are named by the ids of entries."""
    histories = [
        {"suite": own[0].run.suite, "device_key": own[0].run.device_key, "segments": [_plain(s) for s in segments(own)]}
        for own in _groups(entries)
    ]
    body = {"schema": SCHEMA, "store": url, "histories": histories, "entries": to_plain(list(entries))}
    return json.dumps(body, indent=1, allow_nan=False) + "\n"


def _groups(entries: Iterable[Entry]) -> list[list[Entry]]:
    """The entries of each suite on each device."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.folder, []).append(entry)
    return [found[folder] for folder in sorted(found)]


def _plain(segment: Segment) -> dict[str, object]:
    return {
        "op_version": segment.op_version, "soft": segment.soft, "current": segment.current,
        "accepted": segment.accepted and segment.accepted.id, "runs": [e.id for e in segment.runs],
        "missing": max(0, MIN_RUNS - len(segment.runs)),
    }  # fmt: skip


def _segment_text(segment: Segment) -> str:
    count = len(segment.runs)
    text = f"{count} run{'' if count == 1 else 's'} · op version {segment.op_version} · {versions_text(segment.soft)}"
    if segment.accepted is not None:
        text += f" · accepted {when(segment.accepted)} by {segment.accepted.by}: {segment.accepted.why}"
    if not segment.current:
        return f"{text} · closed"
    return f"{text} · {MIN_RUNS - count} missing" if count < MIN_RUNS else text


def _run_text(entry: Entry) -> str:
    run = entry.run
    code = f"{(run.commit or 'unknown')[:12]}{' with uncommitted changes' if run.dirty else ''}"
    size = f"{entry.cases} case{'' if entry.cases == 1 else 's'} × {entry.processes}"
    why = f" · {entry.why}" if entry.why and entry.event == "add" else ""
    return f"{run.run_id} · {run.started[:16]} · {code} · {size} · {entry.id}{why}"


def _void_of(entry: Entry, entries: Sequence[Entry]) -> list[Entry]:
    """The acceptances of the run in quarantine."""
    run = entry.run
    return [e for e in void_acceptances(entries) if (e.run.run_id, e.run.digest) == (run.run_id, run.digest)]


def _void_text(void: Sequence[Entry]) -> str:
    """`its acceptance of 2026-05-09 12:33 UTC does not count`."""
    return f"its acceptance of {', '.join(map(when, void))} does not count"


def _same(segment: Segment, entry: Entry) -> bool:
    return (segment.op_version, segment.soft) == (entry.run.op_version, entry.run.soft)
