"""Registers, spills and shared memory of Triton kernels: the real Triton on a made-up device, and inductor's."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from llmbench.measure.registers import Resources, triton_resources

triton = pytest.importorskip("triton", reason="triton is not installed")
from example_kernel import double  # noqa: E402
from made_up_gpu import MadeUpGpu  # noqa: E402
from triton.runtime.jit import JITFunction  # noqa: E402

HEURISTICS = "torch._inductor.runtime.triton_heuristics"


class MadeUpH100(MadeUpGpu):
    """Kernels are loaded and launched in name only."""

    launcher_cls = staticmethod(lambda src, metadata: lambda *args: None)

    def __init__(self, registers: Iterator[tuple[int, int]]) -> None:
        super().__init__(90)
        loaded = lambda *args: ("module", "function", *next(registers), 1024)  # noqa: E731
        properties = {"max_shared_mem": 232_448}
        self.utils = SimpleNamespace(
            load_binary=loaded, get_device_properties=lambda device: properties, unload_module=lambda module: None
        )


def as_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's language as the compiler needs it, whatever was interpreted in this process before.

    The interpreter replaces its functions, each by one that keeps it as `member`, and does not put those of
    triton.language.core back after a kernel that calls functions of its own (InterpretedFunction.__call__, 3.9).
    """
    core = triton.language.core
    for place in (triton.language, core, core.tensor):
        for name, member in list(vars(place).items()):
            original = member
            while "member" in (kept := getattr(original, "__kwdefaults__", None) or {}):
                original = kept["member"]
            if original is not member:
                monkeypatch.setattr(place, name, original)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A variant that is loaded has 40 registers, the next 56 and spills."""
    as_compiled(monkeypatch)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))  # or an earlier run's kernel is taken, and nothing compiled
    monkeypatch.setenv("TRITON_DEFAULT_FP_FUSION", "1")  # Triton 3.9 warns where it is not set
    config = triton.runtime.driver
    before = config._active
    config.set_active(MadeUpH100(iter([(40, 0), (56, 2)])))
    double.device_caches.clear()
    yield
    double.device_caches.clear()
    config._active = before


def launch(block: int) -> None:
    x = torch.ones(256)
    double[(1,)](x, 256, BLOCK=block)


def test_the_kernels_that_ran_are_read_the_most_of_their_variants(device: None) -> None:
    run = JITFunction.run
    with triton_resources() as found:
        launch(64)
        assert found == {"double": Resources(40, 0, 0)}
        launch(128)
        launch(64)
    assert found == {"double": Resources(56, 2, 0)}
    assert JITFunction.run is run


def test_only_what_ran_within_the_block_is_told(device: None) -> None:
    launch(64)
    with triton_resources() as found:
        pass
    launch(64)
    assert found == {}


def test_a_call_that_fails_leaves_triton_as_it_was(device: None) -> None:
    run = JITFunction.run

    def boom(*args: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), triton_resources():
        double[boom](torch.ones(8), 8, BLOCK=8)  # the grid is asked for at launch
    assert JITFunction.run is run


def of_inductor(monkeypatch: pytest.MonkeyPatch, launchers: list[object]) -> Callable[[], object]:
    """A call that runs a kernel which inductor generated, as its module names them."""

    class CachingAutotuner:
        fn = SimpleNamespace(__name__="triton_red_fused_sum_0")

        def __init__(self) -> None:
            self.launchers = launchers

        def run(self, *args: Any, stream: int) -> str:
            return f"ran {args} on {stream}"

    module = ModuleType(HEURISTICS)
    module.CachingAutotuner = CachingAutotuner  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, HEURISTICS, module)
    return lambda: CachingAutotuner().run(1, stream=7)


def test_inductors_kernels_are_read_from_the_launcher_that_tuning_left(monkeypatch: pytest.MonkeyPatch) -> None:
    call = of_inductor(monkeypatch, [SimpleNamespace(n_regs=32, n_spills=0, shared=4096)])
    with triton_resources() as found:
        assert call() == "ran (1,) on 7"
    assert found == {"triton_red_fused_sum_0": Resources(32, 0, 4096)}


@pytest.mark.parametrize(
    ("launchers", "wanted"),
    [
        ([], {}),
        ([SimpleNamespace()], {}),
        ([SimpleNamespace(shared=None)], {"triton_red_fused_sum_0": Resources(None, None, None)}),
    ],
)
def test_what_another_version_does_not_tell_is_absent(
    monkeypatch: pytest.MonkeyPatch, launchers: list[object], wanted: dict[str, Resources]
) -> None:
    call = of_inductor(monkeypatch, launchers)
    with triton_resources() as found:
        assert call() == "ran (1,) on 7"
    assert found == wanted


def test_the_installed_inductor_runs_its_kernels_where_we_look() -> None:
    heuristics = pytest.importorskip(HEURISTICS, reason="this torch has no inductor")
    assert callable(heuristics.CachingAutotuner.run) and "run" in vars(heuristics.CachingAutotuner)


def test_without_triton_there_is_nothing_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "triton.runtime.jit")
    with triton_resources() as found:
        pass
    assert found == {}
