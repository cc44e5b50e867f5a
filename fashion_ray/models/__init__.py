"""Networks from pixels to answers: trunks, heads, preprocessing, the taxonomy, the bundle, the inference engines."""
