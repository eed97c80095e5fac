"""`python -m health_pipelines_tests.fuzz --cases N --seed S`: N cases, and a table of what became of them.

Ends with 1 if a parser crashed; each crash is named by its parser and number, from which it can be had again.
"""

import argparse
import sys
from fractions import Fraction

from health_pipelines_tests.fuzz.fuzzing import case_of, fuzz, table
from health_pipelines_tests.fuzz.parsers import PARSERS


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--cases", type=int, default=1_000_000)
    words.add_argument("--seed", type=int, default=1)
    words.add_argument("--parser", help="only those whose name holds it")
    told = words.parse_args()
    chosen = [one for one in PARSERS if (told.parser or "") in one.name]
    each = told.cases / sum(Fraction(1, one.share) for one in chosen)
    tallies = []
    for one in chosen:
        tallies.append(fuzz(one, -int(-each // one.share), told.seed))
        for number, wrong in tallies[-1].crashes.items():
            print(
                f"{one.name}, case {number}: {wrong}: {case_of(one, told.seed, number)!r:.600}",
                file=sys.stderr,
            )
    print("\n".join(table(tallies)))
    return 1 if any(one.crashes for one in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())
