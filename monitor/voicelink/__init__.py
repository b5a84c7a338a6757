"""The provider's API, read-only: requests, their budget, and answers read into snapshots."""
