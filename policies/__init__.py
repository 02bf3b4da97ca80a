"""The shipped policies: one commented TOML file each."""
