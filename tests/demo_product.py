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
    copy = _copy(PRODUCT, folder / "product")
    for name, text in texts.items():
        (copy / f"{name}.yaml").write_text(with_data(text))
    return copy


def with_file(settings: Settings, folder: Path, name: ProductFile, text: str) -> Settings:
    """These settings, with one file of their product replaced in a copy."""
    copy = _copy(settings.product, folder / f"product-{name}")
    product_file(copy, name).write_text(with_data(text))
    return settings.model_copy(update={"product": copy})


def with_labels(settings: Settings, folder: Path, text: str) -> Settings:
    """These settings, with labels of a product whose users need not have the demo's traits."""
    texts = ", ".join(f"{name}: text" for name in ("product", "cohort", "plan", "role"))
    traits = f"traits: {{{texts}, prior_attempts: integer, studied_credits: integer}}\n"
    return with_file(with_file(settings, folder, "profile", traits), folder, "labels", text)


def with_data(text: str) -> str:
    """The text of a file that names the data from the demo's folder, for a copy elsewhere."""
    return text.replace("../../data", str(ROOT / "data"))


def _copy(product: Path, copy: Path) -> Path:
    shutil.copytree(product, copy, dirs_exist_ok=True)
    for file in copy.glob("*.yaml"):
        file.write_text(with_data(file.read_text()))
    return copy
