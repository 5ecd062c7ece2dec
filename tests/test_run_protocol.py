"""What parent and worker say to each other: one line a message, and nothing of another version."""

import json
from typing import get_args

import pytest

from llmbench.errors import ProtocolError
from llmbench.machine.fingerprint import Machine
from llmbench.run.protocol import (
    VERSION,
    Block,
    BlockDone,
    CaseReady,
    Found,
    Hello,
    Loaded,
    Message,
    Offer,
    Offered,
    Prepare,
    Release,
    Source,
    Sources,
    Stage,
    Telemetry,
    Unit,
    UnitDone,
    Watched,
    Way,
    decode,
    encode,
)
from llmbench.store.record import Measurement, Record
from llmbench.store.sentinels import Visit
from llmbench.suite.case import Case
from llmbench.suite.catalog import Catalog, DeviceSpec
from llmbench.suite.suite import Measure

CASE = Case(
    "c" * 16, "p" * 16, "attention", 1, "naive", "fwd", {"seq_len": 16, "dtype": "float32"}, "cold", "wall",
    {"heads": "gqa"}, {"seq_len": 16}, is_baseline=True, skip=None,
)  # fmt: skip
MESSAGES: tuple[Message, ...] = (
    Unit("p" * 16, 2, (CASE,), Measure(target_ci=0.05, memory_limit=2**30), ("memory", "power"), 7),
    Hello(42, Machine("cpu", "EPYC", "cpu", 2**30, 2**25, {"cores": 2}), {"torch": "2.6"}, ("no NVML",)),
    Stage("oracle"),
    Stage("warm-up", "c" * 16),
    Found(Record("c" * 16, 2, "crashed", why='killed by SIGSEGV\nwith "quotes" and \u2028 \U0001f525')),
    Found(Record("c" * 16, 2, "ok", measurements=[Measurement("time", 0.1, samples=[0.1], sample_t_ns=[2**62])])),
    Telemetry([{"t_ns": 2**62, "power_w": 71.5, "throttle_names": None, "other_processes": 0}]),
    Watched((Visit("gemm", 1, "640 x 640 float32", (3.4e-3, 3.5e-3)), Visit("copy", 1, "32 MiB", ())), 1.8e9),
    UnitDone("p" * 16, 2, 1.5, {"time": 1.0}),
    Offer(),
    Offered(Catalog(DeviceSpec("cpu", "cpu", "EPYC"), (), {"torch": "2.6"})),
    Prepare(CASE, "base 3", 3, Measure(), ("memory",), 7, (1,), Way(True, 8, False)),
    Prepare(CASE, "base 3", 3, Measure(), (), 7),
    CaseReady(Record("c" * 16, 3, "ok"), 1e-3, 0.1, 64, "perf_counter", Way(), 1e9, 0.0, 2e9, ((0.5, 1.0, 1e-7),)),
    Block("c" * 16, 25, 4),
    BlockDone("c" * 16, [1e-3], [2**62], [""], 4, 7, 0, 0.1),
    BlockDone("c" * 16, [], [], [], record=Record("c" * 16, 3, "error", why="boom")),
    Release("c" * 16),
    Sources(("/repo",), ("my_ops",)),
    Sources((), (), installed=True),
    Loaded((Source("my_ops", "/repo/my_ops.py", "ab12"),)),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_message_is_one_line_and_comes_back_equal(message: Message) -> None:
    line = encode(message)
    assert line.endswith(b"\n") and line.count(b"\n") == 1 and len(line.splitlines()) == 1
    assert decode(line) == message == decode(line.decode())
    assert json.loads(line)["v"] == VERSION


def test_every_kind_of_message_is_tried() -> None:
    assert {type(m) for m in MESSAGES} == set(get_args(Message))


@pytest.mark.parametrize("version", [0, VERSION + 1, str(VERSION), None])
def test_another_version_is_refused_and_named(version: object) -> None:
    line = json.dumps({**json.loads(encode(MESSAGES[2])), "v": version})
    with pytest.raises(ProtocolError, match=f"version {version}, type 'stage'; this side speaks version {VERSION}"):
        decode(line)


@pytest.mark.parametrize("kind", ["gossip", "Stage", 3, [], None])
def test_a_type_that_is_none_is_refused(kind: object) -> None:
    with pytest.raises(ProtocolError, match="this side speaks version"):
        decode(json.dumps({"v": VERSION, "type": kind}))


@pytest.mark.parametrize(
    "line", [b"", b"hello from a native library\n", b"[1]", b"3", b'{"v": 1}', b'{"type": "stage"}']
)
def test_what_is_no_message_is_refused_and_shown(line: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a message"):
        decode(line)


def test_a_message_that_does_not_fit_names_its_field() -> None:
    with pytest.raises(ProtocolError, match=r"stage: Stage\.stage: 'sleep' is none of"):
        decode('{"v": 1, "type": "stage", "stage": "sleep"}')
    assert ProtocolError.exit_code == 3


def test_a_unit_is_known_by_point_and_process() -> None:
    unit = MESSAGES[0]
    assert isinstance(unit, Unit) and unit.key == ("p" * 16, 2)
