"""Uploads, submits and schedules the compiled pipelines, on Kubeflow and on Vertex AI."""
