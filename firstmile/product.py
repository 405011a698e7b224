"""The product's folder: every file that says what one product's words mean and what its users see.

FIRSTMILE_PRODUCT names it. A process serves one product.

    events.yaml         event names → action families, property names, format words        pipelines
    cleaning.yaml       whose events are left out, consent, what pages may write           pipelines
    profile.yaml        traits, audit attributes, formats, levels, flows, model features   all: vocabulary.py
    labels.yaml         what the models learn to say; without it there are none            training
    content.yaml        the catalogue                                                      serving
    rules.yaml          segments, whom a model is not asked about, who sees what           serving
    experiments.yaml    arms, shares, holdout                                              serving
"""

import os
from pathlib import Path
from typing import Final, Literal

from firstmile.errors import FileError

ProductFile = Literal["events", "cleaning", "profile", "labels", "content", "rules", "experiments"]
REQUIRED: Final[tuple[ProductFile, ...]] = ("events", "cleaning", "profile", "content", "rules", "experiments")
OPTIONAL: Final[tuple[ProductFile, ...]] = ("labels",)
VARIABLE: Final = "FIRSTMILE_PRODUCT"


def product_file(folder: Path, name: ProductFile) -> Path:
    """Where a file of a product is.

    >>> product_file(Path("shop"), "rules").as_posix()
    'shop/rules.yaml'
    """
    return folder / f"{name}.yaml"


def current_product() -> Path:
    """The folder of the product this process serves: FIRSTMILE_PRODUCT, else ./product."""
    return Path(os.environ.get(VARIABLE) or "product").expanduser().absolute()


def require_product(folder: Path) -> None:
    """Raise FileError when the folder is not a product's, saying how to make one."""
    missing = [f"{name}.yaml" for name in REQUIRED if not product_file(folder, name).exists()]
    if missing:
        what = f"has no {', '.join(missing)}" if folder.is_dir() else "is no folder"
        raise FileError(
            f"{folder} {what}; FIRSTMILE_PRODUCT names the folder of the product's files, "
            "`firstmile product init DIR` writes one to begin with"
        )
