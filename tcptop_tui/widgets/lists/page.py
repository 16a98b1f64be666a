"""The rows on the screen, and the text of each of their cells."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tcptop_tui import formats
from tcptop_tui.fields import BY_KEY, Field, RowContext
from tcptop_tui.host.hostnames import HostNames
from tcptop_tui.model.frame import ViewOptions
from tcptop_tui.records import Rows
from tcptop_tui.stream.batches import Names
from tcptop_tui.stream.socket_details import at


@dataclass(frozen=True, slots=True)
class RowTexts(RowContext):
    """Some rows of a list; in a tree with what stands before them."""

    tree_labels: Sequence[str] = ()
    """In a tree: what stands in the column of the process, of a member before its own."""
    group_common: Sequence[str] = ()
    """Of groups: key of the column that their members have in common; of others empty."""

    def select(self, which: NDArray[np.intp]) -> Self:
        """The rows with these numbers."""
        labels, common = ([part[place] for place in which.tolist()] if part else part
                          for part in (self.tree_labels, self.group_common))  # fmt: skip
        return replace(super(RowTexts, self).select(which), tree_labels=labels, group_common=common)

    def text_inputs(self) -> list[tuple[object, ...]]:
        """Everything that the texts of each row are made from, but for the time."""
        rates = [
            [None] * len(self.rows) if rate is None else [None if math.isnan(one) else one for one in rate.tolist()]
            for rate in (self.tx_rate, self.rx_rate)
        ]  # NaN differs from itself
        trees = (part or [""] * len(self.rows) for part in (self.tree_labels, self.group_common))
        raw = [row.tobytes() for row in self.rows]
        same = self.rtt_unit, self.names, self.host_names is None
        return [(*one, *same) for one in zip(raw, self._beside(), *rates, *trees, strict=True)]

    def _beside(self) -> list[bytes]:
        """The details of each row, as bytes."""
        if not len(self.details) or not self.has("id"):
            return [b""] * len(self.rows)
        places, there = at(self.details, self.rows["id"])
        return [self.details[place].tobytes() if known else b"" for place, known in zip(places, there, strict=True)]


def from_row_context(subject: RowContext, look: ViewOptions, hosts: HostNames | None) -> RowTexts:
    """``subject`` as somebody wants to see it."""
    return RowTexts(
        subject.rows, subject.now_ns, subject.tx_rate, subject.rx_rate, subject.names, subject.holders,
        subject.details, subject.utc_ns, look.rtt_unit, hosts if look.names else None,
    )  # fmt: skip


def cell_texts(field: Field, page: RowTexts) -> list[str]:
    """The cells of one column; a group has its label in place of the process, and sums only."""
    texts = field.texts(page)
    if not page.tree_labels:
        return texts
    comm = field.key == "comm"
    return [
        _in_group(field, text, label if comm else "", common)
        for text, label, common in zip(texts, page.tree_labels, page.group_common, strict=True)
    ]


def _in_group(field: Field, text: str, label: str, common: str) -> str:
    if not common:
        return label + text
    return label or (text if field.has_group_sum or field.key == common else "")


def endpoints(rows: Rows, names: Names) -> str:
    """``10.0.0.1%eth0:443 ↔ 10.0.0.2:5555`` of a row, shape (1,)."""
    subject = RowContext(rows, 0, names=names)
    laddr, lport, raddr, rport = (BY_KEY[key].texts(subject)[0] for key in ("laddr", "lport", "raddr", "rport"))
    return f"{formats.endpoint(laddr, lport)} ↔ {formats.endpoint(raddr, rport)}"


def logfmt(fields: Iterable[Field], page: RowTexts) -> str:
    """The texts of ``fields`` as ``pid=812 process=nginx ...``, of a page of one row."""
    pairs = ((field.title.lower().replace(" ", "_"), cell_texts(field, page)[0]) for field in fields)
    return " ".join(f"{title}={_quoted(shown)}" for title, shown in pairs)


def _quoted(value: str) -> str:
    """As logfmt has it: in quotes where blanks or quotes would mislead."""
    value = value.strip()
    return json.dumps(value, ensure_ascii=False) if not value or set(value) & set(' "=') else value
