"""NVML: what the driver tells of an NVIDIA GPU, in SI units; None for what a device does not tell, never an error.

Needs the module `pynvml` of the package nvidia-ml-py, and does without it. No CUDA context is made.
"""

import contextlib
import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

PowerSource = Literal["instant", "usage"]
"""`instant`: NVML_FI_DEV_POWER_INSTANT. `usage`: nvmlDeviceGetPowerUsage, a mean over 1 s on GPUs from Ampere on
(except GA100). Source: NVML API reference, nvmlDeviceGetPowerUsage."""


@dataclass(frozen=True)
class Settings:
    """How a GPU is set up: what a person or an administrator can change, and what that leaves it."""

    ecc: bool | None = None
    mig: bool | None = None
    power_limit_w: float | None = None  # the enforced one
    clock_policy: str | None = None  # "default", or the application clocks that are set
    driver: str | None = None
    driver_cuda: str | None = None  # the newest CUDA that the driver runs
    max_sm_clock_hz: float | None = None
    max_memory_clock_hz: float | None = None
    default_power_limit_w: float | None = None
    persistence: bool | None = None
    power_source: PowerSource | None = None


class Clocks(NamedTuple):
    """SM and memory clock, in Hz."""

    sm_hz: float | None
    memory_hz: float | None


def open_nvml(device: str | int = 0, *, library: ModuleType | None = None) -> "Nvml | str":
    """NVML on one device, or why there is none. Close it.

    `device`: a UUID as torch or NVML writes it, or torch's index, which counts within CUDA_VISIBLE_DEVICES.
    """
    loaded = start(library)
    if isinstance(loaded, str):
        return loaded
    try:
        handle = _by_uuid(loaded, device) if isinstance(device, str) else _by_index(loaded, device, os.environ)
    except loaded.NVMLError as e:
        loaded.nvmlShutdown()
        return f"NVML is not available: no device {device}: {e}"
    return Nvml(loaded, handle)


def open_all(*, library: ModuleType | None = None) -> "list[Nvml] | str":
    """NVML on every device of the machine, visible to CUDA or not, or why there is none. Close each."""
    loaded = start(library)
    if isinstance(loaded, str):
        return loaded
    devices = []
    try:
        for index in range(loaded.nvmlDeviceGetCount()):
            loaded.nvmlInit()  # counted: one for each device's close
            devices.append(Nvml(loaded, loaded.nvmlDeviceGetHandleByIndex(index)))
    except loaded.NVMLError as e:
        return f"NVML is not available: {e}"
    finally:
        loaded.nvmlShutdown()
    return devices


def start(library: ModuleType | None = None) -> ModuleType | str:
    """The library, initialised, or why it is not."""
    if library is None:
        try:
            library = importlib.import_module("pynvml")
        except ImportError as e:
            return f"NVML is not available: {e}; install nvidia-ml-py"
    try:
        library.nvmlInit()
    except library.NVMLError as e:
        return f"NVML is not available: {e}"
    return library


class Nvml:
    """One GPU. Every answer is None where the device or the driver does not give it."""

    def __init__(self, library: ModuleType, handle: object) -> None:
        self._library, self._handle = library, handle
        self.power_source: PowerSource | None = None
        if self._instant_power() is not None:
            self.power_source = "instant"
        elif self._ask("nvmlDeviceGetPowerUsage") is not None:
            self.power_source = "usage"

    def close(self) -> None:
        """Give the library back."""
        with contextlib.suppress(self._library.NVMLError):  # a driver that went away cannot be given back
            self._library.nvmlShutdown()

    def name(self) -> str | None:
        """`NVIDIA H100 80GB HBM3`"""
        return _str(self._ask("nvmlDeviceGetName"))

    def uuid(self) -> str | None:
        """`GPU-...`"""
        return _str(self._ask("nvmlDeviceGetUUID"))

    def memory_bytes(self) -> int | None:
        """Bytes of the device in all."""
        info = self._ask("nvmlDeviceGetMemoryInfo")
        return None if info is None else int(info.total)

    def power_w(self) -> float | None:
        """Power drawn, in W, from `power_source`."""
        milliwatts = self._instant_power() if self.power_source == "instant" else self._ask("nvmlDeviceGetPowerUsage")
        return _thousandth(milliwatts)

    def energy_j(self) -> float | None:
        """Energy since the driver was loaded, in J."""
        return _thousandth(self._ask("nvmlDeviceGetTotalEnergyConsumption"))

    def clocks(self) -> Clocks:
        """The clocks now, in Hz."""
        return self._clocks("nvmlDeviceGetClockInfo")

    def temperature_degc(self) -> float | None:
        """Temperature of the GPU, in degrees Celsius."""
        sensor = self._library.NVML_TEMPERATURE_GPU
        value = self._ask("nvmlDeviceGetTemperature", sensor)
        # nvmlDeviceGetTemperature goes with CUDA 14, its successor came with 13
        value = self._ask("nvmlDeviceGetTemperatureV", sensor) if value is None else value
        return None if value is None else float(value)

    def utilisation(self) -> tuple[float | None, float | None]:
        """Fractions of the last sampling period in which a kernel ran, and in which memory was read or written."""
        rates = self._ask("nvmlDeviceGetUtilizationRates")
        return (None, None) if rates is None else (rates.gpu / 100, rates.memory / 100)

    def throttle_reasons(self) -> int | None:
        """The reasons, as a bit mask, why the clock is not higher."""
        mask = self._ask("nvmlDeviceGetCurrentClocksEventReasons")
        if mask is None:  # drivers before 535 know only the old name
            mask = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons")
        return None if mask is None else int(mask)

    def other_processes(self) -> int | None:
        """Other processes that compute on the device; None if they cannot be told from this one.

        In a container the driver may number processes as the host does: then this one is not in the list, and the
        numbers in it are no processes here.
        """
        processes = self._ask("nvmlDeviceGetComputeRunningProcesses")
        if processes is None:
            return None
        pids = {int(p.pid) for p in processes}
        if os.getpid() in pids or all(_lives(pid) for pid in pids):
            return len(pids - {os.getpid()})
        return None

    def settings(self) -> Settings:
        """How the GPU is set up."""
        ecc, mig = self._ask("nvmlDeviceGetEccMode"), self._ask("nvmlDeviceGetMigMode")
        limit = self._ask("nvmlDeviceGetEnforcedPowerLimit")
        if limit is None:
            limit = self._ask("nvmlDeviceGetPowerManagementLimit")
        persistence = self._ask("nvmlDeviceGetPersistenceMode")
        maximum = self._clocks("nvmlDeviceGetMaxClockInfo")
        return Settings(
            ecc=None if ecc is None else bool(ecc[0]),
            mig=None if mig is None else bool(mig[0]),
            power_limit_w=_thousandth(limit),
            clock_policy=self._clock_policy(),
            driver=driver(self._library),
            driver_cuda=_driver_cuda(self._library),
            max_sm_clock_hz=maximum.sm_hz,
            max_memory_clock_hz=maximum.memory_hz,
            default_power_limit_w=_thousandth(self._ask("nvmlDeviceGetPowerManagementDefaultLimit")),
            persistence=None if persistence is None else bool(persistence),
            power_source=self.power_source,
        )

    def _clock_policy(self) -> str | None:
        """Application clocks set away from their default. Clocks locked with `nvidia-smi -lgc` have no getter: they
        show in the throttle reasons of the telemetry (applications_clocks) and in the clock itself."""
        now, default = (self._clocks(f"nvmlDeviceGet{which}ApplicationsClock") for which in ("", "Default"))
        if now.sm_hz is None or now.memory_hz is None or default.sm_hz is None:
            return None
        if now == default:
            return "default"
        return f"application clocks {now.sm_hz / 1e6:.0f} MHz SM, {now.memory_hz / 1e6:.0f} MHz memory"

    def _clocks(self, function: str) -> Clocks:
        ids = (self._library.NVML_CLOCK_SM, self._library.NVML_CLOCK_MEM)
        return Clocks(*(_million(self._ask(function, clock)) for clock in ids))

    def _instant_power(self) -> float | None:
        """Milliwatts."""
        field = getattr(self._library, "NVML_FI_DEV_POWER_INSTANT", None)
        values = None if field is None else self._ask("nvmlDeviceGetFieldValues", [field])
        if not values or values[0].nvmlReturn != self._library.NVML_SUCCESS:
            return None
        member = {
            self._library.NVML_VALUE_TYPE_DOUBLE: "dVal",
            self._library.NVML_VALUE_TYPE_UNSIGNED_INT: "uiVal",
            self._library.NVML_VALUE_TYPE_UNSIGNED_LONG: "ulVal",
            self._library.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG: "ullVal",
            self._library.NVML_VALUE_TYPE_SIGNED_LONG_LONG: "sllVal",
        }.get(values[0].valueType)
        return None if member is None else float(getattr(values[0].value, member))

    def _ask(self, function: str, *args: object) -> Any:
        ask = getattr(self._library, function, None)
        if ask is None:
            return None
        try:
            return ask(self._handle, *args)
        except self._library.NVMLError:
            return None


def driver(library: ModuleType) -> str | None:
    """The version of the driver, `570.86.15`, of a library that was started."""
    try:
        return _str(library.nvmlSystemGetDriverVersion())
    except library.NVMLError:
        return None


def _driver_cuda(library: ModuleType) -> str | None:
    try:
        version = int(library.nvmlSystemGetCudaDriverVersion_v2())
    except library.NVMLError:
        return None
    return f"{version // 1000}.{version % 1000 // 10}"


def _by_uuid(library: ModuleType, uuid: str) -> object:
    """torch writes a UUID without the prefix that says whether it is a GPU or a part of one."""
    if uuid.startswith(("GPU-", "MIG-")):
        return library.nvmlDeviceGetHandleByUUID(uuid)
    try:
        return library.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
    except library.NVMLError:
        return library.nvmlDeviceGetHandleByUUID(f"MIG-{uuid}")


def _by_index(library: ModuleType, index: int, env: Mapping[str, str]) -> object:
    """CUDA counts only what CUDA_VISIBLE_DEVICES lists, by number or by (the start of) a UUID."""
    visible = [entry.strip() for entry in env.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()]
    entry = visible[index] if index < len(visible) else str(index)
    if entry.isdigit():
        return library.nvmlDeviceGetHandleByIndex(int(entry))
    if entry.startswith("GPU-"):
        for i in range(library.nvmlDeviceGetCount()):
            handle = library.nvmlDeviceGetHandleByIndex(i)
            if (_str(library.nvmlDeviceGetUUID(handle)) or "").startswith(entry):
                return handle
    return library.nvmlDeviceGetHandleByUUID(entry)


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _thousandth(value: float | None) -> float | None:
    return None if value is None else value / 1000


def _million(value: float | None) -> float | None:
    return None if value is None else value * 1e6


def _str(value: str | bytes | None) -> str | None:
    """Older bindings give bytes."""
    return value.decode() if isinstance(value, bytes) else value
