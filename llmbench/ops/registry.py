"""Which ops there are: the built-in ones, and those of plugins."""

import importlib
import os
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

from llmbench.errors import UsageError
from llmbench.ops.op import Op
from llmbench.suite.catalog import Catalog, DeviceSpec, ParamSpec

OPS: dict[str, Op[Any]] = {}
ENTRY_POINTS = "llmbench.plugins"


def register(op: Op[Any]) -> Op[Any]:
    """Adds an op and returns it.

    Raises: UsageError when the name is taken, or when a parameter has another type than the same name elsewhere
    (it is one column in storage).
    """
    if op.name in OPS:
        raise UsageError(f"there already is an op {op.name!r}")
    types = param_types()
    for spec in op.spec("cpu").params:
        if types.get(spec.name, spec.type) != spec.type:
            raise UsageError(
                f"op {op.name!r}: parameter {spec.name!r} is {spec.type}, but {types[spec.name]} in another op; "
                "one name has one type"
            )
    OPS[op.name] = op
    return op


def param_types() -> dict[str, str]:
    """Parameter name -> type, over every op."""
    specs: list[ParamSpec] = [s for op in OPS.values() for s in op.spec("cpu").params]
    return {s.name: s.type for s in specs}


def load_plugins(named: Sequence[str] = ()) -> None:
    """Imports the plugins of installed packages (entry points) and of a suite (`module` or `module:function`).

    A `module:function` is called without arguments after its module is imported.
    Raises: UsageError naming the plugin and what went wrong.
    """
    for entry in entry_points(group=ENTRY_POINTS):
        if not os.environ.get("LLMBENCH_NO_PLUGINS"):
            _load(entry.value)
    for plugin in named:
        _load(plugin)


def catalog(device: DeviceSpec, versions: dict[str, str]) -> Catalog:
    """Everything that this interpreter offers on a device."""
    device_type = device.device.split(":")[0]
    return Catalog(device=device, ops=tuple(op.spec(device_type) for op in OPS.values()), versions=versions)


def _load(plugin: str) -> None:
    module, _, function = plugin.partition(":")
    try:
        target: Any = importlib.import_module(module)
        for name in function.split(".") if function else ():
            target = getattr(target, name)
        if function:
            target()
    except UsageError:
        raise
    except Exception as e:
        raise UsageError(f"plugin {plugin!r} cannot be loaded: {type(e).__name__}: {e}") from e
