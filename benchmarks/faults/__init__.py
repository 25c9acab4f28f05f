"""Damage done to the real processes, and what became of their callers.

`make faults` overloads the inference service, cancels streams at random moments, kills each service under its callers,
and lets one client of many read slowly. The same drivers run in tests/faults, for seconds instead of minutes.
"""
