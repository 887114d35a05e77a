"""Fetch: download published files and models of the hub; the only room that uses the network.

Other rooms import `sources`, `hub` and `checksums`.
"""
