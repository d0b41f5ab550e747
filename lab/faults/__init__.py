"""Faults: of networks (a TCP proxy), of programs, of clients."""
