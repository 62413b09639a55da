"""The app that is measured: articles by authors in categories, and a page that asks five questions."""
