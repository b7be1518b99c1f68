"""The field side: each part measures one thing beside its yardstick in the same run.

    .venv/bin/python benchmarks/bench_field.py [--quick] [PART...]        (or: make bench-field)

A part is `benchmarks/field_PART.py` with `run(quick: bool) -> dict`: it prints its table and returns its keys. All
keys go into results/field.json, together; parts that were not asked for keep what the file has of them.
"""

import argparse
import gc
import importlib
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "field.json"
PARTS = sorted(path.stem.removeprefix("field_") for path in HERE.glob("field_*.py"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all of them unless given")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; writes no results")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    sys.path.insert(0, str(HERE.parent))  # parts share their line and their machine with each other
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in options.parts or PARTS:
        print(f"\n-- {part}", flush=True)
        gc.collect()
        found |= importlib.import_module(f"benchmarks.field_{part}").run(options.quick)
        if not options.quick:
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
