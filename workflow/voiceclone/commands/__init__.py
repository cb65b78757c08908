"""The subcommands of ``voiceclone``."""
