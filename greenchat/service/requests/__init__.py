"""The requests of clients, one module a subject, and the rules that several of them share."""
