"""The HTTP interface: a FastAPI application with its routes, schemas, errors and request bodies."""
