"""One logged-in device: its connection, the entries that it has and is sent, and the end of its login."""
