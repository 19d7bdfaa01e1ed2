r"""Does `compare` agree with a permutation test over runs?

    python -m ftlight fit -c configs/quickstart.yaml --seeds 5 --run runs/a
    python -m ftlight fit -c configs/quickstart.yaml --seeds 5 --run runs/b --model.unfreeze head
    python scripts/bench/seeds.py runs/a runs/b

The permutation test takes each run's mean score, and asks in what share of all ways to deal these
runs into two groups of the same sizes the groups' means are at least as far apart. It knows the
seeds alone, as `p_seeds` of `compare` does; the p-value that `compare` prints adds the rows.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path
from statistics import mean

from ftlight.evidence import comparing


def permuted(first: list[float], other: list[float]) -> float:
    """The two-sided p-value of all ways to deal runs into two groups."""
    everything = [*first, *other]
    apart = abs(mean(other) - mean(first))
    total, count = sum(everything), 0
    ways = list(combinations(everything, len(first)))
    for group in ways:
        rest = (total - sum(group)) / len(other)
        count += abs(rest - mean(group)) >= apart - 1e-12
    return count / len(ways)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders of `fit --seeds`, two or more")
    given = parser.parse_args()
    folders = [folder for path in given.runs for folder in comparing.runs_of(str(path))]
    score, groups = comparing.compare(comparing.load(folders)[1])
    print(
        f"| runs | mean {score} | seeds | difference | 95 % interval | p | p of seeds | permuted |"
    )
    print("|---|---|---|---|---|---|---|---|")
    means = [[float(run.outcomes.scores.mean()) for run in group.runs] for group in groups]
    for group, own in zip(groups, means, strict=True):
        row = [group.name, f"{mean(own):.4f}", f"{min(own):.4f} to {max(own):.4f}"]
        if group.difference is not None:
            found = group.difference
            row += [f"{found.gain:+.4f}", f"{found.low:+.4f} to {found.high:+.4f}"]
            row += [f"{p:.3g}" for p in (found.p, found.p_seeds, permuted(means[0], own))]
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
