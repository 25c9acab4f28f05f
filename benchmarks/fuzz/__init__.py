"""Inputs that nobody should send: mutated by the million, and what the code that reads them does.

Nothing may end otherwise than by an answer or by one of the errors that the code names. A status INTERNAL must have its
cause in the log.
"""
