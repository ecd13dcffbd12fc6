"""Any command of `optical`: the script that `accelerate launch` starts on every process.

accelerate launch --num_processes 2 recipes/command.py encode CORPUS --model M --output DIR
"""

import sys
from pathlib import Path

# Started as a script, Python puts this folder first on the path; the packages are beside it or installed.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from recipes.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
