"""Requests to other people's servers: which addresses may be requested, and a client that keeps to these rules."""
