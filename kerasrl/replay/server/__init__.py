"""The server of a replay: it listens on loopback, and nobody waits for it for ever."""
