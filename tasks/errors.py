"""The errors a user can mend.

Everything this project raises on purpose about its input derives from `PosterGenresError`; the command line shows such
an error as its one line, and anything else as a traceback, because anything else is a bug.
"""


class PosterGenresError(Exception):
    """Something the user gave is not as expected: the message says what, what was expected, and what to do."""

    exit_code = 2  # of the command line: what was given was wrong


class SettingsError(PosterGenresError):
    """A setting is unknown, has a value out of bounds, or names something that does not exist."""


class CatalogError(PosterGenresError):
    """MovieGenre.csv can't be read, or is not the table of films that was expected."""


class DownloadError(PosterGenresError):
    """Too few posters could be downloaded to go on."""

    exit_code = 1


class DatasetError(PosterGenresError):
    """What was downloaded does not make a data set to learn from."""


class BackboneError(PosterGenresError):
    """The backbone's weights can't be had, or are not the weights that were expected."""


class ExportError(PosterGenresError):
    """The exported model does not answer as the pipeline does; it is not published."""

    exit_code = 1


class RegistryError(PosterGenresError):
    """A published model can't be found, or is not what its manifest says."""


class LockedError(PosterGenresError):
    """Another process works in the same folder."""

    exit_code = 1


class StoreError(RegistryError):
    """A store of models can't be reached or does not allow what was asked."""

    exit_code = 1


def one_line(error: BaseException) -> str:
    """Returns an error's message in one line; its class's name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
