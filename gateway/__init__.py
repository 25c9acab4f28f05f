"""The gateway: a question in, a streamed, cited answer out.

It asks the search service for sources and the inference service for an answer grounded in them, forwards tokens as they
are made, and reads the citations out of them on the way.
"""
