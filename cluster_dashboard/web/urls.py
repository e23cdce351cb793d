"""The addresses of the pages that people open."""

from django.urls import path

from cluster_dashboard.web import views

urlpatterns = [
    path("", views.live, name="live"),
    path("jobs", views.jobs, name="jobs"),
    path("jobs/new", views.new_job, name="new-job"),
    path("jobs/<int:job_id>", views.job, name="job"),
    path("dead-letters", views.dead_letters, name="dead-letters"),
    path("login", views.SignIn.as_view(), name="login"),
    path("logout", views.SignOut.as_view(), name="logout"),
]
