"""The routes, one module a subject; each has `add(app, service)`."""
