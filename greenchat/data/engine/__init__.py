"""The databases: their connections and dialects, how statements are written and run, and their set-up."""
