"""A peer that stays: a line `[FOLDER, TEXTS, OUT]` in, `answer:` and null or the trace of what went wrong out."""

import json
import sys
import traceback
from collections.abc import Callable


def answer(encode: Callable[[str, str, str], None]) -> None:
    """Encodes what is asked for."""
    for line in sys.stdin:
        wrong = None
        try:
            encode(*json.loads(line))
        except Exception:
            wrong = traceback.format_exc()
        print(f"answer:{json.dumps(wrong)}", flush=True)
