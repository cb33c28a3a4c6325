"""What crosses steps, defined once: tables, taxonomy, bundle, verdict, object store, registry."""
