"""What test_machine.py holds against the service: what each device was promised, and what it has."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, NamedTuple

from greenchat.protocol.messages import MsgId
from tests.service.world import LOG_FRAMES, Person


class Place(NamedTuple):
    """An entry of the log."""

    conversation: int
    seq: int


def conversation_of(frame: dict[str, Any], reader: int) -> int:
    """Return whose log an entry is from."""
    if "groupid" in frame:
        return -int(frame["groupid"])
    other = frame.get("peerid") or (frame["toid"] if frame["id"] == reader else frame["id"])
    return pair(reader, other)


def pair(one: int, other: int) -> int:
    """Return the conversation of two users."""
    return min(one, other) << 32 | max(one, other)


class Device:
    """A device of a user, over all its connections.

    Attributes:
        has: the entries that it has seen, or sent and saw acknowledged.
        sent: those of them that it sent.
        texts: what the messages said.
        low: up to where it is sure to have been offered each conversation: nothing below comes again.
        high: from where on it must be offered each conversation.
        told: up to where it acknowledged each conversation: above ``low`` only where that may not have
            counted, as a leaving was in doubt.  What lies between may come again, or not.
        token: the newest.
        token_holds: no logout or change of the password has ended it.
    """

    def __init__(self, userid: int, name: str, others: list[Device]) -> None:
        self.userid = userid
        self.name = name
        self.has: set[Place] = set()
        self.sent: set[Place] = set()
        self.texts: dict[Place, str] = {}
        self.low: dict[int, int] = defaultdict(int)
        self.high: dict[int, int] = defaultdict(int)
        self.told: dict[int, int] = defaultdict(int)
        self.token = ""
        self.token_holds = False
        for other in others:
            for conversation, seq in list(other.low.items()):
                self.low[conversation] = max(self.low[conversation], seq)
        self.start(others)

    def start(self, others: list[Device]) -> None:
        """Take note that a new device starts where the most advanced of the others stands."""
        for other in others:
            for conversation in {place.conversation for place in other.sent} | other.low.keys():
                self.high[conversation] = max(self.high[conversation], other.reached(conversation))

    def reached(self, conversation: int) -> int:
        """Return how far the cursor may stand: RECEIVED, and own messages that follow directly."""
        seq = max(self.low[conversation], self.high[conversation])
        while Place(conversation, seq + 1) in self.sent:
            seq += 1
        return seq

    def joined(self, conversation: int, seq: int) -> None:
        """Take note that the user joined a group, perhaps again."""
        self.low[conversation] = self.high[conversation] = seq


class Link:
    """A connection of a device, and what must hold for each frame that comes over it.

    Attributes:
        last: the last seq of each conversation that came.
        floor: nothing up to here may come.
        ceiling: of the groups that the user left, nothing behind this may come.
        owed: what the pages must still offer, because it was never acknowledged.
        more: whether the last page said so.
        replies: what came of requests, to be looked into.
        answer: the last answer to anything but a message.
        friends: how the friends are, as far as was told.
    """

    def __init__(self, person: Person, device: Device, owed: set[Place]) -> None:
        self.person = person
        self.device = device
        self.last: dict[int, int] = defaultdict(int)
        self.floor = dict(device.low)
        self.ceiling: dict[int, int] = {}
        self.owed = owed
        self.more = False
        self.replies: list[dict[str, Any]] = []
        self.answer: dict[str, Any] = {}
        self.friends: dict[int, str] = {}
        self._recalled: set[Place] = set()

    @property
    def alive(self) -> bool:
        """Whether the connection stands."""
        return self.person.peer.closed is None

    def joined(self, conversation: int, seq: int) -> None:
        """Take note that the user joined a group, perhaps again."""
        self.floor[conversation] = seq
        self.ceiling.pop(conversation, None)
        self.left(conversation)

    def left(self, conversation: int) -> None:
        """Take note that the user left a group: what was missed of it is owed no more."""
        self.owed = {place for place in self.owed if place.conversation != conversation}

    def read(self, acked: dict[str, int], conversations: dict[str, int], recalled: set[Place]) -> None:
        """Take in all that came, in order.

        Args:
            acked: the seq of each cid whose message is stored; grows.
            conversations: where the message of each cid went.
            recalled: the messages that were recalled before any of it was asked for.
        """
        frames, self.person.peer.frames = self.person.peer.frames, []
        for frame in frames:
            if frame["msgid"] in LOG_FRAMES:
                self._see(frame)
            elif "offlinemsg" in frame:
                self.friends |= {friend["id"]: friend["state"] for friend in frame.get("friends", ())}
                for entry in frame["offlinemsg"]:
                    self._see(entry)
                    place = Place(conversation_of(entry, self.device.userid), entry["seq"])
                    assert "msg" not in entry or place not in recalled, f"a page has {place}, recalled"
                self.more = frame["more"]
            elif frame["msgid"] == MsgId.PRESENCE:
                self.friends[frame["id"]] = frame["state"]
            elif frame.get("cid") in conversations:
                self._answer(frame, acked, conversations[frame["cid"]])
        assert self.more or not self.owed, f"{self.owed} were never offered again"

    def _answer(self, frame: dict[str, Any], acked: dict[str, int], conversation: int) -> None:
        cid = frame["cid"]
        if frame["errno"]:
            self.replies.append(frame)
            return
        assert acked.setdefault(cid, frame["seq"]) == frame["seq"], f"{cid} got another seq"
        place = Place(conversation, frame["seq"])
        self.device.has.add(place)
        self.device.sent.add(place)

    def _see(self, frame: dict[str, Any]) -> None:
        device, seq = self.device, frame["seq"]
        conversation = conversation_of(frame, device.userid)
        place = Place(conversation, seq)
        assert seq > self.last[conversation], f"{place} came after {self.last[conversation]}"
        floor, ceiling = self.floor.get(conversation, 0), self.ceiling.get(conversation, seq)
        if conversation < 0 and frame["id"] == device.userid and not floor < seq <= ceiling:
            return  # it was under way while its sender left or joined
        assert seq > floor, f"{place} came again, or from before the joining"
        assert seq <= ceiling, f"{place} came after the leaving"
        missing = [
            n for n in range(device.high[conversation] + 1, seq) if (conversation, n) not in device.has
        ]
        assert not missing, f"{place} came to {device.userid}/{device.name} without {missing}"
        self.last[conversation] = seq
        device.has.add(place)
        self.owed.discard(place)
        if frame["msgid"] == MsgId.RECALL:
            self._recalled.add(Place(conversation, frame["target"]))
        if "msg" in frame:
            assert place not in self._recalled, f"{place} came after its recall"
            assert device.texts.setdefault(place, frame["msg"]) == frame["msg"]

    def received(self, conversation: int, seq: int, surely: bool) -> None:
        """Take note that the device acknowledged what came, and if it is sure that this counts."""
        device = self.device
        device.told[conversation] = max(seq, device.told[conversation])
        if surely:
            device.low[conversation] = max(seq, device.low[conversation])
