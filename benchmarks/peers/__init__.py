"""The same events and the same model in several systems, each in a process of its own."""
