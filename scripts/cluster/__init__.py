"""Clusters of real processes on loopback, for the demo, the benchmarks and the cluster tests."""
