"""The `xray` program."""


def main() -> None:
    raise SystemExit(2)
