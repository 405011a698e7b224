"""Selectors: which content a rule means."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from firstmile.ids import Id
from serving.catalogue import Shelf

Mask = NDArray[np.bool_]
WAYS: Final = {"formats": "format", "levels": "level", "steps": "step", "content_ids": "content_id"}
"""What a selector may name, and the field of an item that it is held against."""


class Selector(BaseModel):
    """Which content: of any of these formats (or of these intents' formats), and any of these levels, steps, ids."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    formats: tuple[str, ...] = ()
    intents: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    content_ids: tuple[Id, ...] = ()


class Pin(Selector):
    """Content that stands at this place of the list, 1 = first."""

    position: int = Field(1, ge=1, le=20)


def selection(shelf: Shelf, selector: Selector) -> Mask:
    """Which items of a shelf a selector means, its intents being formats by now, shape (n_items,)."""
    mask = np.ones(len(shelf.items), bool)
    for way, name in WAYS.items():
        if values := getattr(selector, way):
            mask &= np.array([getattr(item, name) in values for item in shelf.items], bool)
    return mask
