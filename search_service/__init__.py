"""The search service: finds sources for a question, on the web through Brave or in the operator's own files.

It wraps one provider a query behind one contract, and keeps what callers should not have to think about: rate
limits, quotas, retries, a short-lived cache, and text that is clean and safe to show.
"""
