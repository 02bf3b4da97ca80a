"""The charting library's own JavaScript, to be put into a page; the only file that knows Plotly."""

from __future__ import annotations

from sleepwalker.inspect.errors import InspectError

__all__ = ["library"]


def library() -> str:
    """Plotly as one script. Raises `InspectError` where it is not installed."""
    try:
        from plotly.offline import get_plotlyjs  # type: ignore[import-untyped,import-not-found,unused-ignore] # noqa: PLC0415
    except ImportError:
        raise InspectError("--html needs the package plotly: pip install 'sleepwalker[inspect]'") from None
    return str(get_plotlyjs())
