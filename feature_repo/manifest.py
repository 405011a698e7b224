"""The one file `feast apply` reads (see .feastignore): every definition, as an attribute of this module."""

from feature_repo.store import definitions
from firstmile.product import require_product
from firstmile.settings import load_settings

settings = load_settings()
require_product(settings.product)  # without it apply would take away the services of its models
# Feast looks for objects among a module's attributes. There are as many services as models, so none is named here.
globals().update({f"{type(each).__name__}_{each.name}": each for each in definitions(settings)})
