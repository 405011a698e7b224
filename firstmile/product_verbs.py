"""`firstmile product init|check`: make a product's folder, and hold its files against each other.

Every stage checks what it reads, in the order data passes; what one found is known to the next.
"""

import os
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from firstmile.cli import console, emit
from firstmile.errors import UsageError
from firstmile.product import OPTIONAL, REQUIRED, VARIABLE, product_file, require_product
from firstmile.settings import Settings, load_settings

SKELETON: Final = Path(__file__).with_name("skeleton")
CHECKS: Final = ("firstmile.vocabulary", "pipelines.product_check", "training.product_check", "serving.product_check")
"""Modules with a function `check(settings, found)`: it returns what a product is there, by name, and raises FileError
for the first mistake."""

Found = dict[str, Any]
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def _product() -> None:
    """The folder of files that say what your product is."""


@app.command("init")
def init(folder: Annotated[Path, typer.Argument(help="a new folder, or an empty one")]) -> None:
    """Write a product to begin with: a small SaaS onboarding, every line explained."""
    emit({"product": str(make_product(folder)), "files": [f"{name}.yaml" for name in (*REQUIRED, *OPTIONAL)]})
    console.print(f"next: export FIRSTMILE_PRODUCT={folder}; firstmile product check", highlight=False)


@app.command("check")
def check(
    folder: Annotated[Path | None, typer.Argument(help="the product; default: FIRSTMILE_PRODUCT")] = None,
) -> None:
    """Hold all files against each other; print what the product would learn and show. Exit code 2 for a mistake."""
    if folder is not None:
        os.environ[VARIABLE] = str(folder)  # before anything reads the product's words: vocabulary.py
    emit(check_product(load_settings()))


def make_product(folder: Path) -> Path:
    """Write the skeleton's files. Raises UsageError when the folder holds some already."""
    there = [name for name in (*REQUIRED, *OPTIONAL) if product_file(folder, name).exists()]
    if there:
        raise UsageError(f"{folder} has {', '.join(f'{n}.yaml' for n in there)} already; name a new folder")
    shutil.copytree(SKELETON, folder, dirs_exist_ok=True)
    return folder.absolute()


def check_product(settings: Settings) -> Found:
    """What every stage finds in the product's files. Raises FileError for the first mistake."""
    require_product(settings.product)
    found: Found = {"product": str(settings.product)}
    for name in CHECKS:
        stage: Callable[[Settings, Found], Found] = import_module(name).check
        found |= stage(settings, found)
    return found
