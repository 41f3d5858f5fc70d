"""The command vmdk-cache; start reading at vmdk_cache/cli/main.py."""
