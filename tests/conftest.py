"""What all tests share."""

from __future__ import annotations

from hypothesis import settings

# A deadline per example would be a timed assertion, and this may be a busy machine.
settings.register_profile("greenchat", deadline=None)
settings.load_profile("greenchat")
