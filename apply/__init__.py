"""What this node does about it: options, validation, rendering, reconcile with multipathd, health collection."""
