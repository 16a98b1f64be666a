"""``tcptop-tui``, and ``python -m tcptop_tui``."""

from tcptop_tui.host import startup


def main() -> int:
    """Run the command line and return the exit code."""
    startup.secure_startup()
    from tcptop_tui.cli.entry import main as run  # noqa: PLC0415  only now it is known whose modules these are

    return run()


if __name__ == "__main__":
    raise SystemExit(main())
