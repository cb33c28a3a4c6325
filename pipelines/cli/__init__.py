"""The command line: a thin layer over pipelines, components and serving."""
