"""Numbers with rules: OKS average precision, PCK, NME, pixel error. NumPy only."""
