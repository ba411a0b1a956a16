"""The errors that a user can correct.

Every error about the user's input derives from `PosterGenresError`; the command line prints its message, and a
traceback for any other exception, which is a bug.
"""


class PosterGenresError(Exception):
    """An input is not as expected: the message names it, the expected values, and the remedy."""

    exit_code = 2  # of the command line: wrong input


class SettingsError(PosterGenresError):
    """A setting is unknown, has a value out of bounds, or names something that does not exist."""


class CatalogError(PosterGenresError):
    """MovieGenre.csv can't be read, or is not the table of films that was expected."""


class DownloadError(PosterGenresError):
    """Too few posters could be downloaded to go on."""

    exit_code = 1


class DatasetError(PosterGenresError):
    """The downloaded posters do not make a data set for training."""


class BackboneError(PosterGenresError):
    """The backbone's weights are unavailable, or are not the expected ones."""


class ExportError(PosterGenresError):
    """The exported model fails or does not predict as the pipeline does; it is not published."""

    exit_code = 1


class RegistryError(PosterGenresError):
    """A published model can't be found, or differs from its manifest."""


class RepairedError(PosterGenresError):
    """A file of an earlier stage was damaged: it was removed, or what can't be used of it marked.

    The flow then runs the stages again, which make only that again. The message names the file.
    """

    exit_code = 1


class LockedError(PosterGenresError):
    """Another process works in the same folder."""

    exit_code = 1


class StoreError(RegistryError):
    """A store of models can't be reached, or refuses a request."""

    exit_code = 1


def one_line(error: BaseException) -> str:
    """Returns an error's message in one line; its class's name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
