"""What every stage shares: settings, names, the wire format, errors, the clock. Imports nothing of ours."""

import typeguard

# Feast checks the types of its definitions by recompiling 261 functions when it is imported, for three seconds of
# every process that reads or writes a feature. `feast apply` still does; what it has registered needs no second check.
setattr(typeguard, "typechecked", lambda target=None, **_: target if target is not None else lambda each: each)  # noqa: B010
