"""What a user runs: recipes, the data that ships, and the `optical` command."""
