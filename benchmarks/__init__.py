"""One file a question. All of them serve the demo's product, whose words this process has from here on."""

import os
from pathlib import Path

os.environ.setdefault("FIRSTMILE_PRODUCT", str(Path(__file__).parents[1] / "examples" / "oulad"))
