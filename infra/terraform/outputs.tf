output "registry" {
  description = "The registry: `--registry` of every command, REGISTRY in settings.env."
  value       = "gs://${google_storage_bucket.registry.name}/${local.registry_prefix}"
}

output "catalog" {
  description = "Where the shop delivers catalog.csv, taxonomy.csv and the images."
  value       = "gs://${google_storage_bucket.catalog.name}"
}

output "pipeline_root" {
  description = "Where pipeline runs keep what their steps pass on."
  value       = "gs://${google_storage_bucket.runs.name}/pipelines"
}

output "image_repository" {
  description = "Where CI pushes images: `--registry` of infra/images.py."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.repository_id}"
}

output "pipeline_repository" {
  description = "Where CI uploads compiled pipelines: `--repository` of lookalike upload."
  value       = google_artifact_registry_repository.pipelines.repository_id
}

output "service_accounts" {
  description = "E-mail address of each program's account."
  value       = local.emails
}

output "secrets" {
  description = "Secret Manager names whose content is put in by hand."
  value       = { for name, secret in google_secret_manager_secret.used : name => secret.id }
}

output "workload_identity_provider" {
  description = "What GitHub Actions authenticates with; empty without a repository."
  value       = one(google_iam_workload_identity_pool_provider.github[*].name)
}

output "cluster" {
  description = "Name of the GKE cluster; empty without one."
  value       = one(google_container_cluster.serving[*].name)
}
