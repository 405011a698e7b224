"""The one file `feast apply` reads (see .feastignore): every definition, as an attribute of this module."""

from feature_repo.store import definitions
from firstmile.settings import load_settings

# Feast looks for objects among a module's attributes. There are as many services as models, so none is named here.
globals().update({f"{type(each).__name__}_{each.name}": each for each in definitions(load_settings())})
