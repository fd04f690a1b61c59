"""The parts of `benchmarks/steady.py` and `benchmarks/soak.py`: this machine, embedded log."""
