"""Guards the two HTTP APIs, the collector and the decision API, against whoever can reach their addresses.

A request passes connections.py (size and time of a head, number of connections), guard.py (its key, the scope of the
key, how often it may ask) and only then the API itself. Keys come from keys.py; key_watch.py follows their file.
"""
