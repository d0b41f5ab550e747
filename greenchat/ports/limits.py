"""The limits of the service; the settings have them."""

from __future__ import annotations

from typing import Protocol


class Limits(Protocol):
    """The limits of docs/protocol.md; ``config.Settings`` has their defaults."""

    @property
    def max_name(self) -> int:
        """Characters of a user's name."""

    @property
    def max_password(self) -> int:
        """Characters of a password."""

    @property
    def max_message(self) -> int:
        """Characters of a message."""

    @property
    def max_groupname(self) -> int:
        """Characters of a group's name."""

    @property
    def max_groupdesc(self) -> int:
        """Characters of a group's description."""

    @property
    def max_devices_online(self) -> int:
        """Devices of a user that may be online at a time."""

    @property
    def max_in_flight(self) -> int:
        """Messages of one connection that may wait to be committed before it is read no more.

        One to a large group counts as several.
        """

    @property
    def request_rate(self) -> float:
        """Requests of a connection in a second, on average; 0 for any number."""

    @property
    def request_burst(self) -> int:
        """Requests that a connection may make at once after a rest."""

    @property
    def registrations_per_hour(self) -> int:
        """Accounts that may be registered from one address in an hour; 0 for any number."""

    @property
    def login_failures(self) -> int:
        """Wrong passwords of an account in an hour, after which each further one locks it for a while."""

    @property
    def address_failures(self) -> int:
        """Wrong passwords from an address in an hour, after which each further one locks it for a while."""

    @property
    def login_lock(self) -> float:
        """Seconds that such a lock lasts at most."""

    def is_exempt(self, host: str) -> bool:
        """Return True if an address is exempt from the limits of addresses and of requests."""

    @property
    def recall_seconds(self) -> float:
        """Seconds in which the sender of a message may recall it."""

    @property
    def token_days(self) -> float:
        """Days for which a token is valid."""
