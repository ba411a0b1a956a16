"""The command line, called in this process."""

import pytest

from flows.cli import main


def call_main(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[object, str, str]:
    """Runs a command; returns its exit code, and what it printed on standard output and standard error."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return ended.value.code or 0, printed.out, printed.err
