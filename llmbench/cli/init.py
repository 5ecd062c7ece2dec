"""`llmbench init`."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from llmbench.errors import UsageError

SUITE = """\
# Which attention is fastest here, and which needs the least memory? Say here what your suite is to answer.
#
{plan}

op: attention                       # what is measured: llmbench list ops
impls: [naive, tiled, sdpa_math, sdpa_flash]   # by what: llmbench list impls
baseline: {{impl: sdpa_flash}}        # speed-ups are against this one
phases: [fwd]                       # infer, fwd, bwd, fwd_bwd: what a call does

axes:                               # every combination of these is a point
  seq_len: [256, 512]
  heads:                            # a named bundle: one value that sets several parameters
    mha: {{num_heads: 8, num_kv_heads: 8}}
    gqa: {{num_heads: 8, num_kv_heads: 2}}
fixed: {{head_dim: 64, mask: causal, dtype: float32}}

# skip:                             # cases that are not to run, each with its reason
#   - {{match: {{impl: naive, seq_len: 512}}, why: materialises the S x S score matrix}}

on:                                 # on another device a key is replaced whole: cpu, cuda, sm90
  cuda:
    axes:
      seq_len: [1024, 2048, 4096]
      heads:
        mha: {{num_heads: 32, num_kv_heads: 32}}
        gqa: {{num_heads: 32, num_kv_heads: 8}}
    fixed: {{head_dim: 128, mask: causal, dtype: bfloat16}}

measure:
  target_ci: 0.02                   # stop when the 95 % CI of the median is within 2 % of it
  max_s: 0.2                        # or after this time for a case
  cache: cold                       # flushed before each call; warm: it is not
  processes: 1                      # fresh processes, each measuring every case; 3 or more to compare runs
probes: [memory]                    # each in a pass of its own, since it perturbs
gate: {{time: 0.03, peak_memory: 0}}  # what llmbench gate lets pass: time 3 % up, no byte more

# plugins: [my_kernels]             # modules beside this file with ops and implementations of your own
"""


def command(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="Where to write it.")] = Path("suite.yaml"),
) -> None:
    """Write a commented suite to start from."""
    name = _shown(file)
    if not name.isprintable():
        raise UsageError(f"{str(file)!r}: not a name for a suite; wanted: one that can be printed, without line breaks")
    try:
        with file.open("x", encoding="utf-8") as out:
            out.write(SUITE.format(plan=_commands(name)))
    except FileExistsError:
        raise UsageError(f"{file}: it exists already, and stays as it is; give another name") from None
    except OSError as e:
        raise UsageError(f"{file}: cannot write it: {e.strerror}") from e
    print(f"llmbench: wrote {file}; measure it with: llmbench run {name}", file=sys.stderr)


def _commands(name: str) -> str:
    """What to do with it, as comments."""
    told = {
        f"llmbench plan {name}": "what it will measure, and for how long",
        f"llmbench run {name}": "measure, and store the evidence under results/",
        "llmbench report latest --open": "tables, and a page of plots",
    }
    width = max(map(len, told))
    return "\n".join(f"#   {command:<{width}}     {text}" for command, text in told.items())


def _shown(file: Path) -> str:
    """As `llmbench run` takes a file: with a slash in it, quoted for a shell."""
    return shlex.quote(str(file) if "/" in str(file) else f"./{file}")
