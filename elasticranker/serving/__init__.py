"""Serving: a budget a request from the load at hand (`schedule`), and the HTTP server around it."""

from elasticranker.serving.schedule import ElasticSchedule, Overloaded, Ticket

__all__ = ["ElasticSchedule", "Overloaded", "Ticket"]
