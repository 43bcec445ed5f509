"""Names for what a format leaves without one, and names that no file can hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from dekey.errors import DekeyError

UNNAMED_CLASS: Final = "object"
"""The class of files that name none."""


def unnamed_keypoints(count: int) -> tuple[str, ...]:
    """Name keypoints that have no names.

    >>> unnamed_keypoints(2)
    ('point_0', 'point_1')
    """
    return tuple(f"point_{index}" for index in range(count))


def check_names(names: Iterable[str]) -> None:
    """Refuse names that no text file can hold, as JSON can smuggle them in.

    Raises:
        DekeyError: if a name holds half of a surrogate pair.
    """
    for name in names:
        try:
            name.encode("utf-8")
        except UnicodeEncodeError as error:
            raise DekeyError(f"the name {name!r} holds half a character, which no file can hold; rename it") from error


def xml_text(text: str) -> str:
    """Escape a text; XML has no way to write control characters.

    Raises:
        DekeyError: if it holds one.
    """
    if any(ord(letter) < 32 or ord(letter) in (0xFFFE, 0xFFFF) for letter in text):
        raise DekeyError(f"the name {text!r} holds a control character, which XML cannot hold; rename it")
    return escape(text)


def xml_quoted(text: str) -> str:
    """Quote a text for an attribute; raises as `xml_text` does."""
    xml_text(text)
    return quoteattr(text)
