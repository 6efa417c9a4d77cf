"""The proof that a converted file scores as its network: test sets, certificate, noise by layer."""
