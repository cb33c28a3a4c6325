"""The registry: bundles, verdicts and channels on an object store, local or in the cloud."""
