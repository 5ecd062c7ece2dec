"""Dynamic loss scaling for float16: the scale grows while gradients are finite, and shrinks when they are not."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.optim import Optimizer

SMALLEST = 2.0**-126  # of scales: its inverse is finite in float32


class LossScaler:
    """The state machine of torch.amp.GradScaler, in the open: `scale` and the clean steps since it last changed.

    Use: `scaler.scaled(loss).backward()`, `scaler.unscale_(params)`, clip, `scaler.step(optimizer)`, `scaler.update()`.
    Source: Micikevicius et al. 2018, Mixed Precision Training, section 3.2; torch.amp.GradScaler.
    """

    def __init__(
        self, scale: float = 2.0**16, *, growth: float = 2.0, backoff: float = 0.5, growth_interval: int = 2000
    ) -> None:
        if not scale > 0 or not growth > 1 or not 0 < backoff < 1 or growth_interval < 1:
            raise ValueError(
                f"scale={scale}, growth={growth}, backoff={backoff}, growth_interval={growth_interval}: wanted a scale "
                "above 0, growth above 1, backoff between 0 and 1, an interval of at least 1"
            )
        self.scale, self.clean_steps, self.skipped = scale, 0, 0
        self._growth, self._backoff, self._interval = growth, backoff, growth_interval
        self._found_inf: Tensor | None = None
        self._unscaled: set[int] = set()  # ids of parameters, since the last update

    def scaled(self, loss: Tensor) -> Tensor:
        """The loss to call backward on."""
        return loss * self.scale

    @torch.no_grad()
    def unscale_(self, params: Iterable[Tensor]) -> Tensor:
        """Divides the gradients by the scale, in place; 1.0 on their device if any was infinite or NaN, else 0.0.

        Once a step, before gradients are clipped. Raises: RuntimeError for a gradient that was unscaled already.
        """
        given = [p for p in params if p.grad is not None]
        if any(id(p) in self._unscaled for p in given):
            raise RuntimeError("gradients were unscaled already since the last update()")
        self._unscaled.update(id(p) for p in given)
        kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
        for p in given:
            assert p.grad is not None
            kinds.setdefault((p.grad.dtype, p.grad.device), []).append(p.grad)
        device = given[0].device if given else torch.device("cpu")
        found = torch.zeros(1, device=device)
        for (_, where), alike in kinds.items():
            one, inverse = torch.zeros(1, device=where), torch.full((1,), 1.0 / self.scale, device=where)
            torch._amp_foreach_non_finite_check_and_unscale_(alike, one, inverse)
            found = torch.maximum(found, one.to(device))
        self._found_inf = found if self._found_inf is None else torch.maximum(self._found_inf, found)
        return found

    def step(self, optimizer: Optimizer) -> bool:
        """A step of the optimizer, unless a gradient was not finite; whether it was made. Waits for the device.

        Gradients of it that are not unscaled yet are now. With several optimizers none steps after a gradient that was
        not finite; torch decides for each.
        """
        params = [p for group in optimizer.param_groups for p in group["params"]]
        self.unscale_(p for p in params if id(p) not in self._unscaled)
        if self._not_finite():
            self.skipped += 1
            return False
        optimizer.step()
        return True

    def update(self) -> None:
        """The scale of the next step: times `backoff` after a gradient that was not finite, times `growth` after
        `growth_interval` clean steps in a row.

        Raises: RuntimeError where no gradient was unscaled since the last one.
        """
        if self._found_inf is None:
            raise RuntimeError("no gradient was unscaled since the last update()")
        if self._not_finite():
            self.scale = max(self.scale * self._backoff, SMALLEST)
            self.clean_steps = 0
        elif self.clean_steps + 1 == self._interval:
            grown = self.scale * self._growth
            self.scale = grown if torch.tensor(grown, dtype=torch.float32).isfinite() else self.scale
            self.clean_steps = 0
        else:
            self.clean_steps += 1
        self._found_inf = None
        self._unscaled.clear()

    def _not_finite(self) -> bool:
        if self._found_inf is None or isinstance(self._found_inf, FakeTensor):  # which has no values: taken as finite
            return False
        return bool(self._found_inf.item())

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on needs."""
        return {"scale": self.scale, "clean_steps": self.clean_steps, "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from `state_dict()`."""
        self.scale, self.clean_steps, self.skipped = state["scale"], state["clean_steps"], state["skipped"]
