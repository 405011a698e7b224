"""The demo: learners of a distance-learning university (the OULAD data set) as if they were customers.

Whoever imports it serves this product, unless FIRSTMILE_PRODUCT names another one.
"""

import os
from pathlib import Path

from firstmile.product import VARIABLE

os.environ.setdefault(VARIABLE, str(Path(__file__).parent))
