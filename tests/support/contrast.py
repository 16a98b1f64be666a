"""How well text of one color can be read on another color."""

from __future__ import annotations

from textual.color import Color


def luminance(color: Color) -> float:
    """WCAG 2.2, "relative luminance": 0 is black, 1 is white."""
    parts = [part / 255 for part in color.rgb]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, "contrast ratio": 1 to 21; text should have 4.5."""
    light, dark = sorted((luminance(Color.parse(one)), luminance(Color.parse(other))), reverse=True)
    return (light + 0.05) / (dark + 0.05)
