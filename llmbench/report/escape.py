"""Text from records made harmless: names and reasons come from other people's code and may hold anything."""

import re
from html import escape

_MARKDOWN = re.compile(r"([\\`*\[\]#|~>]|(?<![^\W_])_|_(?![^\W_]))")  # an underscore within a word is harmless


def visible(text: str) -> str:
    """`text` with control characters and the like spelled out (`\\x1b`), line breaks kept."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else _spelled(c) for c in text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """`visible` text on one line, runs of blanks as one."""
    return visible(" ".join(text.split()))


def markdown(text: str) -> str:
    """`text` as one line of markdown that shows exactly it, in a table cell too."""
    safe = one_line(text).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKDOWN.sub(r"\\\1", safe)


def html_text(text: str) -> str:
    """`visible` text that HTML shows as it is."""
    return escape(visible(text))


def _spelled(char: str) -> str:
    return " " if char == "\t" else char.encode("unicode_escape").decode()
