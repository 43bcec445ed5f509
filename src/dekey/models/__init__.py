"""The networks: backbone, deconvolution decoder, heads, losses."""
