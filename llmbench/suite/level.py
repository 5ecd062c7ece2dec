"""Levels of a suite: the text as one kind of device sees it, overlays in place."""

from dataclasses import dataclass

from llmbench.suite.catalog import DeviceSpec
from llmbench.suite.document import Place
from llmbench.suite.spec import PartSpec, SuiteSpec


@dataclass(frozen=True)
class Level:
    """The base, then the overlays that apply, each replacing whole keys."""

    spec: SuiteSpec
    overlays: tuple[str, ...] = ()

    def owner(self, key: str) -> tuple[PartSpec, Place]:
        """The part of the text that sets the key, and the key's place."""
        for name in reversed(self.overlays):
            if key in self.spec.on[name].model_fields_set:
                return self.spec.on[name], ("on", name, key)
        return self.spec, (key,)

    def is_own(self, place: Place) -> bool:
        """Whether this level's last layer holds the place, rather than a layer that is a level itself."""
        return place[:2] == ("on", self.overlays[-1]) if self.overlays else place[:1] != ("on",)

    @property
    def context(self) -> str:
        """How messages name the level where the fault is not in its own text: `with on.cuda and on.sm90, `."""
        return f"with on.{' and on.'.join(self.overlays)}, "


def overlays_of(device: DeviceSpec, spec: SuiteSpec) -> tuple[str, ...]:
    """The overlays that apply to a device: its kind, then its architecture."""
    return tuple(n for n in dict.fromkeys((device.device.split(":")[0], device.arch)) if n in spec.on)


def levels(spec: SuiteSpec, device: DeviceSpec) -> list[Level]:
    """The base, every kind of device that the suite speaks of, and this device, last."""
    cuda = tuple(n for n in ("cuda",) if n in spec.on)
    others = [(n,) if n in ("cpu", "cuda") else (*cuda, n) for n in sorted(spec.on)]
    mine = overlays_of(device, spec)
    return [Level(spec, names) for names in [*(n for n in dict.fromkeys([(), *others]) if n != mine), mine]]
