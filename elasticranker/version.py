"""The version, apart from the package's front door so that a module inside can name it without importing that."""

__version__ = "0.2.0"
