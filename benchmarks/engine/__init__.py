"""The inference service against llama-server and llama.cpp's own batched benchmark.

All run the same kernels on the same model file, threads, context and token ids; `python -m benchmarks.engine` drives
them.
"""
