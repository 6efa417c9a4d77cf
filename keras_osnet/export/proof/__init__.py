"""Proof that a converted file has the scores of its network: test sets, certificate, noise by layer."""
