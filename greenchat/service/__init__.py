"""The rules of the chat: accounts, friends, groups, messages.  It knows no sockets, no SQL, no gevent.

In: ``Session(service, peer, wire)``, then ``session.receive(frame)`` and ``session.closed(reason)``.
Out: ``ports.Peer``, ``ports.Store`` and ``ports.Bus``.
"""
