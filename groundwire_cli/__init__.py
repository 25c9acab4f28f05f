"""The `groundwire` command. It talks to the services as any client does; only `index` opens the local index itself."""
