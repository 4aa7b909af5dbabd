"""Items: what is asked about which audio, from labels, transcripts or the user, and what must not
leak.
"""

from earshot.items import choice, classes

# by task: how items are built, and checked for leaks
ITEMS = {"choice": choice, "classes": classes}
