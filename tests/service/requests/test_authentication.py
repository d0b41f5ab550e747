"""Authentication apart from coming online: whatever proves a user, no device comes online or goes offline."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from greenchat.errors import BadCredentials, BadRequest, RateLimited
from greenchat.protocol.messages import MsgId
from greenchat.service.requests.authentication import Credentials, Proof, authenticate
from tests.service.cluster import Cluster
from tests.service.world import World, presence

HERE = "203.0.113.5:1000"


def prove(world: World, **claim: Any) -> Proof:
    """Authenticate as a caller does that is no connection."""
    proof = authenticate(world.service, Credentials(**claim), HERE)
    proof.bill.pay()
    return proof


def marks(world: World) -> list[tuple[object, ...]]:
    """Return where the database shows users and devices online, and when they logged in last."""
    users = text("SELECT id, state, node, last_seen FROM User ORDER BY id")
    devices = text("SELECT userid, device, generation, node, last_login FROM Device ORDER BY userid, device")
    return world.store.read(
        lambda db: [tuple(row) for statement in (users, devices) for row in db.execute(statement)]
    )


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """A node on which bob is a friend of ann, who has been there with a phone."""
    world = make_world(login_failures=2)
    ann, bob = world.users("ann", "bob")
    bob.ok(MsgId.ADD_FRIEND, friendid=ann.id)
    ann.leave()
    world.log_in(ann, device="phone").leave()
    world.commit()
    return world


@pytest.fixture
def token(world: World) -> str:
    """A token of ann's phone."""
    phone = world.log_in(1, device="phone")
    phone.leave()
    world.commit()
    return phone.token


@pytest.mark.parametrize("by", ["id", "name", "token"])
def test_a_user_who_is_offline_stays_offline(world: World, token: str, by: str) -> None:
    bob = world.log_in(2, force=True)
    claim: dict[str, Any] = {"token": token} if by == "token" else {"password": "pw"}
    user: dict[str, dict[str, Any]] = {"id": {"id": 1}, "name": {"name": "ann"}, "token": {}}
    before = marks(world)
    account = prove(world, **claim, **user[by]).account
    world.commit()
    assert (account.id, account.name) == (1, "ann")
    assert list(world.service.hub.users()) == [bob.id]
    assert presence(bob) == []
    assert marks(world) == before


@pytest.mark.parametrize("by", ["password", "token"])
def test_the_session_of_the_same_device_goes_on(world: World, by: str) -> None:
    phone = world.log_in(1, device="phone")
    claim = {"token": phone.token} if by == "token" else {"password": "pw"}
    before = marks(world)
    for _ in range(10):
        prove(world, id=1, device="phone", **claim)
    world.commit()
    assert phone.peer.closed is None
    assert world.service.hub.of(1) == (phone.session,)
    assert phone.pushed() == []
    assert marks(world) == before
    phone.ok(MsgId.ONE_CHAT, toid=2, msg="hi")


def test_a_session_at_another_node_goes_on(cluster: Cluster) -> None:
    ann = cluster["a"].user("ann")
    prove(cluster["b"], name="ann", password="pw")
    cluster.run()
    cluster.pass_time(2)
    assert ann.peer.closed is None
    assert cluster["b"].service.hub.of(ann.id) == ()
    assert set(cluster["c"].service.bus.nodes((ann.id,))) == {"a"}


def test_a_token_is_good_for_its_own_device_only(world: World, token: str) -> None:
    assert prove(world, token=token).account.id == 1
    assert prove(world, token=token, device="phone").account.id == 1
    for device in ("", "tablet"):
        with pytest.raises(BadCredentials):
            prove(world, token=token, device=device)


def test_a_token_that_has_ended_proves_nothing(world: World, token: str) -> None:
    world.log_in(1, device="phone").ok(MsgId.LOGINOUT)
    with pytest.raises(BadCredentials):
        prove(world, token=token)


@pytest.mark.parametrize(
    "claim",
    [
        {},
        {"password": "pw"},
        {"id": 1, "name": "ann", "password": "pw"},
        {"id": 1, "password": "pw", "token": "x"},
        {"id": 1, "password": ""},
    ],
)
def test_a_claim_names_one_user_and_one_proof(world: World, claim: dict[str, Any]) -> None:
    with pytest.raises(BadRequest):
        prove(world, **claim)


def test_wrong_passwords_count_together_with_those_of_logins(world: World) -> None:
    for _ in range(2):
        with pytest.raises(BadCredentials):
            prove(world, id=1, password="wrong")
    world.connect(address="198.51.100.1:1").refused(1, MsgId.LOGIN, id=1, password="wrong")
    with pytest.raises(RateLimited):
        prove(world, id=1, password="pw")


def test_authentications_of_an_account_are_limited_and_paid_like_requests(world: World) -> None:
    unpaid = [authenticate(world.service, Credentials(id=1, password="pw"), HERE) for _ in range(8)]
    with pytest.raises(RateLimited):
        prove(world, id=1, password="pw")
    assert prove(world, id=2, password="pw").account.id == 2
    for proof in unpaid:
        proof.bill.pay()
    for _ in range(100):
        prove(world, id=1, password="pw")


def test_a_proof_shows_whether_the_password_was_changed_since(world: World) -> None:
    by_password = prove(world, id=1, password="pw")
    state = world.store.open_device(1, "phone", world.service.node, world.service.now())
    by_token = prove(world, token=world.service.tokens.issue(1, "phone", state.generation))
    assert not by_password.has_changed(state)
    assert not by_token.has_changed(state)
    world.store.close_device(1, "phone", world.service.node, world.service.now())
    world.commit()
    world.log_in(1).ok(MsgId.CHANGE_PASSWORD, old="pw", new="new")
    state = world.store.open_device(1, "phone", world.service.node, world.service.now())
    assert by_password.has_changed(state)
    assert by_token.has_changed(state)


def test_a_failure_is_in_the_log_with_the_address(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "greenchat.accounts")
    with pytest.raises(BadCredentials):
        prove(world, id=1, password="wrong", device="phone")
    with pytest.raises(BadCredentials):
        prove(world, name="nobody", password="s3cret")
    assert [record.getMessage() for record in caplog.records] == [
        f"login failed: user=1 name='ann' device='phone' from={HERE} node=n",
        f"login failed: user=unknown from={HERE} node=n",
    ]


# -- Editions


@pytest.mark.parametrize("edition", [2, 3, 2**31 - 1])
def test_a_client_that_knows_the_second_edition_is_told_it_and_the_limits(world: World, edition: int) -> None:
    ack = world.connect().login(name="ann", edition=edition)
    assert ack["edition"] == 2
    assert ack["limits"] == {"max_message": 4096, "recall_seconds": 120.0}


@pytest.mark.parametrize("asked", [{}, {"edition": 1}])
def test_a_client_of_the_first_edition_is_told_nothing_new(world: World, asked: dict[str, int]) -> None:
    ack = world.connect().login(name="ann", **asked)
    assert list(ack) == FIRST_EDITION


FIRST_EDITION = [
    "msgid", "errno", "cid", "id", "name", "token", "heartbeat", "server", "friends", "groups", "offlinemsg",
    "more",
]  # fmt: skip


@pytest.mark.parametrize("edition", [0, -1, 2**31, 1.5, "2", True, [2]])
def test_an_edition_that_is_no_number_of_one_is_refused(world: World, edition: object) -> None:
    reply = world.connect().refused(3, MsgId.LOGIN, name="ann", password="pw", edition=edition)
    assert "edition" in reply["errmsg"]
