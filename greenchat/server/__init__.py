"""The program: ``python -m greenchat.server``.  Nobody imports this room."""
