resource "google_artifact_registry_repository" "images" {
  repository_id = "lookalike-${var.environment}"
  location      = var.region
  format        = "DOCKER"
  description   = "The images of the steps and of serving, tagged with the commit."

  docker_config {
    # What a release was tested with is what runs: nobody pushes another image under its tag.
    immutable_tags = true
  }

  cleanup_policy_dry_run = false

  cleanup_policies {
    id     = "keep-recent"
    action = "KEEP"

    most_recent_versions {
      keep_count = 30
    }
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"

    condition {
      older_than = "${var.keep_versions_days * 24 * 3600}s"
    }
  }

  depends_on = [google_project_service.used]
}

resource "google_artifact_registry_repository" "pipelines" {
  repository_id = "lookalike-${var.environment}-pipelines"
  location      = var.region
  format        = "KFP"
  description   = "Compiled pipelines with their images pinned, one version a commit."

  depends_on = [google_project_service.used]
}
