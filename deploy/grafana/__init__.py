"""Grafana's dashboards, made of Python: `python -m deploy.grafana` writes the JSON that Grafana reads."""
