"""The prediction service: a Bento with the registered models, an HTTP interface and the page people draw on."""
