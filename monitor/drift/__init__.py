"""The pure core: snapshots, their differences, plausibility, policy and alerts. No IO, no clock."""
