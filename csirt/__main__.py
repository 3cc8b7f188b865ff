"""`python -m csirt` and the `csirt` command."""

from __future__ import annotations


def main() -> None:
    """Run the command line; the exit code follows `csirt.errors.EXIT_CODES`."""
    from csirt.heap import prepare

    prepare()
    from csirt.cli import run

    run()


if __name__ == "__main__":
    main()
