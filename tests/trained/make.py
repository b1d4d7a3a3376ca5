"""Trains the small models of this folder, each on a task that it can learn in minutes.

    python -m venv ENV && ENV/bin/pip install -r tests/zoo/requirements.txt scipy
    ENV/bin/python tests/trained/make.py [CLASS …]

Each class has its recipe, `recipes/<class>.py`, which says how long it takes on one core; a GPU is
used where there is one. `trained.py` is what recipes share, `shapes.py` draws, `digits.py` speaks
(it wants espeak-ng).
"""

import importlib.util
import sys
from pathlib import Path

HERE = Path(__file__).parent
# The zoo knows how a case is written.
sys.path.append(str(HERE.parent / "zoo"))

for recipe in sorted((HERE / "recipes").glob("*.py")):
    if len(sys.argv) < 2 or recipe.stem in sys.argv[1:]:
        # By its file, as recipes of the zoo have the same names.
        spec = importlib.util.spec_from_file_location(f"trained_{recipe.stem}", recipe)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        module.make()
