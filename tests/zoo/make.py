"""Writes the zoo: tiny cases with seeded random weights, and what Hugging Face computes with them.

    python -m venv ENV && ENV/bin/pip install -r tests/zoo/requirements.txt
    ENV/bin/python tests/zoo/make.py [CLASS/NAME …]

Each class has its recipe, `recipes/<class>.py`; `zoo.py` is what recipes share.
"""

import importlib
from pathlib import Path

for recipe in sorted((Path(__file__).parent / "recipes").glob("*.py")):
    importlib.import_module(f"recipes.{recipe.stem}").make()
