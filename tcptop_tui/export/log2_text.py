"""A log2 histogram as bcc's tools print it: for text exports and ``trace rtt``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tcptop_tui.model.histogram import bucket_bounds

_BAR_CELLS = 40


def log2_lines(counts: Sequence[int], unit: str, *, open_bound: str = "") -> Iterator[str]:
    """The lines of bcc's ``_print_log2_hist`` (src/python/bcc/table.py) without the empty buckets at the end.

    Args:
        counts: samples by bucket, shape (RTT_SLOTS,); without any sample there are no lines.
        unit: ``usecs`` or ``msecs``.
        open_bound: upper bound of the last bucket; empty: the number that bcc prints, although the bucket is open.
    """
    used = [bucket for bucket, count in enumerate(counts) if count]
    if not used:
        return
    most = max(counts)
    yield f"     {unit:<19} : count     distribution"
    for bucket, count in enumerate(counts[: used[-1] + 1]):
        low, high = bucket_bounds(bucket)
        bound = (open_bound or str((2 << bucket) - 1)) if high is None else str(high)
        stars = "*" * (_BAR_CELLS * count // most)
        yield f"{low:10d} -> {bound:<10} : {count:<8d} |{stars:<{_BAR_CELLS}}|"
