"""``tcptop-tui``, and ``python -m tcptop_tui``."""

from tcptop_tui import start


def main() -> int:
    """Run the command line and return the exit code."""
    start.secure()
    from tcptop_tui.cli import main as run  # noqa: PLC0415  only now it is known whose modules these are

    return run()


if __name__ == "__main__":
    raise SystemExit(main())
