"""CUDA graphs: short work replayed without the host, which takes longer to queue it than the device to run it."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from llmbench.measure.clock import Call

WARM_UP = 2  # calls on the side stream before the capture: libraries make their handles and workspaces there


def captured(calls: Sequence[Call]) -> Call | str:
    """A call that replays `calls`, one after the other, or why they cannot be captured.

    What a call does on the host would be missing from the replay: outputs are filled with NaN and have to be written by
    it. Outputs live as long as the graph, in memory of its own. Source: the CUDA graphs notes of torch's documentation.
    """
    here = torch.cuda.current_stream()
    try:
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(here)
        with torch.cuda.stream(side):
            for call in calls[:WARM_UP]:
                call()
        here.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outs = [call() for call in calls]
        for out in _floating(outs):
            out.fill_(math.nan)
        graph.replay()
        torch.cuda.synchronize()
        if any(bool(out.isnan().all()) for out in _floating(outs) if out.numel()):
            return "an output was not written by the replay"
    except Exception as e:  # whatever an implementation may do that a capture forbids: it is timed by events then
        torch.cuda.set_stream(here)  # an invalidated capture leaves its own stream on
        torch.cuda.synchronize()
        return " ".join(f"{type(e).__name__}: {e}".split())[:300]

    def replay(keep: object = outs) -> None:
        graph.replay()

    return replay


def _floating(outs: Sequence[object]) -> list[Tensor]:
    """The floating tensors among outputs, whose history no fill disturbs."""
    flat = [t for out in outs for t in (out if isinstance(out, tuple | list) else (out,))]
    return [t.detach() for t in flat if isinstance(t, Tensor) and t.is_floating_point()]
