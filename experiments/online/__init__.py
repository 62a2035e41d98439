"""The elastic schedule under load: a simulation, and the real server on loopback."""
