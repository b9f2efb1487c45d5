"""ASGI middleware around all routes, BentoML's own included: request ids and logs, access control, limits."""
