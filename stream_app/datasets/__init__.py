"""Real data turned into event streams, for the demo and the benchmarks."""
