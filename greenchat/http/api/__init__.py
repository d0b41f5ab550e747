"""The calls of HTTP that act as a user: sessions, messages, events, and their description (OpenAPI).

Each call is a visit (``service.visit``): what it may do is decided where every connection's request is.
"""
