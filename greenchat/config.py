"""Settings: defaults < TOML file < ``GREENCHAT_*`` < command line, checked once.

A value that is overruled is not looked at, and so stops no start.  A name that is no setting does.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import tomllib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from greenchat import __version__
from greenchat.errors import ConfigError

LOG_LEVELS = ("debug", "info", "warning", "error")

PREFIX = "GREENCHAT_"

_SERVICE_PORT = re.compile(PREFIX + r"(\w+_)?PORT")
_SERVICE_LINK = re.compile(
    PREFIX + r"(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)

HOSTS = 1024
"""Hosts of which it is remembered whether they are exempt: it is asked three times of each newcomer."""


def _setting(
    default: Any, help: str, *, least: float | None = None, most: float | None = None, secret: bool = False
) -> Any:
    """Return the field of a setting; a secret one (a URL with a password in it) is left out of ``repr``."""
    return field(default=default, repr=not secret, metadata={"help": help, "least": least, "most": most})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that an operator can set; ``conf/greenchat.toml`` lists it with its reasons."""

    port: int = _setting(6000, "TCP port to serve on; 0 takes a free one", least=0, most=65_535)
    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 or :: for all")
    store: str = _setting("sqlite:///greenchat.db", "URL of the database", secret=True)
    bus: str = _setting("local://", "URL of the bus that connects the nodes", secret=True)
    node: str = _setting("", "name of this server; default: host name and port")
    heartbeat_interval: float = _setting(
        1.0, "seconds in which a client must show a sign of life", least=0.05, most=3_600
    )
    max_missed: int = _setting(5, "intervals in a row without one before a client is evicted", least=1)
    websocket_ping: float = _setting(
        10.0, "seconds of silence after which a client on WebSocket is pinged", least=0.05, most=3_600
    )
    admin: str = _setting(
        "", "HOST:PORT of the pages /metrics and /health, HOST:+N for N above PORT; off by default"
    )
    web: str = _setting(
        "", "HOST:PORT for browsers, WebSocket and HTTP, HOST:+N for N above PORT; off by default"
    )
    web_hosts: str = _setting("", "names and addresses that web clients may call this server by")
    web_origins: str = _setting("", "origins of other pages that may use it, as https://chat.example")
    web_proxy_protocol: bool = _setting(False, "every web connection begins with a PROXY header")
    control_socket: str = _setting("", "file of the socket for greenchat-admin; off by default")
    log_level: str = _setting("info", f"one of {', '.join(LOG_LEVELS)}")
    foreign_variables: str = _setting(
        "", "variables GREENCHAT_* that are for other programs: names, with * for any characters"
    )
    proxy_protocol: bool = _setting(False, "every connection begins with a PROXY header, version 1 or 2")
    proxy_from: str = _setting(
        "127.0.0.0/8, ::1/128", "networks whose PROXY headers, and X-Forwarded-For of HTTP, are believed"
    )
    tls_cert: str = _setting("", "file with the certificate (PEM); with it the port takes TLS only")
    tls_key: str = _setting("", "file with the certificate's key (PEM)")

    login_timeout: float = _setting(10.0, "seconds that a connection has to log in", least=0.1, most=3_600)
    silent_timeout: float = _setting(
        3_600.0,
        "the same of one that has said nothing yet, or of an original client, without TLS",
        least=0,
        most=86_400,
    )
    max_silent: int = _setting(2_000, "connections at a time that make use of it", least=0)
    max_silent_per_address: int = _setting(16, "the same of an address", least=0)
    classic_timezone: str = _setting(
        "", "time zone of the times that original clients show, as Europe/Berlin; default: the server's"
    )
    max_connections: int = _setting(16_000, "connections at a time; one more is answered and closed", least=1)
    max_connections_per_address: int = _setting(
        128, "connections of an address at a time; 0: any number", least=0
    )
    max_strangers: int = _setting(8_000, "connections at a time that are not logged in", least=1)
    max_frame: int = _setting(65_536, "bytes of a frame from a client", least=1_024, most=1_048_576)
    outbox_limit: int = _setting(1_048_576, "bytes that may wait for a slow client", least=65_536)
    outbox_seconds: float = _setting(
        20.0, "seconds in which a slow client must take something; 0: any time", least=0, most=86_400
    )
    byte_rate: int = _setting(
        65_536, "bytes read of a connection in a second, on average; 0: any number", least=0
    )
    byte_burst: int = _setting(262_144, "bytes read of a connection at once, after a rest", least=16_384)
    max_in_flight: int = _setting(256, "messages of a connection that may wait for the database", least=1)
    commit_queue: int = _setting(8_192, "messages of all connections that may wait for the database", least=1)
    password_queue: int = _setting(64, "passwords that may wait to be hashed", least=1)
    shutdown_timeout: float = _setting(
        5.0, "seconds to wait for clients to leave at the end", least=0, most=3_600
    )
    startup_timeout: float = _setting(
        30.0, "seconds to wait for a database or a bus that is away at the start", least=0
    )

    upgrade_grace: float = _setting(
        3_600.0,
        "seconds after an upgrade in which servers of the version before can still be started",
        least=0,
        most=2_592_000,
    )

    request_rate: float = _setting(
        50.0, "requests of a connection in a second, on average; 0: any number", least=0, most=1e6
    )
    request_burst: int = _setting(500, "requests of a connection at once, after a rest", least=1)
    registrations_per_hour: int = _setting(
        100, "accounts registered from an address in an hour; 0: any number", least=0
    )
    login_failures: int = _setting(
        5, "wrong passwords of an account in an hour before it is locked for a while", least=1
    )
    address_failures: int = _setting(50, "the same of an address", least=1)
    login_lock: float = _setting(900.0, "seconds that such a lock lasts at most", least=1, most=86_400)
    exempt: str = _setting("127.0.0.0/8, ::1/128", "networks without limits of address, requests and bytes")

    max_name: int = _setting(50, "characters of a user's name", least=1, most=50)
    max_password: int = _setting(128, "characters of a password", least=8, most=1_024)
    max_message: int = _setting(4_096, "characters of a message", least=1, most=4_096)
    max_groupname: int = _setting(50, "characters of a group's name", least=1, most=50)
    max_groupdesc: int = _setting(200, "characters of a group's description", least=0, most=200)
    max_friends: int = _setting(2_000, "friends of a user", least=0, most=2_000)
    max_groups: int = _setting(200, "groups of a user", least=0, most=200)
    max_members: int = _setting(10_000, "members of a group", least=1)
    max_devices_online: int = _setting(8, "devices of a user online at a time", least=1)
    max_devices: int = _setting(16, "devices of a user that are remembered", least=1)
    recall_seconds: float = _setting(120.0, "seconds in which a message can be recalled", least=0, most=1e9)
    token_days: float = _setting(30.0, "days that a login token lasts", least=0, most=36_500)

    hook_http: bool = _setting(False, "outgoing hooks may have URLs with http: for tests")
    hook_private: str = _setting("", "private networks that outgoing hooks may reach")
    hook_days: float = _setting(
        3.0, "days of failure after which an outgoing hook is switched off", least=0, most=365
    )

    @property
    def hook_networks(self) -> list[IPv4Network | IPv6Network]:
        """The networks that outgoing hooks may reach though they are not of the open internet."""
        return _networks("hook_private", self.hook_private)

    @property
    def proxies(self) -> list[IPv4Network | IPv6Network] | None:
        """The networks of the proxies that all connections come through; None: there are none."""
        return _networks("proxy_from", self.proxy_from) if self.proxy_protocol else None

    @property
    def web_proxies(self) -> list[IPv4Network | IPv6Network]:
        """The networks of the proxies that may name the client of a web request."""
        return _networks("proxy_from", self.proxy_from)

    @property
    def classic_zone(self) -> ZoneInfo | None:
        """The time zone of the times that original clients show; None: the server's."""
        return _zone(self.classic_timezone)

    def is_exempt(self, host: str) -> bool:
        """Return whether a host is not held to the limits of an address, of requests and of bytes."""
        return _is_among(host, self.exempt)


class _Given(NamedTuple):
    """A value as it was given, and its name in errors."""

    value: object
    where: str


_FIELDS = {item.name: item for item in fields(Settings)}
_TYPES: dict[str, type] = {name: type(item.default) for name, item in _FIELDS.items()}
_SWITCH = {"true": True, "false": False}


def load(arguments: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Read all settings and check them.

    Args:
        arguments: the command line, without the program's name.
        environ: the environment.

    Raises:
        ConfigError: something is wrong; the sentence names where.  The operator's fault.
        SystemExit: ``--help`` or ``--version`` was asked for.
    """
    given = vars(_parser().parse_args(arguments))
    config = given.pop("config") or environ.get(_variable("config"))
    counts = _from_environment(environ)
    counts |= {name: _Given(text, _option(name)) for name, text in given.items() if text is not None}
    if config:
        counts = _from_file(Path(config), counts) | counts
    values = {name: _convert(name, *found) for name, found in counts.items()}
    _check(values)
    settings = Settings(**values)
    _check_variables(environ, settings.foreign_variables)
    if not settings.node:
        return Settings(**values | {"node": f"{platform.node()}-{settings.port or os.getpid()}"})
    return settings


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ConfigError(message)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m greenchat.server",
        description="A clustered chat server.",
        epilog="Every option is also GREENCHAT_NAME in the environment, and name (with underscores) in TOML.",
        allow_abbrev=False,
    )
    parser.add_argument("port", nargs="?", metavar="PORT", help=_help("port"))
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings")
    parser.add_argument("--version", action="version", version=f"greenchat {__version__}")
    for name in _FIELDS:
        if name == "port":
            continue
        if _TYPES[name] is bool:
            parser.add_argument(_option(name), action=argparse.BooleanOptionalAction, help=_help(name))
        else:
            parser.add_argument(_option(name), metavar=_TYPES[name].__name__.upper(), help=_help(name))
    return parser


def _option(name: str) -> str:
    return "PORT" if name == "port" else "--" + name.replace("_", "-")


def _help(name: str) -> str:
    default = _FIELDS[name].default
    shown = str(default).lower() if isinstance(default, bool) else default
    text: str = _FIELDS[name].metadata["help"]
    return text + (f" (default: {shown})" if shown != "" else "")


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _from_environment(environ: Mapping[str, str]) -> dict[str, _Given]:
    variables = {name: _variable(name) for name in _FIELDS}
    return {
        name: _Given(environ[variable], variable)
        for name, variable in variables.items()
        if variable in environ and not _is_service_link(variable, environ[variable])
    }


def _is_service_link(variable: str, value: str) -> bool:
    """Return True for a variable that Kubernetes makes of a service named "greenchat…".

    Each container gets them for each service of its namespace: for one that is named "greenchat",
    GREENCHAT_PORT=tcp://10.0.0.1:6000 among them.
    """
    is_url = _SERVICE_PORT.fullmatch(variable) and value.startswith(("tcp://", "udp://", "sctp://"))
    return bool(is_url or _SERVICE_LINK.fullmatch(variable))


def _check_variables(environ: Mapping[str, str], foreign: str) -> None:
    """Check that each GREENCHAT_* of the environment is a setting, or known to be for another program.

    Raises:
        ConfigError: one is not: most often a misspelt setting: its default would count silently.
    """
    names = [*_FIELDS, "config"]
    theirs = foreign.replace(",", " ").split()
    for variable in sorted(environ.keys() - set(map(_variable, names))):
        if not variable.startswith(PREFIX) or _is_service_link(variable, environ[variable]):
            continue
        if not any(fnmatchcase(variable, pattern) for pattern in theirs):
            meant = _similar(variable.removeprefix(PREFIX).lower(), names)
            question = f" (is {_variable(meant)} meant?)" if meant else ""
            raise ConfigError(
                f"{variable}: there is no such setting{question};"
                f" variables of other programs are named in {_variable('foreign_variables')}"
            )


def _similar(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was meant, if there is one like it."""
    return next(iter(get_close_matches(name, list(known), 1)), None)


def _from_file(path: Path, overruled: Container[str]) -> dict[str, _Given]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {os.strerror(error.errno or 0)}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    for name, value in values.items():
        if name not in _FIELDS:
            meant = _similar(name, _FIELDS)
            raise ConfigError(
                f"{path}: there is no setting {name!r}" + (f" (is {meant!r} meant?)" if meant else "")
            )
        wanted = _TYPES[name]
        if (
            name not in overruled
            and type(value) is not wanted
            and not (wanted is float and type(value) is int)
        ):
            raise ConfigError(f"{path}: {name}: {_kind(name)} is needed, not {value!r}")
    return {name: _Given(value, f"{path}: {name}") for name, value in values.items()}


def _convert(name: str, value: object, where: str) -> Any:
    if isinstance(value, bool):
        return value
    try:
        return _SWITCH[str(value)] if _TYPES[name] is bool else _TYPES[name](value)
    except (KeyError, ValueError, OverflowError):
        raise ConfigError(f"{where}: {_kind(name)} is needed, not {str(value)[:50]!r}") from None


def _kind(name: str) -> str:
    return "true or false" if _TYPES[name] is bool else _TYPES[name].__name__


def _check(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, str) and not value.isprintable():
            raise ConfigError(f"{name.replace('_', '-')}: control characters are not allowed")
        least, most = _FIELDS[name].metadata["least"], _FIELDS[name].metadata["most"]
        if (least is not None and not value >= least) or (most is not None and not value <= most):
            bounds = f"at least {least}" if most is None else f"between {least} and {most}"
            raise ConfigError(f"{name.replace('_', '-')}: {bounds}, not {value}")
    for name in ("host", "store", "bus"):
        if values.get(name) == "":
            raise ConfigError(f"{name}: may not be empty")
    if values.get("log_level", "info") not in LOG_LEVELS:
        raise ConfigError(f"log-level: one of {', '.join(LOG_LEVELS)}, not {values['log_level']!r}")
    if bool(values.get("tls_cert")) != bool(values.get("tls_key")):
        raise ConfigError("tls-cert and tls-key: both are needed, or neither")
    _zone(values.get("classic_timezone", ""))
    _networks("hook_private", values.get("hook_private", ""))
    _networks("exempt", values.get("exempt", Settings.exempt))
    if not _networks("proxy_from", values.get("proxy_from", Settings.proxy_from)):
        raise ConfigError("proxy-from: may not be empty")


def _zone(name: str) -> ZoneInfo | None:
    """Read the name of a time zone."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ConfigError(f"classic-timezone: there is no time zone {name!r}") from None


@lru_cache(HOSTS)
def _is_among(host: str, exempt: str) -> bool:
    address = ip_address(host)
    return any(address in network for network in _networks("exempt", exempt))


@cache
def _networks(name: str, text: str) -> list[IPv4Network | IPv6Network]:
    """Read networks with commas or blanks between them; a single address is one too."""
    try:
        return [ip_network(item) for item in text.replace(",", " ").split()]
    except ValueError as error:
        raise ConfigError(f"{name.replace('_', '-')}: {error}") from None
