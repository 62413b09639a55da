"""The newsroom's pages."""

from __future__ import annotations

from django.urls import path

from news import views

app_name = "news"

urlpatterns = [
    path("", views.front_page, name="front_page"),
    path("article/<slug:slug>/", views.article, name="article"),
    path("category/<slug:slug>/", views.category, name="category"),
    path("tag/<slug:slug>/", views.tag, name="tag"),
    path("country/<str:code>/", views.country, name="country"),
    path("stats/", views.stats, name="stats"),
]
