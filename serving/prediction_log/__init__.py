"""The prediction log, request ids, and users' labels for logged answers."""
