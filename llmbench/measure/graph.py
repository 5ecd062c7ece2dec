"""CUDA graphs: short work replayed without the host, which takes longer to queue it than the device to run it."""

from collections.abc import Sequence

import torch

from llmbench.measure.clock import Call

WARM_UP = 2  # calls on the side stream before the capture: libraries make their handles and workspaces there


def captured(calls: Sequence[Call]) -> Call | None:
    """A call that replays `calls`, one after the other; None where they cannot be captured.

    Outputs live as long as the graph, in memory of its own. Source: the CUDA graphs notes of torch's documentation.
    """
    try:
        here, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(here)
        with torch.cuda.stream(side):
            for call in calls[:WARM_UP]:
                call()
        here.wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            outs = [call() for call in calls]
    except Exception:  # whatever an implementation may do that a capture forbids: it is timed by events then
        torch.cuda.synchronize()
        return None

    def replay(keep: object = outs) -> None:
        graph.replay()

    return replay
