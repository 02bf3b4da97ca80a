"""What all unit tests share."""

from tests.event_guard import events_are_what_the_catalogue_says

__all__ = ["events_are_what_the_catalogue_says"]
