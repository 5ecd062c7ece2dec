"""Two NVML libraries that need no GPU: a module with pynvml's names, and C source for a real libnvidia-ml.so.1."""

from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import pynvml

UUID = "11111111-2222-3333-4444-555555555555"
H100: dict[str, object] = {
    "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
    "nvmlDeviceGetUUID": f"GPU-{UUID}",
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=85520809984),
    "nvmlDeviceGetEccMode": [1, 1],
    "nvmlDeviceGetMigMode": [0, 0],
    "nvmlDeviceGetEnforcedPowerLimit": 700000,
    "nvmlDeviceGetPowerManagementDefaultLimit": 700000,
    "nvmlDeviceGetPersistenceMode": 1,
    "nvmlDeviceGetPowerUsage": 300000,
    "nvmlDeviceGetFieldValues": lambda ids: [field_value(512345)],
    "nvmlDeviceGetTotalEnergyConsumption": 1500,
    "nvmlDeviceGetClockInfo": lambda clock: {1: 1755, 2: 2619}[clock],
    "nvmlDeviceGetMaxClockInfo": lambda clock: {1: 1980, 2: 2619}[clock],
    "nvmlDeviceGetApplicationsClock": lambda clock: {1: 1980, 2: 2619}[clock],
    "nvmlDeviceGetDefaultApplicationsClock": lambda clock: {1: 1980, 2: 2619}[clock],
    "nvmlDeviceGetTemperature": lambda sensor: 61,
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=97, memory=41),
    "nvmlDeviceGetCurrentClocksEventReasons": 4,
    "nvmlDeviceGetComputeRunningProcesses": [],
}


def field_value(value: int) -> object:
    """What nvmlDeviceGetFieldValues gives of an unsigned integer."""
    one = pynvml.c_nvmlFieldValue_t()
    one.nvmlReturn, one.valueType = pynvml.NVML_SUCCESS, pynvml.NVML_VALUE_TYPE_UNSIGNED_INT
    one.value.uiVal = value
    return one


def fake_nvml(*gpus: dict[str, object], init_error: int | None = None) -> ModuleType:
    """A library with these GPUs; a question that a GPU has no answer to is 'not supported', as the real one says.

    Constants and errors are pynvml's own, and only names that pynvml has can be asked.
    """
    fake = ModuleType("pynvml")
    fake.users = 0  # type: ignore[attr-defined]

    def init() -> None:
        if init_error is not None:
            raise pynvml.NVMLError(init_error)
        fake.users += 1  # type: ignore[attr-defined]

    def shutdown() -> None:
        assert fake.users > 0, "more shutdowns than inits"  # type: ignore[attr-defined]
        fake.users -= 1  # type: ignore[attr-defined]

    def by_index(index: int) -> dict[str, object]:
        if index >= len(gpus):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return gpus[index]

    def by_uuid(uuid: str) -> dict[str, object]:
        for gpu in gpus:
            if gpu.get("nvmlDeviceGetUUID") == uuid:
                return gpu
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)

    def question(name: str) -> Callable[..., object]:
        def ask(gpu: dict[str, object], *args: object) -> object:
            if name not in gpu:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
            answer = gpu[name]
            return answer(*args) if callable(answer) else answer

        return ask

    for name in dir(pynvml):
        if name.startswith(("NVML_", "NVMLError")):
            setattr(fake, name, getattr(pynvml, name))
        elif name.startswith("nvmlDevice"):
            setattr(fake, name, question(name))
    fake.nvmlInit, fake.nvmlShutdown = init, shutdown  # type: ignore[attr-defined]
    fake.nvmlDeviceGetCount = lambda: len(gpus)  # type: ignore[attr-defined]
    fake.nvmlDeviceGetHandleByIndex, fake.nvmlDeviceGetHandleByUUID = by_index, by_uuid  # type: ignore[attr-defined]
    fake.nvmlSystemGetDriverVersion = lambda: "570.86.15"  # type: ignore[attr-defined]
    fake.nvmlSystemGetCudaDriverVersion_v2 = lambda: 12080  # type: ignore[attr-defined]
    return fake


C_SOURCE = r"""
#include <stdint.h>
#include <string.h>
#include <unistd.h>
enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7 };
typedef struct { unsigned field, scope; int64_t stamp, latency; unsigned type, ret; union { double d; unsigned u; uint64_t q; } v; } Field;
typedef struct { unsigned pid; uint64_t used; unsigned gi, ci; } Process;
static int gpu;
int nvmlInitWithFlags(unsigned f) { return OK; }
int nvmlInit_v2(void) { return OK; }
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int e) { return e == NOT_SUPPORTED ? "Not Supported" : "an error"; }
int nvmlSystemGetDriverVersion(char *s, unsigned n) { strncpy(s, "570.86.15", n); return OK; }
int nvmlSystemGetCudaDriverVersion_v2(int *v) { *v = 12080; return OK; }
int nvmlDeviceGetCount_v2(unsigned *n) { *n = 1; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **d) { *d = &gpu; return i ? INVALID : OK; }
int nvmlDeviceGetHandleByUUID(const char *u, void **d) { *d = &gpu; return strcmp(u, "GPU-11111111-2222-3333-4444-555555555555") ? NOT_FOUND : OK; }
int nvmlDeviceGetName(void *d, char *s, unsigned n) { strncpy(s, "NVIDIA H100 80GB HBM3", n); return OK; }
int nvmlDeviceGetUUID(void *d, char *s, unsigned n) { strncpy(s, "GPU-11111111-2222-3333-4444-555555555555", n); return OK; }
int nvmlDeviceGetPowerUsage(void *d, unsigned *mw) { *mw = 300000; return OK; }
int nvmlDeviceGetTotalEnergyConsumption(void *d, unsigned long long *mj) { static unsigned long long e; *mj = e += 1500; return OK; }
int nvmlDeviceGetClockInfo(void *d, unsigned type, unsigned *mhz) { *mhz = type == 1 ? 1755 : 2619; return OK; }
int nvmlDeviceGetTemperature(void *d, unsigned sensor, unsigned *t) { *t = 61; return OK; }
int nvmlDeviceGetUtilizationRates(void *d, unsigned *rates) { rates[0] = 97; rates[1] = 41; return OK; }
int nvmlDeviceGetCurrentClocksEventReasons(void *d, unsigned long long *r) { *r = 0x44; return OK; }
int nvmlDeviceGetEccMode(void *d, unsigned *now, unsigned *then) { return NOT_SUPPORTED; }
int nvmlDeviceGetFieldValues(void *d, int n, Field *f) {
    for (int i = 0; i < n; i++) { f[i].ret = f[i].field == 186 ? OK : NOT_SUPPORTED; f[i].type = 1; f[i].v.u = 512345; }
    return OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(void *d, unsigned *n, Process *p) {
    if (*n < 2) { *n = 2; return TOO_SMALL; }
    memset(p, 0, 2 * sizeof *p);
    p[0].pid = getpid(); p[1].pid = 1; *n = 2;
    return OK;
}
"""  # noqa: E501
"""An H100 with another process on it; the symbols that it lacks are those of an older driver."""
