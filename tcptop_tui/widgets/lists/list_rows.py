"""The rows that a list shows, with everything that their cells are made from."""

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
class ListRows(RowContext):
    """Some rows of a list. In a tree of groups each row has a label and may be a group."""

    tree_labels: Sequence[str] = ()
    """By row, in a tree: a group's label, or what stands before a member's process. Empty: this is no tree."""
    common_keys: Sequence[str] = ()
    """By row, in a tree: key of the column that the members of the group have in common; empty for a member."""

    @classmethod
    def from_context(cls, context: RowContext, options: ViewOptions, hosts: HostNames | None) -> Self:
        """The rows of ``context``, with the units and names that the user wants."""
        return cls(
            context.rows, context.now_ns, context.tx_rate, context.rx_rate, context.names, context.holders,
            context.details, context.utc_ns, options.rtt_unit, hosts if options.names else None,
        )  # fmt: skip

    def select(self, which: NDArray[np.intp]) -> Self:
        """The rows with these numbers."""
        labels, common_keys = ([texts[row] for row in which.tolist()] if texts else texts
                               for texts in (self.tree_labels, self.common_keys))  # fmt: skip
        return replace(super(ListRows, self).select(which), tree_labels=labels, common_keys=common_keys)

    def text_inputs(self) -> list[tuple[object, ...]]:
        """By row, everything but the time that its cells are made from: equal inputs make equal cells."""
        rates = [
            [None] * len(self.rows) if rate is None else [None if math.isnan(one) else one for one in rate.tolist()]
            for rate in (self.tx_rate, self.rx_rate)
        ]  # NaN differs from itself
        trees = (texts or [""] * len(self.rows) for texts in (self.tree_labels, self.common_keys))
        row_bytes = [row.tobytes() for row in self.rows]
        of_all_rows = self.rtt_unit, self.names, self.host_names is None
        columns = zip(row_bytes, self._detail_bytes(), *rates, *trees, strict=True)
        return [(*of_one_row, *of_all_rows) for of_one_row in columns]

    def _detail_bytes(self) -> list[bytes]:
        """By row, its details as bytes; empty where it has none."""
        if not len(self.details) or not self.has("id"):
            return [b""] * len(self.rows)
        indexes, has_details = at(self.details, self.rows["id"])
        return [self.details[index].tobytes() if has else b"" for index, has in zip(indexes, has_details, strict=True)]


def cell_texts(field: Field, rows: ListRows) -> list[str]:
    """The texts of one column, not yet cut to its width. A group shows its label as its process, and sums."""
    texts = field.texts(rows)
    if not rows.tree_labels:
        return texts
    is_labelled = field.key == "comm"
    return [
        _tree_text(field, text, label if is_labelled else "", common_key)
        for text, label, common_key in zip(texts, rows.tree_labels, rows.common_keys, strict=True)
    ]


def _tree_text(field: Field, text: str, label: str, common_key: str) -> str:
    if not common_key:
        return label + text
    return label or (text if field.has_group_sum or field.key == common_key else "")


def endpoints(rows: Rows, names: Names) -> str:
    """``10.0.0.1%eth0:443 ↔ 10.0.0.2:5555`` of a row, shape (1,)."""
    context = RowContext(rows, 0, names=names)
    laddr, lport, raddr, rport = (BY_KEY[key].texts(context)[0] for key in ("laddr", "lport", "raddr", "rport"))
    return f"{formats.endpoint(laddr, lport)} ↔ {formats.endpoint(raddr, rport)}"


def logfmt(fields: Iterable[Field], rows: ListRows) -> str:
    """The texts of ``fields`` as ``pid=812 process=nginx ...``; ``rows`` has one row."""
    pairs = ((field.title.lower().replace(" ", "_"), cell_texts(field, rows)[0]) for field in fields)
    return " ".join(f"{title}={_quoted(text)}" for title, text in pairs)


def _quoted(value: str) -> str:
    """Put ``value`` in quotes where blanks, quotes or ``=`` would mislead, as logfmt does."""
    value = value.strip()
    return json.dumps(value, ensure_ascii=False) if not value or set(value) & set(' "=') else value
