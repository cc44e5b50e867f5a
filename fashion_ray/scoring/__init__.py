"""The nightly job: every product of the catalog through a bundle, into published snapshots."""
