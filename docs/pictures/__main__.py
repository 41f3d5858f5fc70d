"""Writes the pictures beside this file: ``python docs/pictures``; ``--check`` only compares."""

import pathlib
import sys

import architecture
import burst
import headline
import phases
import sequence

HERE = pathlib.Path(__file__).parent


def main(arguments: list[str]) -> int:
    old = []
    for picture in (headline, architecture, sequence, phases, burst):
        drawn, file = picture.draw(), HERE / f"{picture.__name__}.svg"
        if "--check" in arguments:
            if not file.exists() or file.read_text() != drawn:
                old.append(file.name)
        else:
            file.write_text(drawn)
    if old:
        print(f"out of date: {', '.join(old)}; python docs/pictures writes them again")
    return bool(old)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
