"""What a feature is: the row, its fold and windows, the Feast views over it, the store that keeps it."""

import firstmile  # noqa: F401 - before Feast: it makes that import a quick one
