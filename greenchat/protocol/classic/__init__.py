"""The wire of the original C++ clients, and all that is particular to it.

Those clients (muduo, nlohmann/json) end a message with NUL, read 1,024 bytes at most, take one ``recv`` for
one message and abort on anything that they cannot parse.  docs/original.md has their users' view.
"""
