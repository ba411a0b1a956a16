"""Cells of the tables that commands print."""

from rich.text import Text

from tasks.inert import for_terminal


def make_cell(text: str, style: str = "") -> Text:
    """Returns a text as it is, without Rich's markup and without control characters: titles and names are in it."""
    return Text(for_terminal(text), style)
