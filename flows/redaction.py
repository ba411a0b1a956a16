"""Log lines without the secrets of addresses: in the terminal, in a run's log, and on Prefect's server."""

import logging
from typing import Any

from tasks.errors import PosterGenresError
from tasks.inert import for_terminal

_FORMATTER = logging.Formatter()
_make_record = logging.getLogRecordFactory()


def make_redacted_record(*arguments: Any, **options: Any) -> logging.LogRecord:
    """Returns a log record whose message and traceback show addresses as `tasks.web.addresses.redact` does.

    Control characters, such as those of a title, are replaced.

    An error that is one line for the user has no traceback: its causes, such as the error of an HTTP library, have
    texts of their own. A factory for all loggers, since other libraries log addresses, too.
    """
    from tasks.web.addresses import redact

    record = _make_record(*arguments, **options)
    try:
        message = record.getMessage()
    except (TypeError, ValueError):
        return record  # a message that does not fit its arguments: the handler reports it
    if (inert := for_terminal(redact(message))) != message:
        record.msg, record.args = inert, ()
    if record.exc_info and record.exc_info[1] is not None:
        if isinstance(record.exc_info[1], PosterGenresError):
            record.exc_info = None
        else:
            # Formatters use this text if it is there.
            record.exc_text = redact(_FORMATTER.formatException(record.exc_info))
    return record


def redact_logs() -> None:
    """Makes all log records of this process redacted ones."""
    logging.setLogRecordFactory(make_redacted_record)
