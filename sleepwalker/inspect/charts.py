"""The charting library's own JavaScript, to be put into a page; the only file that knows Plotly."""

from __future__ import annotations

from sleepwalker.eventlog.errors import InspectError

__all__ = ["check_charts", "library"]


def check_charts() -> None:
    """Raise `InspectError` where the charting library is not installed."""
    try:
        import plotly.offline  # type: ignore[import-untyped,import-not-found,unused-ignore] # noqa: F401, PLC0415
    except ImportError:
        raise InspectError("--html needs the package plotly: pip install 'sleepwalker[cli,inspect]'") from None


def library() -> str:
    """Plotly as one script. Raises `InspectError` where it is not installed."""
    check_charts()
    from plotly.offline import get_plotlyjs  # noqa: PLC0415

    return str(get_plotlyjs())
