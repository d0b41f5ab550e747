"""Settings: where they come from, which wins, and what is said of a wrong one."""

from __future__ import annotations

import re
import socket
from dataclasses import fields
from pathlib import Path

import pytest

from greenchat import __version__
from greenchat.config import Settings, load
from greenchat.errors import ConfigError

NAMES = [item.name for item in fields(Settings)]

SPECIAL = {
    "log_level": "debug", "proxy_from": "10.0.0.0/8, fd00::/8", "exempt": "192.0.2.0/24",
    "hook_private": "10.0.0.0/8, ::1/128",
    "classic_timezone": "Asia/Shanghai",
}  # fmt: skip
"""Values of the settings that do not take any text."""

PAIRS = {"tls_cert": "tls_key", "tls_key": "tls_cert"}
"""Settings that are given together."""


def option(name: str) -> str:
    return "--" + name.replace("_", "-")


def other(name: str) -> str:
    """Return a value that is allowed and not the default."""
    default = getattr(Settings(), name)
    if name in SPECIAL:
        return SPECIAL[name]
    if isinstance(default, bool):
        return str(not default).lower()
    if isinstance(default, str):
        return "other"
    if isinstance(default, float):
        return str(default + 0.5)
    return str(default - 1)


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    return tmp_path / "greenchat.toml"


# -- Sources


def test_without_anything_the_defaults_count() -> None:
    assert load([], {}) == Settings(node=f"{socket.gethostname()}-6000")


def test_the_defaults_are_those_of_the_protocol_and_the_design() -> None:
    settings = load([], {})
    assert (settings.port, settings.host) == (6000, "127.0.0.1")
    assert (settings.store, settings.bus) == ("sqlite:///greenchat.db", "local://")
    assert (settings.heartbeat_interval, settings.max_missed, settings.login_timeout) == (1.0, 5, 10.0)
    assert (settings.max_frame, settings.outbox_limit) == (65_536, 1_048_576)
    assert (settings.max_name, settings.max_password, settings.max_message) == (50, 128, 4_096)
    assert (settings.max_groupname, settings.max_groupdesc) == (50, 200)
    assert (settings.max_friends, settings.max_groups) == (2_000, 200)
    assert (settings.max_devices_online, settings.max_devices) == (8, 16)
    assert (settings.recall_seconds, settings.token_days) == (120.0, 30.0)
    assert settings.startup_timeout == 30.0


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_can_be_given_in_all_three_places(name: str, toml: Path) -> None:
    value = other(name)
    kind = type(getattr(Settings(), name))
    wanted = value == "true" if kind is bool else kind(value)
    toml.write_text(f"{name} = {value if kind is bool else repr(wanted)}\n")
    command_line = [value] if name == "port" else [option(name), value]
    if kind is bool:
        command_line = [option(name if wanted else f"no_{name}")]
    company = {"GREENCHAT_TLS_CERT": "file", "GREENCHAT_TLS_KEY": "file"} if name.startswith("tls") else {}
    company = {f"GREENCHAT_{PAIRS[name].upper()}": "a file"} if name in PAIRS else {}
    for arguments, environ in (
        (["--config", str(toml)], {}),
        ([], {"GREENCHAT_CONFIG": str(toml)}),
        ([], {f"GREENCHAT_{name.upper()}": value}),
        (command_line, {}),
    ):
        found = getattr(load(arguments, company | environ), name)
        assert (found, type(found)) == (wanted, type(wanted))


@pytest.mark.parametrize("name", ["port", "node", "max_missed", "heartbeat_interval"])
def test_the_command_line_wins_over_the_environment_and_that_over_the_file(name: str, toml: Path) -> None:
    kind = type(getattr(Settings(), name))
    toml.write_text(f"{name} = {kind('1')!r}\n")
    arguments, environ = ["--config", str(toml)], {f"GREENCHAT_{name.upper()}": "2"}
    assert getattr(load(arguments, {}), name) == kind("1")
    assert getattr(load(arguments, environ), name) == kind("2")
    arguments += ["3"] if name == "port" else [option(name), "3"]
    assert getattr(load(arguments, environ), name) == kind("3")


def test_a_switch_of_the_command_line_turns_on_and_off(toml: Path) -> None:
    toml.write_text("proxy_protocol = true\n")
    arguments, environ = ["--config", str(toml)], {"GREENCHAT_PROXY_PROTOCOL": "false"}
    assert load(arguments, {}).proxy_protocol is True
    assert load(arguments, environ).proxy_protocol is False
    assert load([*arguments, "--proxy-protocol", "7000"], environ).proxy_protocol is True
    assert load([*arguments, "--no-proxy-protocol"], {}).proxy_protocol is False


@pytest.mark.parametrize(
    ("listed", "networks"),
    [
        ("", ["127.0.0.0/8", "::1/128"]),
        ("10.1.0.0/16,10.2.0.3", ["10.1.0.0/16", "10.2.0.3/32"]),
        ("  fd00::/8 ,  192.0.2.0/24 ", ["fd00::/8", "192.0.2.0/24"]),
        ("0.0.0.0/0", ["0.0.0.0/0"]),
    ],
)
def test_the_networks_of_proxies_are_a_list_in_one_string(listed: str, networks: list[str]) -> None:
    environ = {"GREENCHAT_PROXY_FROM": listed} if listed else {}
    proxies = load(["--proxy-protocol"], environ).proxies
    assert [str(network) for network in proxies or ()] == networks
    assert load([], environ).proxies is None


def test_the_file_of_the_command_line_wins_over_that_of_the_environment(tmp_path: Path) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text("port = 1\n")
    two.write_text("port = 2\nnode = 'two'\n")
    settings = load(["--config", str(one)], {"GREENCHAT_CONFIG": str(two)})
    assert (settings.port, settings.node) == (1, f"{socket.gethostname()}-1")


def test_settings_of_different_sources_add_up(toml: Path) -> None:
    toml.write_text("# a comment\nmax_missed = 7\nhost = '::'\n")
    settings = load(["--admin", "localhost:1"], {"GREENCHAT_CONFIG": str(toml)})
    assert (settings.max_missed, settings.host, settings.admin) == (7, "::", "localhost:1")


def test_a_whole_number_in_the_file_does_where_a_float_is_meant(toml: Path) -> None:
    toml.write_text("heartbeat_interval = 2\n")
    interval = load(["--config", str(toml)], {}).heartbeat_interval
    assert (interval, type(interval)) == (2.0, float)


def test_an_empty_file_changes_nothing(toml: Path) -> None:
    toml.touch()
    assert load(["--config", str(toml)], {}) == load([], {})


def test_the_environments_other_variables_are_none_of_ours() -> None:
    assert load([], {"PORT": "1", "greenchat_port": "1", "XGREENCHAT_COLOUR": "x"}).port == 6000


@pytest.mark.parametrize("where", ["option", "environment", "file"])
def test_variables_of_other_programs_are_named_as_such(toml: Path, where: str) -> None:
    environ = {"GREENCHAT_COLOUR": "x", "GREENCHAT_BOT_TOKEN": "y", "GREENCHAT_BOT_NAME": "z"}
    names = "GREENCHAT_COLOUR, GREENCHAT_BOT_*"
    toml.write_text(f"foreign_variables = '{names}'\n")
    arguments = {"option": ["--foreign-variables", names], "file": ["--config", str(toml)]}.get(where, [])
    more = {"GREENCHAT_FOREIGN_VARIABLES": names} if where == "environment" else {}
    assert load(arguments, environ | more).foreign_variables == names
    assert wrong(arguments, environ | more | {"GREENCHAT_BO": "x"}).startswith("GREENCHAT_BO: ")


KUBERNETES = {
    "GREENCHAT_SERVICE_HOST": "10.0.0.1",
    "GREENCHAT_SERVICE_PORT": "6000",
    "GREENCHAT_SERVICE_PORT_CHAT_TLS": "6443",
    "GREENCHAT_PORT": "tcp://10.0.0.1:6000",
    "GREENCHAT_PORT_6000_TCP": "tcp://10.0.0.1:6000",
    "GREENCHAT_PORT_6000_TCP_PROTO": "tcp",
    "GREENCHAT_PORT_6000_TCP_PORT": "6000",
    "GREENCHAT_PORT_6000_TCP_ADDR": "10.0.0.1",
    "GREENCHAT_ADMIN_SERVICE_HOST": "10.0.0.2",
    "GREENCHAT_ADMIN_SERVICE_PORT": "9100",
    "GREENCHAT_ADMIN_PORT": "tcp://10.0.0.2:9100",
    "GREENCHAT_ADMIN_PORT_9100_TCP": "tcp://10.0.0.2:9100",
}
"""Variables that each container gets in a namespace with the services "greenchat" and "greenchat-admin"."""


@pytest.mark.parametrize(("arguments", "port"), [([], 6000), (["7000"], 7000)])
def test_kubernetes_variables_of_services_are_none_of_ours(arguments: list[str], port: int) -> None:
    settings = load(arguments, KUBERNETES)
    assert settings == load(arguments, {})
    assert settings.port == port


@pytest.mark.parametrize("value", ["many", "65536", "", "6000/tcp"])
def test_a_value_that_is_overruled_is_not_looked_at(toml: Path, value: str) -> None:
    toml.write_text(f"port = 5\nmax_missed = '{value}'\n")
    environ = {"GREENCHAT_PORT": value, "GREENCHAT_CONFIG": str(toml), "GREENCHAT_MAX_MISSED": "3"}
    settings = load(["7000"], environ)
    assert (settings.port, settings.max_missed) == (7000, 3)
    assert wrong([], environ).startswith(("GREENCHAT_PORT: ", "port: "))


# -- What is wrong


def wrong(arguments: list[str], environ: dict[str, str] | None = None) -> str:
    """Return what is said of settings that cannot be: one line, without a full stop."""
    with pytest.raises(ConfigError) as caught:
        load(arguments, environ or {})
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert not sentence.endswith(".")
    return sentence


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--colour"], "unrecognized arguments: --colour"),
        (["--max"], "unrecognized arguments: --max"),
        (["1", "2"], "unrecognized arguments: 2"),
        (["--node"], "argument --node: expected one argument"),
        (["x"], "PORT: int is needed, not 'x'"),
        (["1.5"], "PORT: int is needed, not '1.5'"),
        (["--max-missed", "x"], "--max-missed: int is needed, not 'x'"),
        (["--login-timeout", ""], "--login-timeout: float is needed, not ''"),
        (["65536"], "port: between 0 and 65535, not 65536"),
        (["--max-missed", "0"], "max-missed: at least 1, not 0"),
        (["--heartbeat-interval", "0.01"], "heartbeat-interval: between 0.05 and 3600, not 0.01"),
        (["--heartbeat-interval", "nan"], "heartbeat-interval: between 0.05 and 3600, not nan"),
        (["--max-message", "4097"], "max-message: between 1 and 4096, not 4097"),
        (["--log-level", "loud"], "log-level: one of debug, info, warning, error, not 'loud'"),
        (["--config", "/missing.toml"], "/missing.toml: No such file or directory"),
        (["--config", "/"], "/: Is a directory"),
        (
            ["--proxy-protocol=on"],
            "argument --proxy-protocol/--no-proxy-protocol: ignored explicit argument 'on'",
        ),
        (["--tls-cert", "cert.pem"], "tls-cert and tls-key: both are needed, or neither"),
        (["--tls-key", "key.pem", "--tls-cert", ""], "tls-cert and tls-key: both are needed, or neither"),
        (["--proxy-from", ""], "proxy-from: may not be empty"),
        (["--proxy-from", " , "], "proxy-from: may not be empty"),
        (["--proxy-from", "10.0.0.1/8"], "proxy-from: 10.0.0.1/8 has host bits set"),
        (
            ["--proxy-from", "10.0.0.0/8 all"],
            "proxy-from: 'all' does not appear to be an IPv4 or IPv6 network",
        ),
    ],
)
def test_a_wrong_option_is_named(arguments: list[str], sentence: str) -> None:
    assert wrong(arguments) == sentence


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("PORT", "x", "GREENCHAT_PORT: int is needed, not 'x'"),
        ("PORT", "-1", "port: between 0 and 65535, not -1"),
        ("PROXY_PROTOCOL", "1", "GREENCHAT_PROXY_PROTOCOL: true or false is needed, not '1'"),
        ("PROXY_PROTOCOL", "", "GREENCHAT_PROXY_PROTOCOL: true or false is needed, not ''"),
        ("LOG_LEVEL", "", "log-level: one of debug, info, warning, error, not ''"),
        ("CONFIG", "/missing.toml", "/missing.toml: No such file or directory"),
    ],
)
def test_a_wrong_variable_is_named(name: str, value: str, sentence: str) -> None:
    assert wrong([], {f"GREENCHAT_{name}": value}) == sentence


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("STROE", " (is GREENCHAT_STORE meant?)"),
        ("STORE_URL", " (is GREENCHAT_STORE meant?)"),
        ("CONFIG_FILE", " (is GREENCHAT_CONFIG meant?)"),
        ("MAX-MISSED", " (is GREENCHAT_MAX_MISSED meant?)"),
        ("store", " (is GREENCHAT_STORE meant?)"),
        ("ADMIN_PORT", " (is GREENCHAT_ADMIN meant?)"),
        ("X", ""),
        ("", ""),
    ],
)
def test_a_variable_that_is_no_setting_is_told_with_what_was_meant(name: str, meant: str) -> None:
    said = wrong(["7000"], {f"GREENCHAT_{name}": "9"})
    assert said == (
        f"GREENCHAT_{name}: there is no such setting{meant};"
        " variables of other programs are named in GREENCHAT_FOREIGN_VARIABLES"
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"stroe = 'x'", "FILE: there is no setting 'stroe' (is 'store' meant?)"),
        (b"port = '1'", "FILE: port: int is needed, not '1'"),
        (b"port = true", "FILE: port: int is needed, not True"),
        (b"port = 1.0", "FILE: port: int is needed, not 1.0"),
        (b"node = 1", "FILE: node: str is needed, not 1"),
        (b"token_days = false", "FILE: token_days: float is needed, not False"),
        (b"proxy_protocol = 1", "FILE: proxy_protocol: true or false is needed, not 1"),
        (b"proxy_protocol = 'true'", "FILE: proxy_protocol: true or false is needed, not 'true'"),
        (b"colour = 1", "FILE: there is no setting 'colour'"),
        (b"config = 'x'", "FILE: there is no setting 'config'"),
        (b"[server]", "FILE: there is no setting 'server'"),
        (b"port = 65536", "port: between 0 and 65535, not 65536"),
        (b"login_timeout = nan", "login-timeout: between 0.1 and 3600, not nan"),
    ],
)
def test_a_wrong_line_of_the_file_is_named(toml: Path, text: bytes, sentence: str) -> None:
    toml.write_bytes(text + b"\n")
    assert wrong(["--config", str(toml)]).replace(str(toml), "FILE") == sentence


@pytest.mark.parametrize("text", [b"port", b"port = ", b"port = 1\nport = 2", b"\xff", b"port = 1\0"])
def test_a_file_that_is_no_toml_is_told(toml: Path, text: bytes) -> None:
    toml.write_bytes(text)
    assert wrong(["--config", str(toml)]).startswith(f"{toml}: not TOML: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("heartbeat_interval", "inf"),  # LOGIN_ACK has to say it, and JSON cannot
        ("token_days", "inf"),
        ("token_days", "1e18"),  # the end of a token has to fit 64 bits
    ],
)
def test_a_number_that_cannot_be_worked_with_is_no_setting(name: str, value: str) -> None:
    assert wrong([option(name), value]).startswith(name.replace("_", "-"))


def test_a_number_beyond_all_floats_is_told_with_its_name(toml: Path) -> None:
    toml.write_text(f"login_timeout = 1{'0' * 400}\n")
    assert "login" in wrong(["--config", str(toml)])


# -- Help


def test_help_names_every_setting_and_its_default(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load(["--help"], {})
    assert caught.value.code == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for name in NAMES:
        assert ("PORT" if name == "port" else option(name)) in text
        default = getattr(Settings(), name)
        shown = str(default).lower() if isinstance(default, bool) else default
        assert shown == "" or f"(default: {shown})" in text


def test_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load(["--version"], {})
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"greenchat {__version__}\n"
