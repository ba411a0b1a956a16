"""Ids of models: the name of a model's folder, here and in a store."""

import re

from tasks.errors import RegistryError

# One part of a path on every system, and no hidden one: ids come from command lines and from the files of stores.
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def is_model_id(name: str) -> bool:
    """Returns whether a name can be the id of a model: letters, digits, dots, dashes and underscores, up to 100."""
    return _ID.fullmatch(name) is not None


def check_model_id(name: str) -> str:
    """Returns the name.

    Raises:
        RegistryError: if it can't be an id.
    """
    if not is_model_id(name):
        raise RegistryError(
            f"{name!r} is not the id of a model: expected the name of a folder of models/, such as "
            "20260105-060000-1a2b3c (poster-genres models lists them)"
        )
    return name
