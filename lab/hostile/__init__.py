"""Hostile clients, and two innocent ones that chat meanwhile.

``python -m lab.hostile [NAME …] [--seconds S] [--scale N]`` attacks a server of its own, with so many
times the peers of the tests, and prints what it took of the server's memory and of the innocents' time.
"""
