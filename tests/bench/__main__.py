"""`python -m tests.bench [NAME [options]]`: run one benchmark, or all of them; `--list` names them."""

import sys

from tests.bench import ingest, mapping, queue, sweep, tokens

BENCHES = {"ingest": ingest, "mapping": mapping, "queue": queue, "sweep": sweep, "tokens": tokens}


def main() -> None:
    arguments = sys.argv[1:]
    if arguments[:1] == ["--list"]:
        for name, bench in BENCHES.items():
            print(f"{name:12}{(bench.__doc__ or '').splitlines()[0]}")
    elif arguments and arguments[0] in BENCHES:
        BENCHES[arguments[0]].main(arguments[1:])
    elif arguments and not arguments[0].startswith("-"):
        sys.exit(f"There is no benchmark {arguments[0]!r}; there are: {', '.join(BENCHES)}.")
    else:
        for bench in BENCHES.values():
            bench.main(arguments)


if __name__ == "__main__":
    main()
