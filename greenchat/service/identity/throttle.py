"""Limits of registrations, of requests and of the cost of logins (those of passwords are in ``guesses``)."""

from __future__ import annotations

from greenchat.errors import RateLimited
from greenchat.model.records import Share
from greenchat.ports.counters import Counters
from greenchat.ports.limits import Limits
from greenchat.protocol.addresses import host_of, network_of

HOUR = 3_600.0
"""Seconds that a counter of registrations lasts."""

MINUTE = 60.0
"""Seconds that a counter of an incoming hook lasts."""

HOOK_MESSAGES = 30
"""Messages that an incoming hook takes in a minute, on all nodes together (docs/protocol.md)."""

ROWS = 100
"""Rows that a login may read from the database for the price of a request.  15,000 rows, the most that
LOGIN_ACK can show, cost 45 ms of SQLite and 300 ms of MariaDB (measured); a request costs 0.3 ms."""

RESERVED = 60.0
"""Price of a login, in requests, until its rows have been read: of an account, eight may be under way."""

ACCOUNTS = 10_000
"""Accounts with remembered logins; the one with the oldest login is forgotten first."""


class Bucket:
    """A token bucket: so many requests a second on average, and more after a rest.

    Args:
        rate: tokens a second.
        burst: tokens that it holds at most.
        now: seconds, on a clock that never goes back.
    """

    __slots__ = ("_burst", "_rate", "_tokens", "_when")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._when = now

    def check(self, now: float, price: float = 1.0, message: str | None = None) -> None:
        """Take so many tokens, and none if there are not enough.

        Raises:
            RateLimited: there are fewer; it says when there will be enough.
        """
        tokens = min(self._burst, self._tokens + (now - self._when) * self._rate)
        self._when = now
        self._tokens = tokens
        if tokens < price:
            raise RateLimited(message, retry_after=_rounded((price - tokens) / self._rate))
        self._tokens = tokens - price

    def correct(self, tokens: float) -> None:
        """Give tokens back, or take more than there are: then the next ones come later."""
        self._tokens += tokens


class LoginBill:
    """The price of one login, which its account pays.

    A login reads all that belongs to its user.  So its price is the number of rows, which are known only
    after they have been read: ``RESERVED`` is taken first and corrected at the end.

    Args:
        bucket: of the account, with ``reserved`` taken from it; None if nothing limits it.
        reserved: the tokens taken.

    Attributes:
        rows: rows read so far.
    """

    __slots__ = ("_bucket", "_reserved", "rows")

    def __init__(self, bucket: Bucket | None, reserved: float) -> None:
        self._bucket = bucket
        self._reserved = reserved
        self.rows = 0

    def pay(self) -> None:
        """Pay for the rows that were read, and for one request."""
        if self._bucket is not None:
            self._bucket.correct(self._reserved - 1 - self.rows / ROWS)


class Throttle:
    """Counts the attempts of addresses and accounts, on all nodes together.

    Args:
        counters: shared by the nodes.
        limits: how much is too much.
    """

    def __init__(self, counters: Counters, limits: Limits) -> None:
        self._counters = counters
        self._limits = limits
        self._accounts: dict[int, Bucket] = {}

    def check_registration(self, address: str) -> None:
        """Refuse one more account from an address that has registered many.  May switch.

        Raises:
            RateLimited
        """
        allowed = self._limits.registrations_per_hour
        for key in self._addresses("registered", address) if allowed else ():
            if self._counters.count(key, HOUR) > allowed:
                raise RateLimited("too many accounts were registered from your address", retry_after=HOUR)

    def check_hook(self, hookid: int) -> None:
        """Refuse one more message of an incoming hook that has sent many.  May switch.

        Raises:
            RateLimited
        """
        if self._counters.count(f"hook:{hookid}", MINUTE) > HOOK_MESSAGES:
            raise RateLimited(f"a hook takes {HOOK_MESSAGES} messages a minute", retry_after=MINUTE)

    def bucket(self, address: str, now: float) -> Bucket | None:
        """Return the token bucket for the requests of a connection; None for no limit."""
        rate = self._limits.request_rate
        if not rate or self._limits.is_exempt(host_of(address)):
            return None
        return Bucket(rate, max(1, self._limits.request_burst), now)

    def bill(self, userid: int, address: str, now: float) -> LoginBill:
        """Begin a login of an authenticated account.  Does not switch.

        The account has one bucket on this node, of the size of a connection's: a new connection would have
        a full one.

        Raises:
            RateLimited: its recent logins cost too much.
        """
        bucket = self._account(userid, address, now)
        if bucket is None:
            return LoginBill(None, 0)
        reserved = min(RESERVED, self._limits.request_burst)
        bucket.check(now, reserved, "this account has logged in too often just now")
        return LoginBill(bucket, reserved)

    def check_request(self, userid: int, address: str, now: float) -> None:
        """Take the price of a request that comes by no connection from its account's bucket.

        Raises:
            RateLimited: its recent requests and logins cost too much.
        """
        bucket = self._account(userid, address, now)
        if bucket is not None:
            bucket.check(now)

    def _account(self, userid: int, address: str, now: float) -> Bucket | None:
        """Return the bucket of an account on this node; None for no limit."""
        fresh = self.bucket(address, now)
        if fresh is None:
            return None
        bucket = self._accounts[userid] = self._accounts.pop(userid, fresh)
        if len(self._accounts) > ACCOUNTS:
            del self._accounts[next(iter(self._accounts))]
        return bucket

    def share(self, account: str, address: str) -> Share:
        """Return the owner of a hash in the hashing queue; each account of an exempt address is one.

        Args:
            account: as for ``Guesses.attempt``; empty for one that is not there yet.
            address: ``HOST:PORT`` of the peer.
        """
        host = host_of(address)
        if self._limits.is_exempt(host):  # a proxy, perhaps, with everybody behind it
            return Share(f"account:{account}", account)
        return Share(network_of(host), account)

    def _addresses(self, kind: str, address: str) -> list[str]:
        """Return the key of an address, if it counts at all."""
        host = host_of(address)
        return [] if self._limits.is_exempt(host) else [f"{kind}:{network_of(host)}"]


def _rounded(seconds: float) -> float:
    """Return seconds for people, never too few."""
    return round(seconds + 0.05, 1)
