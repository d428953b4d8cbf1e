"""Write the tables of docs/detection-quality.md: beatward bench detectors --json | this script."""

import json
import sys

from beatward.bench.detectors import aims_table, channels_table
from beatward.bench.frontier import table


def markdown(found):
    def line(cells):
        return f"| {' | '.join(cells)} |"

    rule = line(["---"] + ["---:"] * (len(found.columns) - 1))
    return "\n".join([line(found.columns), rule, *(line(row) for row in found.rows)])


def main():
    figures = json.load(sys.stdin)["figures"]
    print(markdown(channels_table(figures["two_stage"])), end="\n\n")
    print(markdown(aims_table(figures["aims"])), end="\n\n")
    for name, trace in figures["traces"].items():
        print(f"### {name}: {trace['shows']}\n")
        print(
            f"{trace['sent']:,} heartbeats in {trace['hours']:.0f} h, one every "
            f"{trace['interval_s']:g} s; {trace['lost']:,} lost, in {trace['gaps']:,} gaps; "
            f"longest silence {trace['silence_max_s']:.1f} s.\n"
        )
        print(f"![{name}: detection time against mistakes](images/detection-{name}.svg)\n")
        print(markdown(table(name, trace)), end="\n\n")


if __name__ == "__main__":
    main()
