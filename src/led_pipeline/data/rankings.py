"""Join the rankings of query shards into one file.

Run as `python -m led_pipeline.data.rankings --shards RANKING... --out RANKING`, with the shards in row order.
"""

import argparse
from itertools import chain
from pathlib import Path

from led_pipeline.data.tables import read_rankings, write_rankings
from led_pipeline.jobs.command import run_main


def main() -> None:
    parser = argparse.ArgumentParser(description="Join the rankings of query shards into one file.")
    parser.add_argument("--shards", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    write_rankings(a.out, chain.from_iterable(map(read_rankings, a.shards)))


if __name__ == "__main__":
    run_main(main)
