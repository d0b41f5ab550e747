"""Messages in a cluster: whatever node people and their devices are at, it is as if there were one."""

from __future__ import annotations

import pytest

from greenchat.protocol.messages import MsgId
from tests.service.cluster import Cluster, people


def test_a_message_goes_to_all_devices_of_both_wherever_they_are(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    tablet, phone = cluster["c"].log_in(ann, device="tablet"), cluster["a"].log_in(bob, device="phone")
    ann.chat(bob, "hi", cid="mine")
    for person in (tablet, bob, phone):
        (frame,) = person.pushed()
        assert (frame["id"], frame["toid"], frame["msg"], frame["seq"]) == (ann.id, bob.id, "hi", 1)
        assert frame.get("cid") == ("mine" if person is tablet else None)
    assert ann.pushed() == []


def test_a_chat_to_oneself_goes_to_ones_other_devices(cluster: Cluster) -> None:
    ann, _, _ = people(cluster)
    phone = cluster["b"].log_in(ann, device="phone")
    assert ann.chat(ann) == 1
    assert phone.chat(ann) == 2
    assert (ann.live(), phone.live()) == ([2], [1])


def test_recalls_typing_and_read_marks_go_everywhere(cluster: Cluster) -> None:
    ann, bob, _ = people(cluster)
    phone = cluster["c"].log_in(bob, device="phone")
    ann.chat(bob)
    ann.send(MsgId.TYPING, toid=bob.id)
    ann.ok(MsgId.RECALL, peerid=bob.id, target=1)
    for person in (bob, phone):
        assert [frame["msgid"] for frame in person.pushed()] == [6, 26, 17]
    bob.send(MsgId.READ, peerid=ann.id, seq=1)
    assert [frame["msgid"] for frame in (*ann.pushed(), *phone.pushed())] == [27, 27]


def test_a_classic_client_gets_its_messages_from_other_nodes(cluster: Cluster) -> None:
    ann, _, _ = people(cluster)
    dan = cluster["a"].absent("dan")
    ann.chat(dan)
    classic = cluster["b"].connect(classic=True)
    classic.send(MsgId.LOGIN, id=dan.id, password="pw")
    assert [frame["msgid"] for frame in classic.pushed()] == [MsgId.LOGIN_ACK]
    ann.chat(dan)
    ann.ok(MsgId.RECALL, peerid=dan.id, target=2)
    ann.chat(dan)
    assert [(frame["msgid"], frame["seq"]) for frame in classic.pushed()] == [(6, 2), (6, 4)]
    classic.leave()
    cluster.pass_time(1)
    assert cluster["c"].log_in(dan).ack["offlinemsg"] == []


@pytest.mark.parametrize("blocks", [True, False])
def test_a_block_holds_at_all_nodes_at_once(cluster: Cluster, blocks: bool) -> None:
    ann, bob, _ = people(cluster)
    bob.chat(ann)  # node b remembers that it may
    ann.ok(MsgId.BLOCK, userid=bob.id)
    if not blocks:
        bob.refused(10, MsgId.ONE_CHAT, toid=ann.id, msg="hi")
        ann.ok(MsgId.UNBLOCK, userid=bob.id)
    assert bob.ask(MsgId.ONE_CHAT, toid=ann.id, msg="hi")["errno"] == (10 if blocks else 0)
