"""What is watched, and by which rules: values, without IO."""
