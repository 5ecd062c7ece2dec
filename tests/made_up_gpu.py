"""A GPU that is not there: as much of Triton's driver as compiling asks for."""

from typing import Any

import torch
from triton.backends.compiler import GPUTarget


class MadeUpGpu:
    """Kernels are compiled for its architecture; whoever launches them says how."""

    def __init__(self, arch: int) -> None:
        self.target = GPUTarget("cuda", arch, 32)

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("cpu")

    def get_device_interface(self) -> Any:
        return torch.cpu
