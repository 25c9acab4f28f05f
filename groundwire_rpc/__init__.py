"""Transport plumbing that the services share: statuses, metadata, servers, channels, TLS, tokens, settings and logs.

It knows no domain word and imports no service. A thing belongs here only once two services use it.
"""
