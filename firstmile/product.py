"""The product's folder: every file that says what one product's words mean and what its users see.

FIRSTMILE_PRODUCT names it. A process serves one product.

    events.yaml         event names → action families, property names, format words        pipelines
    cleaning.yaml       whose events are left out, consent, what pages may write           pipelines
    labels.yaml         what the models learn to say; without it they are not trained      training
    content.yaml        the catalogue                                                      serving
    rules.yaml          segments, whom a model is not asked about, who sees what           serving
    experiments.yaml    arms, shares, holdout                                              serving
"""

from pathlib import Path
from typing import Final, Literal

from firstmile.documents import read_document
from firstmile.errors import FileError
from firstmile.names import MODELS

ProductFile = Literal["events", "cleaning", "labels", "content", "rules", "experiments"]
REQUIRED: Final[tuple[ProductFile, ...]] = ("events", "cleaning", "content", "rules", "experiments")
OPTIONAL: Final[tuple[ProductFile, ...]] = ("labels",)


def product_file(folder: Path, name: ProductFile) -> Path:
    """Where a file of a product is.

    >>> product_file(Path("shop"), "rules").as_posix()
    'shop/rules.yaml'
    """
    return folder / f"{name}.yaml"


def learned_models(folder: Path) -> tuple[str, ...]:
    """The models a product has labels for, so that its answers can be whole with them alone; all without labels.yaml.

    Raises FileError when the file cannot be read; what its labels say is training's to check.
    """
    path = product_file(folder, "labels")
    if not path.exists():
        return MODELS
    said = read_document(path).data
    return tuple(model for model in MODELS if isinstance(said, dict) and model in said)


def require_product(folder: Path) -> None:
    """Raise FileError when the folder is not a product's, saying how to make one."""
    missing = [f"{name}.yaml" for name in REQUIRED if not product_file(folder, name).exists()]
    if missing:
        what = f"has no {', '.join(missing)}" if folder.is_dir() else "is no folder"
        raise FileError(
            f"{folder} {what}; FIRSTMILE_PRODUCT names the folder of the product's files, "
            "`firstmile product init DIR` writes one to begin with"
        )
