"""The YAML parser: YAML 1.2 scalars, the place of everything, and refusals."""

from pathlib import Path

import pytest

from llmbench.errors import SuiteError
from llmbench.suite.document import MAX_BYTES, Mark, dotted, parse_document, read_document, seen

BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 3000))
EMPTY = "the document is empty; wanted a mapping"
TOO_MANY = "more than 10,000 keys and values, aliases counted where they are used"
TOO_DEEP = "nests deeper than 32 levels"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("true", True), ("False", False), ("~", None), ("", None),
        ("null", None), ("1", 1), ("-3", -3), ("012", 12), ("0x1F", 31), ("0o17", 15), ("1_000", "1_000"),
        ("1e-6", 1e-6), ("1.", 1.0), (".5", 0.5), ("1.5e3", 1500.0), (".inf", float("inf")), ("-.inf", -float("inf")),
        ("2020-01-01", "2020-01-01"), ("1:30", "1:30"), ("'1'", "1"), ('"true"', "true"), ("= ", "="),
    ],
)  # fmt: skip
def test_plain_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    read = parse_document(f"a: {text}\n").data["a"]
    assert (type(read), read) == (type(value), value)


def test_not_a_number_is_a_number() -> None:
    assert str(parse_document("a: .NaN").data["a"]) == "nan"


def test_every_key_and_value_has_its_place() -> None:
    document = parse_document("op: x\naxes:\n  seq_len: [64,\n    128]\n")
    assert document.data == {"op": "x", "axes": {"seq_len": [64, 128]}}
    assert document.keys == {("op",): (1, 1), ("axes",): (2, 1), ("axes", "seq_len"): (3, 3)}
    assert document.mark(("axes", "seq_len", 1)) == Mark(4, 5)
    assert document.mark(("axes", "seq_len"), at="key") == Mark(3, 3)
    assert document.mark(("axes", "nothing", 7)) == Mark(2, 1)
    assert str(document.error("no", ("axes", "seq_len", 0))) == "suite:3:13: no"


def test_aliases_are_written_out_and_stand_where_they_are_used() -> None:
    document = parse_document("a: &x [1, 2]\nb: *x\n")
    assert document.data == {"a": [1, 2], "b": [1, 2]}
    assert document.mark(("b",)) == Mark(2, 4)
    assert document.mark(("b", 1)) == Mark(1, 11)


def test_keys_are_their_text() -> None:
    assert parse_document("{1: a, true: b, no: c}").data == {"1": "a", "true": "b", "no": "c"}


def test_byte_order_mark_comments_and_a_version_are_taken() -> None:
    assert parse_document(b"\xef\xbb\xbf%YAML 1.2\n---\n# c\na: 1 # d\n...\n").data == {"a": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"1:1: {EMPTY}"),
        ("# only a comment\n", f"1:1: {EMPTY}"),
        ("---\n", f"1:1: {EMPTY}"),
        ("[1]", "1:1: the document is a list; wanted a mapping"),
        ("hello", "1:1: the document is 'hello'; wanted a mapping"),
        ("a: 1\nb: 2\na: 3", "3:1: the key 'a' is given twice; the first is in line 1"),
        ("a: {b: 1, 'b': 2}", "1:11: the key 'b' is given twice; the first is in line 1"),
        ("a: !!str b", "1:4: the tag 'tag:yaml.org,2002:str' is refused; types are read from the values"),
        ("a: !foo b", "1:4: the tag '!foo' is refused; types are read from the values"),
        ("a: ! b", "1:4: the tag '!' is refused; types are read from the values"),
        ("!<x> {a: 1}", "1:1: the tag 'x' is refused; types are read from the values"),
        ("!!str a: 1", "1:1: the tag 'tag:yaml.org,2002:str' is refused; types are read from the values"),
        ("a: &x [*x]", "1:8: the alias 'x' has no anchor that is complete before it"),
        ("a: *y", "1:4: the alias 'y' has no anchor that is complete before it"),
        ("b: &b {a: 1}\nc: {<<: *b}", "2:5: the merge key << is refused; write the keys out"),
        ("? [1]\n: 2", "1:3: a key that is a list, a mapping or an alias is refused; wanted a name"),
        ("a: 1\n---\nb: 2", "2:1: a second document starts here; wanted one"),
        ("%YAML 1.1\n---\na: 1", "1:1: directives are refused, other than %YAML 1.2"),
        ("%TAG ! tag:x\n---\na: 1", "1:1: directives are refused, other than %YAML 1.2"),
        ("b: 1\na: \x00", "2:4: has the control character U+0000; wanted text"),
        ('a: "\\0"', "1:4: a string has the control character U+0000; wanted text"),
        ('a: "\\ud800"', "1:4: a string has the control character U+D800; wanted text"),
        (b"a: b\nb: \xff", "2:4: is not UTF-8 text"),
        ("a: 9223372036854775808", "1:4: the integer '9223372036854775808' does not fit into 64 bits"),
        ("[" * 500_000, "1:1: a line is longer than 65,536 characters"),
        ("a: " + "[" * 5000, f"1:36: {TOO_DEEP}"),
        ("- " * 30_000, f"1:67: {TOO_DEEP}"),
        ("- a\n" * 11_000, f"10000:3: {TOO_MANY}"),
        (BOMB, f"1:10: {TOO_MANY}"),
        (CHAIN, f"1:10: {TOO_DEEP}"),
        (" " * (MAX_BYTES + 1), "1:1: is larger than 1 MiB; wanted a small YAML file"),
        ("a: [1", "1:6: is not YAML: expected ',' or ']', but got '<stream end>'"),
        ("a:\n\t- b", "2:1: is not YAML: found character '\\t' that cannot start any token"),
        ("a: b: c", "1:5: is not YAML: mapping values are not allowed here"),
    ],
    ids=lambda value: repr(value[:30]),
)  # fmt: skip
def test_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(SuiteError) as caught:
        parse_document(text)
    assert str(caught.value) == f"suite:{message}"


@pytest.mark.parametrize(
    "text", ['"\\UFFFFFFFF"', "%FOO", '"\\xZZ"', "&", "*", "!<", "a: >99999999999999\n x", "{,}", "? "]
)
def test_scanner_failures_are_suite_errors(text: str) -> None:
    with pytest.raises(SuiteError):
        parse_document(f"{text}\n- x: [")


def test_missing_file_and_directory_name_the_path_as_given(tmp_path: Path) -> None:
    for path, why in (
        (tmp_path / "no.yaml", "there is no such file"),
        (tmp_path, "is a directory; wanted a YAML file"),
    ):
        with pytest.raises(SuiteError) as caught:
            read_document(path)
        assert str(caught.value) == f"{path}:1:1: {why}"


def test_path_that_the_system_refuses_is_a_suite_error() -> None:
    with pytest.raises(SuiteError, match="cannot be read: embedded null byte"):
        read_document("a\0b")
    with pytest.raises(SuiteError, match="cannot be read: File name too long"):
        read_document("a" * 5000)


def test_endless_file_is_too_large() -> None:
    with pytest.raises(SuiteError, match="larger than 1 MiB"):
        read_document("/dev/zero")


def test_values_and_places_are_shown_short() -> None:
    assert [seen(v) for v in (None, True, 1, -float("inf"), [], {}, "é\n")] == [
        "nothing", "true", "1", "-.inf", "a list", "a mapping", "'\\xe9\\n'",
    ]  # fmt: skip
    assert len(seen("x" * 1000)) == 60
    assert dotted(("axes", "seq_len", 2)) == "axes.seq_len[2]"
    assert dotted(("a b", 0)) == "'a b'[0]"
