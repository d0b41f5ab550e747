"""Hooks of a real server: what comes in, what goes out, and what the operator is told."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlencode

import pytest

from lab.servers.program import free_port
from tests.system.hooks import OPTIONS, SOCKET, Receiver, admin, done, post, until
from tests.system.server import Client, Server, get, join

REG, ONE_CHAT, CREATE_GROUP, GROUP_CHAT, RECALL, LEAVE_GROUP, FIND = 4, 6, 8, 10, 17, 21, 30

HOOKS = (
    r"INFO greenchat\.server\.hooks: hook \d+ (was made: .*|of '.*': \w+ by the operator)",
    r"INFO greenchat\.accounts: logged in: user=\d+ name='\w+' device='hook-[0-9a-f]+' from=hook-\d+ .*",
)
FAILS = r"WARNING greenchat\.outgoing\.sender: hook \d+: .*; it is tried again"
OFF = r"ERROR greenchat\.outgoing\.hooks: hook \d+ of 'echo' is switched off: .*"


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path / "receiver")
    receiver.start()
    yield receiver
    receiver.stop()


@pytest.fixture
def server(start: Callable[..., Server]) -> Server:
    pages = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    return start(*OPTIONS, "--web", pages[0], "--admin", pages[1], expected=(*HOOKS, FAILS, OFF))


def web(server: Server) -> str:
    address = server.options[server.options.index("--web") + 1]
    return f"http://{address}"


def bot(client: Client, name: str = "echo") -> int:
    found: int = client.done(FIND, name=name)["user"]["id"]
    return found


# -- Incoming


def test_programs_post_to_a_group_and_to_a_user(server: Server) -> None:
    with join(server, "ann") as ann, join(server, "bob") as bob:
        groupid = ann.done(CREATE_GROUP, groupname="ops")["groupid"]
        to_group = web(server) + done(server.folder, "hook", "add-in", "--bot", "alerts", "--group", "ops")
        to_bob = web(server) + done(server.folder, "hook", "add-in", "--bot", "cron", "--user", "bob")

        status, text, headers = post(to_group, b'{"text":"disk &gt; 90 % <https://a.example|here>"}')
        assert (status, text) == (200, "ok")
        assert headers["x-content-type-options"] == "nosniff"
        message = ann.wait(msgid=GROUP_CHAT)
        assert message["msg"] == "disk > 90 % here (https://a.example)"
        assert (message["name"], message["groupid"], message["seq"]) == ("alerts", groupid, 1)

        payload = {"attachments": [{"title": "backup", "fields": [{"title": "Host", "value": "db1"}]}]}
        form = urlencode({"payload": json.dumps(payload)}).encode()
        assert post(to_bob, form, "application/x-www-form-urlencoded")[:2] == (200, "ok")
        assert bob.wait(msgid=ONE_CHAT)["msg"] == "backup\nHost: db1"
        assert post(to_bob, b'{"text":"' + b"x" * 5000 + b'"}')[0] == 200
        assert bob.wait(msgid=ONE_CHAT)["msg"] == "x" * 4095 + "…"

        for body, wanted in ((b"nonsense", 400), (b"{}", 400), (b'{"text":""}', 400), (b"x" * 300_000, 413)):
            assert post(to_bob, body)[0] == wanted
        assert post(f"{web(server)}/hooks/{'x' * 32}", b'{"text":"hi"}')[0] == 404
        bob.done(19, userid=bot(bob, "cron"))  # BLOCK
        status, text, _ = post(to_bob, b'{"text":"are you there?"}')
        assert (status, json.loads(text)["error"]) == (403, "blocked")

    codes = [url.rpartition("/")[2].encode() for url in (to_group, to_bob)]
    kept = [path.read_bytes() for path in server.folder.iterdir() if path.is_file()]
    assert [code for code in codes if any(code in data for data in kept)] == []  # neither log nor database


def test_an_incoming_hook_takes_thirty_messages_a_minute(server: Server) -> None:
    with join(server, "ann"):
        url = web(server) + done(server.folder, "hook", "add-in", "--bot", "cron", "--user", "ann")
        other = web(server) + done(server.folder, "hook", "add-in", "--bot", "cron", "--user", "ann")
        assert {post(url, b'{"text":"hi"}')[0] for _ in range(30)} == {200}
        status, text, headers = post(url, b'{"text":"hi"}')
        assert (status, json.loads(text)["error"]) == (429, "rate_limited")
        assert 0 < int(headers["retry-after"]) <= 60
        assert post(other, b'{"text":"hi"}')[0] == 200


def test_a_removed_hook_is_not_there(server: Server) -> None:
    with join(server, "ann"):
        url = web(server) + done(server.folder, "hook", "add-in", "--bot", "cron", "--user", "ann")
        assert post(url, b'{"text":"hi"}')[0] == 200
        assert done(server.folder, "hook", "remove", 1) == "hook 1: removed"
        assert post(url, b'{"text":"hi"}')[0] == 404


# -- Outgoing


def test_a_hook_delivers_what_its_bot_gets_and_nothing_else(server: Server, receiver: Receiver) -> None:
    with join(server, "ann") as ann:
        groupid = ann.done(CREATE_GROUP, groupname="ops")["groupid"]
        ann.done(GROUP_CHAT, groupid=groupid, msg="before the bot came")
        command = ("hook", "add-out", "--bot", "echo", "--group", "ops", receiver.url)
        secret = done(server.folder, *command)
        url = web(server) + done(server.folder, "hook", "add-in", "--bot", "echo", "--group", "ops")
        ann.done(GROUP_CHAT, groupid=groupid, msg="grüße 🦀")
        assert post(url, b'{"text":"the bot\'s own"}')[0] == 200
        ann.done(RECALL, groupid=groupid, target=2)
        ann.done(ONE_CHAT, toid=bot(ann), msg="psst")
        until(lambda: len(receiver.got) == 3)
        by_id = {line["headers"]["webhook-id"]: json.loads(line["body"]) for line in receiver.got}
        pair = "u{}-{}".format(*sorted((ann.id, bot(ann))))
        assert set(by_id) == {f"g{groupid}-2", f"g{groupid}-4", f"{pair}-1"}
        first = by_id[f"g{groupid}-2"]
        assert (first["msg"], first["name"], first["msgid"]) == ("grüße 🦀", "ann", GROUP_CHAT)
        assert by_id[f"g{groupid}-4"]["target"] == 2
        assert by_id[f"{pair}-1"]["msg"] == "psst"
        receiver.check_signatures(secret)
        assert receiver.got[0]["path"] == "/greenchat?key=s3cret"
        assert receiver.got[0]["headers"]["content-type"] == "application/json"
        page = server.options[server.options.index("--admin") + 1]
        port = int(str(page).rpartition(":")[2])
        until(lambda: 'outgoing_hook_deliveries_total{result="delivered"} 3.0' in get(port, "/metrics")[1])
        text = get(port, "/metrics")[1]
        assert "greenchat_outgoing_hooks 1.0" in text
        assert 'greenchat_incoming_hook_messages_total{result="ok"} 1.0' in text
    shown = server.log.read_text() + done(server.folder, "hook", "list")
    assert "s3cret" not in shown
    assert secret not in shown


def test_kills_lose_nothing_and_repeat_only_what_had_no_answer(server: Server, receiver: Receiver) -> None:
    """The last entry of a conversation may come again after a kill, and no other one."""
    secret = done(server.folder, "hook", "add-out", "--bot", "echo", receiver.url)
    sent = 0
    with join(server, "ann") as ann:
        toid = bot(ann)

    def say(count: int) -> None:
        nonlocal sent
        with Client(server) as ann:
            ann.login(name="ann", password="pw", force=True)
            for _ in range(count):
                sent += 1
                ann.send(ONE_CHAT, toid=toid, msg=f"{sent}", cid=f"m{sent}")
            ann.wait(cid=f"m{sent}", errno=0)

    for victim in ("server", "receiver", "both"):
        before = len(receiver.got)
        say(40)
        until(partial(_has_more, receiver, before + 5))  # in the middle of it
        if victim != "receiver":
            server.kill()
        if victim != "server":
            receiver.kill()
        if victim != "receiver":
            server.start()
        else:
            say(5)  # while nobody takes it
        if victim != "server":
            receiver.start()
    say(5)
    until(lambda: len(set(receiver.ids)) == sent)
    until(lambda: len(receiver.lines("answered")) >= sent)
    seqs = [int(id.rpartition("-")[2]) for id in receiver.ids]
    assert sorted(set(seqs)) == list(range(1, sent + 1))
    firsts = list(dict.fromkeys(seqs))
    assert firsts == sorted(firsts)
    repeated = [(before, seq) for before, seq in pairwise(seqs) if seq <= before]
    assert all(before == seq for before, seq in repeated), "only the last one comes again"
    assert len(repeated) <= 3  # one for each kill
    receiver.check_signatures(secret)


def _has_more(receiver: Receiver, count: int) -> bool:
    return len(receiver.got) > count


def test_what_came_while_the_receiver_failed_follows_in_order(server: Server, receiver: Receiver) -> None:
    done(server.folder, "hook", "add-out", "--bot", "echo", receiver.url)
    receiver.answer(500)
    with join(server, "ann") as ann:
        toid = bot(ann)
        for number in range(1, 41):
            ann.done(ONE_CHAT, toid=toid, msg=f"{number}")
        until(lambda: len(receiver.got) >= 2)
        assert "failing: status 500 since " in done(server.folder, "hook", "list")
        ann.done(RECALL, peerid=toid, target=1)
        receiver.answer(200)
        until(lambda: len(set(receiver.ids)) == 41)
    taken = [json.loads(line["body"]) for line in receiver.got if line["status"] == 200]
    assert [entry["seq"] for entry in taken] == list(range(1, 42))
    assert taken[0].get("recalled") is True
    assert "msg" not in taken[0]


def test_410_switches_a_hook_off_until_the_operator_enables_it(server: Server, receiver: Receiver) -> None:
    done(server.folder, "hook", "add-out", "--bot", "echo", receiver.url)
    receiver.answer(410)
    with join(server, "ann") as ann:
        toid = bot(ann)
        for number in (1, 2):
            ann.done(ONE_CHAT, toid=toid, msg=f"{number}")
        until(lambda: "off: status 410" in done(server.folder, "hook", "list"))
        until(lambda: "switched off: status 410" in server.log.read_text())
        assert len(receiver.got) == 1
        receiver.answer(200)
        assert done(server.folder, "hook", "enable", 1) == "hook 1: enabled"
        until(lambda: len(receiver.got) == 3)
        assert [json.loads(line["body"])["msg"] for line in receiver.got] == ["1", "1", "2"]
        assert done(server.folder, "hook", "disable", 1) == "hook 1: disabled"
        ann.done(ONE_CHAT, toid=toid, msg="3")
        assert "off: by the operator" in done(server.folder, "hook", "list")
        assert done(server.folder, "hook", "enable", 1) == "hook 1: enabled"
        until(lambda: len(receiver.got) == 4)


def test_days_of_failure_switch_a_hook_off(start: Callable[..., Server], receiver: Receiver) -> None:
    server = start(*OPTIONS, "--hook-days", 0, expected=(*HOOKS, FAILS, OFF))
    done(server.folder, "hook", "add-out", "--bot", "echo", receiver.url)
    receiver.answer(302)
    with join(server, "ann") as ann:
        ann.done(ONE_CHAT, toid=bot(ann), msg="hi")
        until(lambda: "off: status 302: redirects are not followed" in done(server.folder, "hook", "list"))
        until(lambda: "switched off" in server.log.read_text())


def test_a_bot_that_is_taken_out_of_a_group_is_sent_no_more_of_it(server: Server, receiver: Receiver) -> None:
    with join(server, "ann") as ann, Client(server) as echo:
        groupid = ann.done(CREATE_GROUP, groupname="ops")["groupid"]
        echo.done(REG, name="echo", password="pw")
        echo.login(name="echo", password="pw")
        arguments = ("hook", "add-out", "--bot", "echo", "--account", "--group", "ops", receiver.url)
        done(server.folder, *arguments)
        receiver.answer(500)
        ann.done(GROUP_CHAT, groupid=groupid, msg="secret")
        until(lambda: len(receiver.got) >= 1)
        echo.done(LEAVE_GROUP, groupid=groupid)
        receiver.answer(200)
        ann.done(GROUP_CHAT, groupid=groupid, msg="more secrets")
        ann.done(ONE_CHAT, toid=echo.id, msg="hi")
        until(lambda: any(line["status"] == 200 for line in receiver.got))
        taken = [json.loads(line["body"])["msg"] for line in receiver.got if line["status"] == 200]
        assert taken == ["hi"]


# -- The operator


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("hook", "add-in", "--bot", "b", "--group", "nowhere"), 1, "there is no group 'nowhere'"),
        (("hook", "add-in", "--bot", "b", "--user", "nobody"), 1, "there is no user 'nobody'"),
        (("hook", "add-in", "--bot", "b"), 2, "--group --user is required"),
        (("hook", "add-in", "--bot", "ann", "--user", "ann"), 1, "'ann' is an account with a password"),
        (("hook", "add-in", "--bot", "me", "--user", "ann"), 1, "name: "),
        (("hook", "add-out", "--bot", "b", "ftp://a.example/"), 1, "the URL must begin with https://"),
        (("hook", "add-out", "--bot", "b", "https://10.1.2.3/"), 1, "setting hook_private"),
        (("hook", "add-out", "--bot", "b", "https://nowhere.invalid/"), 1, "nowhere.invalid has no address"),
        (("hook", "add-out", "--bot", "b", "--group", "x", "http://127.0.0.1/"), 1, "there is no group 'x'"),
        (("hook", "remove", 7), 1, "there is no hook 7"),
        (("hook", "remove", "x"), 2, "invalid int value: 'x'"),
        (("hook",), 2, "required: COMMAND"),
        ((), 2, "required: SUBJECT"),
        (("hook", "rename"), 2, "invalid choice: 'rename'"),
    ],
)
def test_mistakes_are_told_in_one_line(
    told: Path, arguments: tuple[object, ...], status: int, said: str
) -> None:
    code, out, error = admin(told, *arguments)
    assert (code, out) == (status, "")
    assert error.startswith("greenchat-admin")
    assert said in error
    assert error.count("\n") == 1


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a server that ann is registered at."""
    folder = tmp_path_factory.mktemp("told")
    server = Server(folder, *OPTIONS, expected=HOOKS)
    with join(server, "ann"):
        pass
    yield folder
    server.close()


def test_the_socket_is_the_servers_users_alone_and_goes_with_it(server: Server) -> None:
    path = server.folder / SOCKET
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    server.kill()
    assert path.exists()
    code, _, error = admin(server.folder, "hook", "list")
    assert (code, "no server listens on" in error, error.count("\n")) == (1, True, 1)
    server.start()  # takes the place of the one that was killed
    assert done(server.folder, "hook", "list").startswith("ID")
    assert server.stop() == 0
    assert not path.exists()
    server.start()


def test_help_names_every_command(tmp_path: Path) -> None:
    for arguments in (
        ("--help",),
        ("hook", "--help"),
        ("hook", "add-in", "--help"),
        ("hook", "add-out", "-h"),
    ):
        code, out, error = admin(tmp_path, *arguments)
        assert (code, error) == (0, "")
        assert out.startswith("usage: greenchat-admin")
    assert all(
        name in admin(tmp_path, "hook", "-h")[1] for name in ("add-in", "add-out", "list", "remove", "enable")
    )
