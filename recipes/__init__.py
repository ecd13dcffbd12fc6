"""The user's side: recipes, the data that ships, and the `optical` command."""
