"""The domain: no transport and no vendor is imported here."""
