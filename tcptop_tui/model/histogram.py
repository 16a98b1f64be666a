"""Count, average and percentiles of a log2 histogram."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tcptop_tui.records import RTT_SLOTS
from tcptop_tui.stream.histograms import Histogram


@dataclass(frozen=True, slots=True)
class Summary:
    """A histogram in five numbers; None where there is no sample. Percentiles are interpolated in their bucket."""

    count: int
    avg_us: float | None
    p50_us: float | None
    p90_us: float | None
    p99_us: float | None


def bucket_bounds(bucket: int) -> tuple[int, int | None]:
    """Lowest and highest whole number of microseconds in a bucket, as bcc prints them; the last bucket has no end."""
    low = 0 if bucket == 0 else 1 << bucket
    return low, None if bucket == RTT_SLOTS - 1 else (1 << (bucket + 1)) - 1


def percentile(hist: Histogram, share: float) -> float | None:
    """The value in µs that ``share`` (0 to 1) of the samples are not above; None without samples.

    Samples are taken as spread evenly over their bucket. Of the last bucket, which has no end, the lower bound is
    returned.
    """
    used_buckets = np.flatnonzero(hist)
    if not len(used_buckets):
        return None
    cumulative = np.cumsum(hist[used_buckets])
    rank = share * float(cumulative[-1])
    index = int(np.searchsorted(cumulative, rank, side="left"))
    bucket = int(used_buckets[index])
    low, high = bucket_bounds(bucket)
    if high is None:
        return float(low)
    share_of_bucket = 1 - (float(cumulative[index]) - rank) / float(hist[bucket])
    return low + share_of_bucket * (high + 1 - low)


def average(hist: Histogram, sum_us: int) -> float | None:
    """Average of all samples in µs, exact because it is made from their sum; None without samples."""
    count = int(hist.sum())
    return sum_us / count if count else None


def summarize(hist: Histogram, sum_us: int) -> Summary:
    """Count, average and percentiles of a histogram whose samples add up to ``sum_us``."""
    return Summary(
        int(hist.sum()),
        average(hist, sum_us),
        *(percentile(hist, share) for share in (0.5, 0.9, 0.99)),
    )
