"""The inference service: one GGUF model on llama.cpp, many streams at once.

It batches the sequences of all callers into single forward passes, admits new ones between passes, and builds every
prompt from token ids so that no text can forge a control token.
"""
