"""What scoring is measured against: `python benchmarks/<name>.py --root ROOT` prints a JSON line and a readable one."""
