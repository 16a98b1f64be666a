"""A live dashboard of every TCP connection of the host: htop for TCP."""

__version__ = "0.1.0"
