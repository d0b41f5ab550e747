"""One logged-in device: its connection, what it has and what it may be sent now, and the end of its login."""
