"""Other people's text (titles, genres, addresses, file names) that does nothing where it is shown."""

import re

# C0, DEL and C1, with the escape sequences of terminals; and the characters that turn the direction of text.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|#!~$&])")
_ADDRESS_SCHEME = re.compile(r"\b(https?|ftp|mailto):", re.IGNORECASE)
# What spreadsheets take for the start of a formula (OWASP, "CSV Injection").
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def for_terminal(text: str) -> str:
    """Returns a text for a terminal or a log: control characters except line breaks and tabs become U+FFFD."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def for_csv(value: object) -> object:
    """Returns a value for a CSV: before a text that a spreadsheet would take for a formula comes an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_STARTS) else value


def for_markdown(text: str) -> str:
    """Returns a text for a line or a table's cell of Markdown, without markup, HTML, links, images or line breaks."""
    plain = for_terminal(" ".join(text.split()))
    # A zero-width space: renderers make links of bare addresses, too.
    return _ADDRESS_SCHEME.sub("\\1\u200b:", _MARKDOWN.sub(r"\\\1", plain))
