"""Manifests for Kubernetes; one of them, the rules of Prometheus, is made by `python -m deploy.kubernetes`."""
