"""Fine-tuning on the catalog: the loop, its schedule and caches, Ray Train and Tune, and what a run is worth."""
