"""The errors that a user can correct.

Every error about the user's input derives from `PosterGenresError`; the command line prints its message, and a
traceback for any other exception, which is a bug.
"""

import errno
import os
from typing import Self


class PosterGenresError(Exception):
    """An input is not as expected: the message names it, the expected values, and the remedy.

    The secrets of addresses are not in it: it is printed, logged, and stored by Prefect's server.
    """

    exit_code = 2  # of the command line: wrong input

    def __init__(self, message: str) -> None:
        from tasks.web.addresses import redact  # here, since few commands end with an error

        super().__init__(redact(message))


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


class ReproductionError(PosterGenresError):
    """A model can't be made again: what it was made from is gone, or is not what it was."""


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


class DamagedObjectError(StoreError):
    """An object of a store is missing, or is not what the manifest of its folder says.

    Args:
        message: Message, with the object's address.
        name: Path of the file in its folder.
        problem: What is wrong, as the predicate of a sentence, such as `is missing`.
    """

    def __init__(self, message: str, name: str, problem: str) -> None:
        super().__init__(message)
        self.name, self.problem = name, problem

    def __reduce__(self) -> tuple[type[Self], tuple[str, str, str]]:
        # It comes from workers, too; an exception is made again of its message alone.
        return type(self), (str(self), self.name, self.problem)


class ConflictError(StoreError):
    """Another process changed a file of a store after it was read here: nothing was written."""


class RefusedError(RegistryError):
    """A model was not judged against the champion that it would replace."""


def one_line(error: BaseException) -> str:
    """Returns an error's message in one line; its class's name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


_ADVICE = {
    errno.ENOSPC: "free some space and run it again, it goes on where it was",
    errno.EDQUOT: "free some space and run it again, it goes on where it was",
    errno.EFBIG: "the limit of a file's size (ulimit -f) is too low for it",
    errno.EROFS: "choose a folder that can be written to",
    errno.EACCES: "choose another folder, or run it as a user who may read and write there",
    errno.EPERM: "choose another folder, or run it as a user who may read and write there",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files of this machine (sysctl fs.file-max)",
    errno.EEXIST: "a file is where a folder was expected: choose another folder",
    errno.ENOTDIR: "a part of the path is a file: choose another folder",
    errno.EISDIR: "there is a folder where a file was expected: choose another path",
    errno.EIO: "check the disk",
}


def describe_os_error(error: OSError) -> str:
    """Returns an error of the disk, the network or permissions in one line: path, cause, and what to do."""
    from tasks.web.addresses import redact

    # Not `strerror`: pyarrow has a text of its own there.
    cause = os.strerror(error.errno) if error.errno else one_line(error)
    paths = [str(path) for path in (error.filename, error.filename2) if path is not None]
    advice = _ADVICE.get(error.errno or 0)
    message = ": ".join(filter(None, (", ".join(paths), cause[0].lower() + cause[1:], advice)))
    return redact(" ".join(message.split()))
