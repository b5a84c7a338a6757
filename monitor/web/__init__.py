"""The web side: metrics endpoint, probes, JSON API and pages.

`app.py` puts the routes together. A new page goes to `pages/`, a new question of the JSON API to `api/`, a
new action to `actions.py`, with a form in `pages/forms.py`. What they show comes from `sources.py`.
"""
