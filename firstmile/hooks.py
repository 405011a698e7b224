"""Calls Python that a product's file names where its own words are too few: `hook: package.module:name`."""

from importlib import import_module
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from firstmile.documents import Document, Place
from firstmile.errors import DataError


class Hook(BaseModel):
    """A callable by `package.module:name`, as entry points are named; the other keys are its keyword arguments."""

    model_config = ConfigDict(frozen=True, extra="allow")

    hook: str = Field(pattern=r"^\w+(\.\w+)*:\w+$")


def call_hook(document: Document, place: Place, hook: Hook) -> Any:
    """What the callable returns, given the file's folder as `folder` and its keys.

    Raises FileError naming the line when it cannot be imported, does not take the keys or raises DataError.
    """
    module, _, name = hook.hook.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        document.refuse((*place, "hook"), f"{hook.hook} cannot be imported: {error}")
    try:
        return found(folder=document.path.parent, **(hook.model_extra or {}))
    except TypeError as error:
        document.refuse(place, f"{hook.hook} does not take these keys: {error}")
    except DataError as error:
        document.refuse(place, str(error))
