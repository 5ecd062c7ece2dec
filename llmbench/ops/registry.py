"""Which ops there are: the built-in ones, and those of plugins."""

import importlib
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

from llmbench.errors import UsageError
from llmbench.ops.op import Op
from llmbench.suite.case import Case
from llmbench.suite.catalog import Catalog, DeviceSpec, ParamSpec

OPS: dict[str, Op[Any]] = {}
ENTRY_POINTS = "llmbench.plugins"
_loaded: set[str] = set()


def register(op: Op[Any]) -> Op[Any]:
    """Adds an op and returns it.

    Raises: UsageError when the name is taken, or when a parameter has another type than the same name elsewhere
    (it is one column in storage).
    """
    if op.name in OPS:
        raise UsageError(f"there already is an op {op.name!r}")
    if op.reference is None and {"bwd", "fwd_bwd"} & set(op.phases):
        raise UsageError(f"op {op.name!r}: phases bwd and fwd_bwd need a reference, for the shapes of outputs")
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


def load_plugins(named: Sequence[str] = ()) -> list[str]:
    """Imports the plugins of installed packages (entry points) and of a suite (`module` or `module:function`).

    A `module:function` is called without arguments after its module is imported. Each is loaded once. An installed
    plugin that is broken is a note and stops nobody; one that the suite names must load.
    Raises: UsageError naming the plugin and what went wrong.
    """
    notes = []
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            _load(entry.value)
        except UsageError as e:
            notes.append(str(e))
    for plugin in named:
        _load(plugin)
    return notes


def why_unknown(case: Case) -> str | None:
    """Why there is no such case here: another suite's op, version, implementation or parameter; None if there is."""
    op = OPS.get(case.op)
    if op is None:
        return f"no op {case.op!r} here"
    if op.version != case.op_version:
        return f"op {case.op!r} is of version {op.version} here, not {case.op_version}"
    if case.impl not in op.impls:
        return f"op {case.op!r} has no implementation {case.impl!r} here"
    known = {spec.name for spec in op.spec("cpu").params}
    strange = [name for name in case.params if name not in known]
    return f"op {case.op!r} has no parameter {strange[0]!r} here" if strange else None


def catalog(device: DeviceSpec, versions: dict[str, str], notes: Sequence[str] = ()) -> Catalog:
    """Everything that this interpreter offers on a device."""
    device_type = device.device.split(":")[0]
    return Catalog(
        device=device, ops=tuple(op.spec(device_type) for op in OPS.values()), versions=versions, notes=tuple(notes)
    )


def _load(plugin: str) -> None:
    if plugin in _loaded:
        return
    module, _, function = plugin.partition(":")
    try:
        target: Any = importlib.import_module(module)
        for name in function.split(".") if function else ():
            target = getattr(target, name)
        if function:
            target()
    except Exception as e:
        is_absent = isinstance(e, ModuleNotFoundError) and e.name == module.partition(".")[0]
        helps = "; it is neither beside the suite nor installed: pip install -e ., or PYTHONPATH" if is_absent else ""
        raise UsageError(f"plugin {plugin!r} cannot be loaded: {type(e).__name__}: {e}{helps}") from e
    _loaded.add(plugin)
