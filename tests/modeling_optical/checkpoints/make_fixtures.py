"""Makes `fixtures/`: a tiny checkpoint saved by each peer, and the vectors that the peer itself computes from each variant.

    python make_fixtures.py PYLATE_PYTHON COLBERT_PYTHON

Each argument is the interpreter of an environment that has the peer (`make interop` builds both); the one that runs this has
sentence-transformers. Run it only when a format changes: the tests compare with what is committed.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from parity_variants import HERE, TEXTS, VARIANTS, save_five_script_bert, vary


def main(pylate_python: str, colbert_python: str) -> None:
    peers = {
        "sentence-transformers": (sys.executable, "with_sentence_transformers.py"),
        "pylate": (pylate_python, "with_pylate.py"),
        "stanford": (colbert_python, "with_colbert.py"),
    }
    with tempfile.TemporaryDirectory() as scratch:
        backbone = save_five_script_bert(Path(scratch) / "backbone")
        for name, (python, script) in peers.items():
            home = HERE / "fixtures" / name
            shutil.rmtree(home, ignore_errors=True)
            home.mkdir(parents=True)
            program = str(HERE / "peers" / script)
            subprocess.run([python, program, "make", str(backbone), str(home / "checkpoint")], check=True)
            for variant, changes in VARIANTS[name].items():
                folder = vary(home / "checkpoint", Path(scratch) / f"{name}-{variant}", changes)
                subprocess.run(
                    [python, program, "encode", str(folder), str(TEXTS), str(home / f"{variant}.safetensors")], check=True
                )


if __name__ == "__main__":
    main(*sys.argv[1:])
