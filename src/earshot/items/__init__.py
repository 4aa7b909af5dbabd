"""Items: what is asked about which audio, from labels, transcripts or the user, and what must not
leak.
"""
