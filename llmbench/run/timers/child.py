"""A process of its own for one trial: one tool times one function, and the answer is one JSON file.

python -m llmbench.run.timers.child --out FILE --device D --threads N                        what this process runs on
python -m llmbench.run.timers.child ... --tool T --function F --budget S [--cycles-per-s C]  a trial
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from llmbench.codec import to_plain
from llmbench.files import write_whole
from llmbench.machine.fingerprint import Machine
from llmbench.machine.probe import probe, versions
from llmbench.run.timers.functions import call_of, gpu_cycles_per_s, loop_error
from llmbench.run.timers.subjects import functions_for
from llmbench.run.timers.tools import TIMERS, Subject
from llmbench.store.timers import Answer

WHY = 500  # characters of an error that are kept


@dataclass(frozen=True)
class Place:
    """What trials run on. `cycles_per_s`: what the busy loops of a GPU are calibrated to."""

    machine: Machine
    versions: dict[str, str]
    cycles_per_s: float | None


def measure(
    tool: str, function: str, *, device: torch.device, budget_s: float, folder: Path, cycles_per_s: float | None = None
) -> Answer:
    """What a tool says of a function, which has been called once before. A failure is an answer too."""
    (asked,) = (f for f in functions_for(device.type) if f.name == function)
    try:
        call = call_of(asked, device, cycles_per_s)
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        found = TIMERS[tool](Subject(call, device, budget_s, folder))
        return Answer(**found._asdict(), loop_error=loop_error(asked, call, cycles_per_s))
    except Exception as e:
        return Answer(why=f"{type(e).__name__}: {e}"[:WHY])


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0 whenever there is an answer."""
    args = _parser().parse_args(argv)
    torch.set_num_threads(args.threads)
    device = torch.device(args.device)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if args.tool is None:
        cycles = gpu_cycles_per_s() if device.type == "cuda" else None
        body = to_plain(Place(probe(args.device), versions(), cycles))
    else:
        body = asdict(
            measure(
                args.tool, args.function, device=device, budget_s=args.budget, folder=args.out.parent,
                cycles_per_s=args.cycles_per_s,
            )
        )  # fmt: skip
    write_whole(args.out, json.dumps(body))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--tool")
    parser.add_argument("--function")
    parser.add_argument("--budget", type=float)
    parser.add_argument("--cycles-per-s", type=float)
    return parser


if __name__ == "__main__":
    sys.exit(main())
