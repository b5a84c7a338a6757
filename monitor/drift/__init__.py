"""Decides what drifts, alerts and ends: pure functions from values to values, without IO or clock.

Glossary, in the order of the data:

    connection   one VoiceLink connection of an account: the phone numbers that are watched together
    sync         one request for everything about a connection; it fails, is held or is applied
    snapshot     one readable answer, normalised: the numbers by key, each ready or drifting
    change       one difference between two snapshots of a connection
    hold         implausible answers in a row, not applied until they repeat
    streak       how the last syncs of a connection ended: failures or answers in a row
    track        one problem of one number, connection or receiver, from the first sync that showed it
    settle       a track is settled when one more sync with the same answer would not bring it further
    episode      a confirmed track, until it ends
    alert        episodes grouped for people: opened with the first, resolved with the last
    delivery     one message about an alert on its way to one receiver
    silence      what a person keeps quiet for a while, as an ignore rule of the config does for good
    wake         the next instant at which something happens without a sync
"""
