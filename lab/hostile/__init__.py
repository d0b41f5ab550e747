"""Hostile clients, and two innocent ones that chat meanwhile.

``python -m lab.hostile [NAME …] [--seconds S] [--scale N]`` attacks a server of its own, with so many
times the peers of the tests, and prints the memory of the server and the latency of the innocents.
"""
