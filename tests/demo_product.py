"""The demo's product, and copies of it with some files replaced."""

import shutil
from pathlib import Path

from firstmile.product import ProductFile, product_file
from firstmile.setting_sections import ROOT
from firstmile.settings import Settings

PRODUCT = ROOT / "examples" / "oulad"
EVENTS, CLEANING, CONTENT, RULES, EXPERIMENTS = (
    PRODUCT / f"{name}.yaml" for name in ("events", "cleaning", "content", "rules", "experiments")
)


def product_with(folder: Path, **texts: str) -> Path:
    """A copy of the demo's product in a new folder, these files replaced."""
    copy = folder / "product"
    shutil.copytree(PRODUCT, copy, dirs_exist_ok=True)
    for name, text in texts.items():
        (copy / f"{name}.yaml").write_text(text)
    return copy


def with_file(settings: Settings, folder: Path, name: ProductFile, text: str) -> Settings:
    """These settings, with one file of their product replaced in a copy."""
    copy = folder / f"product-{name}"
    shutil.copytree(settings.product, copy, dirs_exist_ok=True)
    product_file(copy, name).write_text(text)
    return settings.model_copy(update={"product": copy})
