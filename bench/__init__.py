"""Benchmarks, run by hand: python -m bench train|sample|score|startup|all. See RESULTS.md."""
