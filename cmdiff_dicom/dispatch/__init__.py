"""Settles studies, rings workers through Celery over Redis, and picks up what was lost."""
