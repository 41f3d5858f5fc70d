"""Writes the pictures beside this file: ``python -m docs.pictures``; ``--check`` only compares."""

import pathlib
import sys

from docs.pictures import architecture, burst, headline, phases, sequence

HERE = pathlib.Path(__file__).parent


def main(arguments: list[str]) -> int:
    old = []
    for picture in (headline, architecture, sequence, phases, burst):
        drawn, file = picture.draw(), HERE / f"{picture.__name__.rpartition('.')[2]}.svg"
        if "--check" in arguments:
            if not file.exists() or file.read_text() != drawn:
                old.append(file.name)
        else:
            file.write_text(drawn)
    if old:
        print(f"out of date: {', '.join(old)}; python -m docs.pictures writes them again")
    return bool(old)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
