"""The rules that judge a run: a reading of docs/protocol.md that shares no code with the server."""
