"""A soak test of the inference service: random load for minutes, and nothing may be lost, left over or leaked.

`python -m benchmarks.soak` starts the real service as a process of its own and holds every single call, and the state
at the end, to what the contract promises.
"""
