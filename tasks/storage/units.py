"""A unit of work whose result is kept in a store, so that a second run of it finds the first one's.

The tasks of a worker that was killed run again, also those that it had completed; and the units of a run that was
killed are those of the next one.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.errors import ConflictError, one_line
from tasks.storage.folders import StoredFile
from tasks.storage.objects import ObjectStore
from tasks.storage.pointer import Version

logger = logging.getLogger(__name__)


class UnitResult(BaseModel):
    """What a unit of work gave.

    Attributes:
        files: Files that it sent to the store, by their paths in the folder.
        value: The rest, JSON values.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    files: dict[str, StoredFile]
    value: dict[str, Any]


def run_once(store: ObjectStore, folder: str, job: Mapping[str, Any], work: Callable[[], UnitResult]) -> UnitResult:
    """Returns the result of a unit of work, which is done only if the store has none.

    Two runs at the same moment do no harm: the result that is first in the store is that of both, and what the other
    one sent is garbage.

    Args:
        store: The store.
        folder: Name of the folder that the unit's files belong to; the results lie in its `results`, and are garbage
            once the manifest names their files.
        job: Everything that decides the result, JSON values, the generation of the folder's manifest among them.
        work: Function that does the work.

    Raises:
        StoreError: The store can't be read or written.
    """
    key = hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()
    name = f"{folder}/results/{key[:32]}.json"
    pointer = store.pointer(name)
    version = pointer.read()
    if known := _parse(version, pointer.where):
        return known
    result = work()
    try:
        pointer.write(result.model_dump_json(exclude_none=True).encode(), version)
    except ConflictError:
        return _parse(pointer.read(), pointer.where) or result
    return result


def _parse(version: Version | None, where: str) -> UnitResult | None:
    if version is None:
        return None
    try:
        return UnitResult.model_validate_json(version.content)
    except ValidationError as error:
        logger.warning("%s is damaged (%s): the work is done again", where, one_line(error))
        return None
