"""Transport plumbing that the services share: statuses, validation, metadata, servers, channels, settings and logs.

It knows no domain word and imports no service. A thing belongs here only once two services use it.
"""
