"""A folder of wheels that pip installs llmbench from, without a network: what it needs leads to what is here."""

import subprocess
import sys
import sysconfig
import zipfile
from importlib.metadata import PathDistribution, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
BACKEND = "hatchling"  # builds the toy packages; pip installs it where it isolates a build


def build_wheel(folder: Path) -> Path:
    """llmbench of this checkout as a wheel in `folder`."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    (wheel,) = folder.glob("llmbench-*.whl")
    return wheel


def wheelhouse(folder: Path) -> Path:
    """`folder`, with the wheel of llmbench and one for each package that `llmbench[run]` requires."""
    wheel = build_wheel(folder)
    info = zipfile.Path(wheel, f"{'-'.join(wheel.name.split('-')[:2])}.dist-info/")
    required = [Requirement(text) for text in PathDistribution(info).requires or []]
    wanted = [r.name for r in required if r.marker is None or any(r.marker.evaluate({"extra": e}) for e in ("", "run"))]
    for name in [*wanted, BACKEND]:
        _lead_to_installed(name, folder)
    return folder


def _lead_to_installed(name: str, folder: Path) -> None:
    """A wheel of that name, in the version that is installed, which adds this environment's packages to the path.

    A path in a .pth file is only added: the .pth files in that folder, such as the editable install's, are not read.
    """
    own, found = canonicalize_name(name).replace("-", "_"), version(name)
    info = f"{own}-{found}.dist-info"
    with zipfile.ZipFile(folder / f"{own}-{found}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{own}_is_elsewhere.pth", sysconfig.get_path("purelib") + "\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {found}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
