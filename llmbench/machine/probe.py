"""The device that this worker holds, asked of torch. Imported by the worker alone: it imports torch."""

import importlib.metadata
import platform
from importlib.metadata import PackageNotFoundError

import torch

import llmbench
from llmbench.errors import MachineError
from llmbench.machine import nvml, simulated
from llmbench.machine.fingerprint import Gpu, Machine, cpu_machine, gpu_machine
from llmbench.machine.host import read_host
from llmbench.machine.naming import gpu_index
from llmbench.suite.catalog import DeviceSpec


def describe_device(device: str | None = None) -> DeviceSpec:
    """The device of that name; without a name the first GPU, or else the CPU.

    Raises: UsageError for a name that is none; MachineError for a device that is not there.
    """
    if device is None:
        device = "cuda:0" if torch.cuda.is_available() else "cpu"
    index = gpu_index(device)
    if device == simulated.NAME:
        return DeviceSpec(device, device, simulated.simulated_machine().device_name)
    if index is None:
        return DeviceSpec("cpu", "cpu", read_host().name)
    names = _cuda_names()
    if index >= len(names):
        raise MachineError(f"device {device!r} is not on this machine; there is: {_there_is(names)}")
    major, minor = torch.cuda.get_device_capability(index)
    return DeviceSpec(f"cuda:{index}", f"sm{major}{minor}", names[index], _gpu(index).uuid or "")


def probe(device: str | None = None) -> Machine:
    """The device and its host. Raises what `describe_device` raises."""
    found = describe_device(device)
    if found.device == "cpu":
        machine = cpu_machine(read_host(), threads=torch.get_num_threads())
        machine.facts["cpu_capability"] = torch.backends.cpu.get_cpu_capability()
        machine.facts["interop_threads"] = torch.get_num_interop_threads()
        return machine
    if found.device == simulated.NAME:
        return simulated.simulated_machine()
    gpu = _gpu(int(found.device.removeprefix("cuda:")))
    opened = nvml.open_nvml(gpu.uuid or int(found.device.removeprefix("cuda:")))
    if isinstance(opened, str):
        return gpu_machine(found.device, gpu, opened, read_host())
    settings = opened.settings()
    opened.close()
    return gpu_machine(found.device, gpu, settings, read_host())


def versions() -> dict[str, str]:
    """The software that a measurement depends on; what is not there is left out."""
    found: dict[str, str | None] = {
        "python": platform.python_version(),
        "llmbench": llmbench.__version__,
        "torch": str(torch.__version__),
        "triton": _installed("triton") or _installed("pytorch-triton"),
        "numpy": _installed("numpy"),
        "cuda": torch.version.cuda,
        "cudnn": _dotted(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
        "driver": _driver(),
    }
    return {name: version for name, version in found.items() if version}


def _gpu(index: int) -> Gpu:
    properties = torch.cuda.get_device_properties(index)
    uuid = getattr(properties, "uuid", None)  # from torch 2.5 on
    return Gpu(
        name=properties.name,
        capability=(properties.major, properties.minor),
        sm_count=properties.multi_processor_count,
        memory_bytes=properties.total_memory,
        l2_bytes=int(getattr(properties, "L2_cache_size", 0)),
        cuda=torch.version.cuda,
        uuid=None if uuid is None else str(uuid),
    )


def _cuda_names() -> list[str]:
    if not torch.cuda.is_available():
        return []
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]


def _there_is(names: list[str]) -> str:
    if names:
        return ", ".join(["cpu", *(f"cuda:{i} ({name})" for i, name in enumerate(names))])
    if torch.version.cuda is None:
        return f"cpu (torch {torch.__version__} is built without CUDA)"
    return "cpu (torch sees no CUDA device; `nvidia-smi` and CUDA_VISIBLE_DEVICES say why)"


def _driver() -> str | None:
    library = nvml.start()
    if isinstance(library, str):
        return None
    version = nvml.driver(library)
    library.nvmlShutdown()
    return version


def _installed(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except PackageNotFoundError:
        return None


def _dotted(cudnn: int | None) -> str | None:
    """cuDNN 9 and later number 9.10.2 as 91002; 8.9.7 is 8907."""
    if cudnn is None:
        return None
    major, rest = divmod(cudnn, 10000 if cudnn >= 90000 else 1000)
    return f"{major}.{rest // 100}.{rest % 100}"
