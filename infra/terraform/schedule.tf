# The nightly run on Vertex AI: Cloud Scheduler posts a pipeline job that runs as the builder.
resource "google_cloud_scheduler_job" "nightly" {
  count = var.schedule != "" && var.pipeline_version != "" ? 1 : 0

  name             = "lookalike-${var.environment}-nightly"
  region           = var.region
  description      = "Starts visual-search on the day's catalog."
  schedule         = var.schedule
  time_zone        = var.time_zone
  attempt_deadline = "60s"

  retry_config {
    retry_count          = 3
    min_backoff_duration = "60s"
    max_backoff_duration = "600s"
  }

  http_target {
    http_method = "POST"
    uri         = "https://${var.region}-aiplatform.googleapis.com/v1/projects/${var.project}/locations/${var.region}/pipelineJobs"

    headers = {
      Content-Type = "application/json"
    }

    body = base64encode(jsonencode({
      displayName    = "visual-search nightly"
      templateUri    = "https://${var.region}-kfp.pkg.dev/${var.project}/${google_artifact_registry_repository.pipelines.repository_id}/visual-search/${var.pipeline_version}"
      serviceAccount = local.emails["builder"]
      labels         = { app = "lookalike", environment = var.environment }
      runtimeConfig = {
        gcsOutputDirectory = "gs://${google_storage_bucket.runs.name}/pipelines"
        failurePolicy      = "PIPELINE_FAILURE_POLICY_FAIL_FAST"
        parameterValues = merge(var.pipeline_parameters, {
          catalog               = "gs://${google_storage_bucket.catalog.name}/catalog.csv"
          taxonomy              = "gs://${google_storage_bucket.catalog.name}/taxonomy.csv"
          queries               = var.queries == "" ? "" : "gs://${google_storage_bucket.catalog.name}/${var.queries}"
          votes                 = var.votes == "" ? "" : "gs://${google_storage_bucket.catalog.name}/${var.votes}"
          registry              = "gs://${google_storage_bucket.registry.name}/${local.registry_prefix}"
          channel               = var.channel
          raters                = var.raters
          notify_webhook_secret = var.notify ? google_secret_manager_secret.used["webhook"].id : ""
        })
      }
    }))

    oauth_token {
      service_account_email = local.emails["scheduler"]
    }
  }

  depends_on = [google_project_service.used]
}
