"""`… when_there FILE MODULE ...` is `python -m MODULE ...`, begun when FILE is there and loaded before.

Belongs here: loading a service while the one that it needs starts. Does not belong here: which service needs
which (`services.py`). Most of what Dagster's processes do until they answer is to load Dagster.
"""

import importlib
import runpy
import sys
import time
from pathlib import Path

_LOOK_EVERY_SECONDS = 0.05


def main(file: str, module: str) -> None:
    """`module`: with a `cli` in it, as Dagster's have. Whoever started this stops it if it takes too long."""
    importlib.import_module(f"{module}.cli")
    while not Path(file).exists():
        time.sleep(_LOOK_EVERY_SECONDS)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    needed, started = sys.argv[1:3]
    # As if it had been started by itself.
    del sys.argv[:2]
    main(needed, started)
