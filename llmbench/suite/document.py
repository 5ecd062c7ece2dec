"""A YAML document as plain data that remembers the line and column of every key and value.

YAML 1.2, core schema, read from parser events: nothing in a document can name a type, run code or grow without bound.
"""

import re
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from llmbench.errors import SuiteError

MAX_BYTES = 1 << 20
MAX_LINE = 1 << 16  # characters; ruamel scans some tokens in quadratic time: 11 s for a line of 1 MiB of "!"
MAX_DEPTH = 32  # a suite nests six deep
MAX_NODES = 10_000  # keys and values, aliases counted where they are used

Place = tuple[str | int, ...]  # keys and list indices from the top: ("axes", "seq_len", 2)

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufeff\uff00-\ufffd\U00010000-\U0010ffff]")
_LONG = re.compile(rf"[^\n]{{{MAX_LINE + 1}}}")
_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,60}")
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


class Mark(NamedTuple):
    """Where something stands, both counted from 1."""

    line: int
    column: int


@dataclass(frozen=True)
class Document:
    """A mapping read from YAML: dicts with string keys, lists, str, int, float, bool and None."""

    path: str
    data: dict[str, Any]
    keys: dict[Place, Mark]
    values: dict[Place, Mark]

    def mark(self, place: Place, *, at: Literal["key", "value"] = "value") -> Mark:
        """Where that key or value stands; a place that is not in the text is where the nearest one above it is."""
        while place not in self.values:
            place, at = place[:-1], "key"
        marks = self.keys if at == "key" and place in self.keys else self.values
        return marks[place]

    def error(self, message: str, place: Place, *, at: Literal["key", "value"] = "value") -> SuiteError:
        """The error to raise for that key or value."""
        line, column = self.mark(place, at=at)
        return SuiteError(message, path=self.path, line=line, column=column)


def dotted(place: Place) -> str:
    """A place as people read it: `axes.seq_len[2]`."""
    parts = [f"[{p}]" if isinstance(p, int) else f".{p if _PLAIN.fullmatch(p) else seen(p)}" for p in place]
    return "".join(parts).removeprefix(".")


def seen(value: object) -> str:
    """A value as a message shows it: YAML's words, strings in quotes, nothing longer than a line."""
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return ".nan" if value != value else ".inf" if value > 0 else "-.inf"
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_document(path: str | Path) -> Document:
    """The document in that file. Raises: SuiteError, for a file that cannot be read as for one that is no mapping."""
    name = str(path)
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SuiteError("there is no such file", path=name) from None
    except IsADirectoryError:
        raise SuiteError("is a directory; wanted a YAML file", path=name) from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise SuiteError(f"cannot be read: {why}", path=name) from None
    return parse_document(raw, path=name)


def parse_document(text: str | bytes, *, path: str = "suite") -> Document:
    """The document that the text holds. Raises: SuiteError with the first place that is not right."""
    text = _decoded(text, path)
    root = _Parser(text, path).root()
    if not isinstance(root.value, dict):
        what = seen([] if isinstance(root.value, list) else root.value)
        raise SuiteError(
            f"the document is {what}; wanted a mapping", path=path, line=root.mark.line, column=root.mark.column
        )
    flat = _Flat(path)
    data = flat.add(root, ())
    return Document(path, data, flat.keys, flat.values)


def _decoded(text: str | bytes, path: str) -> str:
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    if len(raw) > MAX_BYTES:
        raise SuiteError("is larger than 1 MiB; wanted a small YAML file", path=path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig")
        mark = _mark_after(before)
        raise SuiteError("is not UTF-8 text", path=path, line=mark.line, column=mark.column) from None
    if long := _LONG.search(text):
        line = _mark_after(text[: long.start()]).line
        raise SuiteError(f"a line is longer than {MAX_LINE:,} characters", path=path, line=line)
    if bad := _UNPRINTABLE.search(text):
        mark = _mark_after(text[: bad.start()])
        message = f"has the control character U+{ord(bad[0]):04X}; wanted text"
        raise SuiteError(message, path=path, line=mark.line, column=mark.column)
    return text


def _mark_after(text: str) -> Mark:
    return Mark(text.count("\n") + 1, len(text) - text.rfind("\n"))


@dataclass
class _Node:
    value: Any  # a scalar, list[_Node], or dict[str, tuple[Mark, _Node]]
    mark: Mark


class _Parser:
    """Events to nodes; an alias stands where it is used, what is in it where it was written."""

    def __init__(self, text: str, path: str) -> None:
        self.text, self.path = text, path
        self.at = Mark(1, 1)
        self.anchors: dict[str, _Node] = {}
        self.count = 0

    def root(self) -> _Node:
        with closing(self._events()) as self.events:
            first = self._next("DocumentStart", "StreamEnd")
            if type(first).__name__ == "StreamEndEvent":
                raise self._error("the document is empty; wanted a mapping", Mark(1, 1))
            if first.tags or first.version not in (None, (1, 2)):
                raise self._error("directives are refused, other than %YAML 1.2", Mark(1, 1))
            node = self._node(next(self.events), 0)
            if node.value is None:
                raise self._error("the document is empty; wanted a mapping", Mark(1, 1))
            extra = self._next("DocumentStart", "StreamEnd")
            if type(extra).__name__ == "DocumentStartEvent":
                raise self._error("a second document starts here; wanted one", _mark(extra))
            return node

    def _events(self) -> Generator[Any, None, None]:
        try:
            for event in YAML(typ="safe", pure=True).parse(self.text):
                self.at = _mark(event)
                yield event
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            why = " ".join(str(error.problem or error.context).split()).replace(r"'\x00'", "the end of the text")
            raise self._error(
                f"is not YAML: {why}", Mark(mark.line + 1, mark.column + 1) if mark else self.at
            ) from None
        except (YAMLError, ValueError, OverflowError, LookupError, AttributeError, TypeError, AssertionError) as error:
            # ruamel's scanner has failures of its own, such as chr() of an escape beyond Unicode
            raise self._error(f"is not YAML: {' '.join(str(error).split())}", self.at) from None

    def _next(self, *kinds: str) -> Any:
        return next(e for e in self.events if type(e).__name__.removesuffix("Event") in kinds)

    def _node(self, event: Any, depth: int) -> _Node:
        kind, mark = type(event).__name__.removesuffix("Event"), _mark(event)
        self.count += 1
        if self.count > MAX_NODES:
            raise self._error(_TOO_MANY, mark)
        if depth > MAX_DEPTH:
            raise self._error(_TOO_DEEP, mark)
        if kind == "Alias":
            if event.anchor not in self.anchors:
                raise self._error(f"the alias {seen(event.anchor)} has no anchor that is complete before it", mark)
            return _Node(self.anchors[event.anchor].value, mark)
        if event.tag is not None:
            raise self._error(f"the tag {seen(str(event.tag))} is refused; types are read from the values", mark)
        if kind == "Scalar":
            node = _Node(self._scalar(event, mark), mark)
        elif kind == "SequenceStart":
            node = _Node([self._node(e, depth + 1) for e in self._until("SequenceEnd")], mark)
        else:
            node = _Node(self._mapping(depth), mark)
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def _until(self, end: str) -> Iterator[Any]:
        for event in self.events:
            if type(event).__name__ == f"{end}Event":
                return
            yield event

    def _mapping(self, depth: int) -> dict[str, tuple[Mark, _Node]]:
        items: dict[str, tuple[Mark, _Node]] = {}
        for event in self._until("MappingEnd"):
            mark = _mark(event)
            if type(event).__name__ != "ScalarEvent":
                raise self._error("a key that is a list, a mapping or an alias is refused; wanted a name", mark)
            if event.value == "<<":
                raise self._error("the merge key << is refused; write the keys out", mark)
            self._node(event, depth + 1)
            key = str(event.value)
            if key in items:
                raise self._error(
                    f"the key {seen(key)} is given twice; the first is in line {items[key][0].line}", mark
                )
            node = self._node(next(self.events), depth + 1)
            if (
                node.value is None and node.mark.line > mark.line
            ):  # nothing after the colon: YAML ends it at the next key
                node.mark = mark
            items[key] = mark, node
        return items

    def _scalar(self, event: Any, mark: Mark) -> str | int | float | bool | None:
        text = str(event.value)
        if event.style in ("'", '"', "|", ">"):
            if bad := _UNPRINTABLE.search(text):
                raise self._error(f"a string has the control character U+{ord(bad[0]):04X}; wanted text", mark)
            return text
        if _NULL.fullmatch(text):
            return None
        if _BOOL.fullmatch(text):
            return text.lower() == "true"
        if _INT.fullmatch(text):
            base = {"0o": 8, "0x": 16}.get(text[:2], 10)
            number = int(text, base) if len(text) <= 30 else 1 << 64
            if not -(1 << 63) <= number < 1 << 63:
                raise self._error(f"the integer {seen(text)} does not fit into 64 bits", mark)
            return number
        if special := _SPECIAL.fullmatch(text):
            return float("nan") if special[3] else float(f"{special[1]}inf")
        return float(text) if _FLOAT.fullmatch(text) else text

    def _error(self, message: str, mark: Mark) -> SuiteError:
        return SuiteError(message, path=self.path, line=mark.line, column=mark.column)


_TOO_MANY = f"more than {MAX_NODES:,} keys and values, aliases counted where they are used"
_TOO_DEEP = f"nests deeper than {MAX_DEPTH} levels"


class _Flat:
    """Nodes to plain data and marks, aliases written out."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.keys: dict[Place, Mark] = {}
        self.values: dict[Place, Mark] = {}

    def add(self, node: _Node, place: Place) -> Any:
        self.values[place] = node.mark
        if len(self.values) + len(self.keys) > MAX_NODES:
            raise SuiteError(_TOO_MANY, path=self.path, line=node.mark.line, column=node.mark.column)
        if len(place) > MAX_DEPTH:
            raise SuiteError(_TOO_DEEP, path=self.path, line=node.mark.line, column=node.mark.column)
        if isinstance(node.value, list):
            return [self.add(n, (*place, i)) for i, n in enumerate(node.value)]
        if isinstance(node.value, dict):
            for key, (mark, _) in node.value.items():
                self.keys[*place, key] = mark
            return {key: self.add(n, (*place, key)) for key, (_, n) in node.value.items()}
        return node.value


def _mark(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)
