"""``python -m tcptop_tui``."""

from tcptop_tui.cli import main

raise SystemExit(main())
