import subprocess
import sys
from dataclasses import replace

from llmbench.codec import from_plain, to_plain
from llmbench.machine.fingerprint import Gpu, Machine, cpu_machine, gpu_machine
from llmbench.machine.host import Host
from llmbench.machine.nvml import Settings

HOST = Host("AMD EPYC 7763 64-Core Processor", "x86_64", 8, 32 * 1024**3, 32 * 1024**2, {"host": "box", "turbo": True})
GPU = Gpu("NVIDIA H100 80GB HBM3", (9, 0), 132, 84_000_000_000, 52428800, "12.8", "1-2-3")
SETTINGS = Settings(
    ecc=True, mig=False, power_limit_w=700.0, clock_policy="default", driver="570.86.15", max_sm_clock_hz=1980e6
)


def test_a_cpu_is_known_by_model_cores_threads_and_architecture() -> None:
    machine = cpu_machine(HOST, threads=4)
    assert machine.key == {"model": HOST.model, "cores": 8, "threads": 4, "arch": "x86_64"}
    assert (machine.device, machine.arch, machine.device_name) == ("cpu", "cpu", "AMD EPYC 7763, 8 cores")
    assert machine.slug == "cpu-amd-epyc-7763-8-cores"
    assert machine.device_key == "70effa180dd1"  # sha256sum of the key as sorted JSON


def test_another_number_of_threads_is_another_device_and_another_host_is_not() -> None:
    machine = cpu_machine(HOST, threads=4)
    assert cpu_machine(HOST, threads=8).device_key != machine.device_key
    assert cpu_machine(replace(HOST, facts={"host": "other"}), threads=4).device_key == machine.device_key


def test_a_gpu_is_known_by_what_changes_its_speed() -> None:
    machine = gpu_machine("cuda:0", GPU, SETTINGS, HOST)
    assert machine.key == {
        "name": "NVIDIA H100 80GB HBM3",
        "capability": "9.0",
        "sm_count": 132,
        "memory_bytes": 84_000_000_000,
        "ecc": True,
        "mig": False,
        "power_limit_w": 700.0,
        "clock_policy": "default",
        "driver": "570.86.15",
        "cuda": "12.8",
    }
    assert (machine.arch, machine.slug) == ("sm90", "nvidia-h100-80gb-hbm3")
    assert (machine.llc_bytes, machine.memory_bytes) == (52428800, 84_000_000_000)
    assert machine.facts["uuid"] == "1-2-3"
    assert machine.facts["max_sm_clock_hz"] == 1980e6
    assert machine.facts["cpu"] == "AMD EPYC 7763, 8 cores"


def test_two_gpus_of_a_kind_may_be_compared_and_two_power_limits_may_not() -> None:
    machine = gpu_machine("cuda:0", GPU, SETTINGS, HOST)
    assert gpu_machine("cuda:1", replace(GPU, uuid="4-5-6"), SETTINGS, HOST).device_key == machine.device_key
    capped = replace(SETTINGS, power_limit_w=500.0)
    assert gpu_machine("cuda:0", GPU, capped, HOST).device_key != machine.device_key


def test_without_nvml_the_settings_are_unknown_and_unknown_is_not_equal_to_known() -> None:
    silent = gpu_machine("cuda:0", GPU, "NVML is not available: no library", HOST)
    assert silent.key["ecc"] is None
    assert silent.facts["nvml"] == "NVML is not available: no library"
    assert silent.device_key != gpu_machine("cuda:0", GPU, SETTINGS, HOST).device_key


def test_a_machine_travels() -> None:
    machine = gpu_machine("cuda:0", GPU, SETTINGS, HOST)
    assert from_plain(Machine, to_plain(machine)) == machine


def test_a_name_without_letters_still_gives_a_folder() -> None:
    assert Machine("cuda:0", "???", "sm90", 0, 0).slug == "cuda-0"


def test_the_parents_side_imports_no_torch_and_no_pynvml() -> None:
    code = """
import sys
import llmbench.machine.fingerprint, llmbench.machine.peaks, llmbench.machine.doctor, llmbench.measure.power
sys.exit(f"imported: {found}" if (found := {"torch", "pynvml"} & set(sys.modules)) else 0)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
