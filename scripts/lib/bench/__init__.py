"""Benchmarks: `./scripts/bench NAME`. Each module measures one thing and returns results with their targets."""
