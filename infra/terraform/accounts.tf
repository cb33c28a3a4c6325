# One account for each program, and two for pipelines: who builds a candidate cannot promote it.
locals {
  accounts = {
    builder   = "Runs visual-search: catalog to the candidate and its offline verdict."
    releaser  = "Runs release: the human verdict and the promotion."
    trainer   = "The training group's workers."
    serving   = "Answers shoppers; moves and overwrites nothing."
    console   = "The console of the engineers on call."
    rating    = "The rating application."
    scheduler = "Starts the nightly run; reads and writes nothing."
    ci        = "Pushes images and pipelines; touches neither registry nor catalog."
  }

  # Programs in Kubernetes: their service account there is called as their Google account is here.
  in_cluster = toset(["serving", "console", "rating"])

  emails  = { for name, account in google_service_account.program : name => account.email }
  members = { for name, email in local.emails : name => "serviceAccount:${email}" }
}

resource "google_service_account" "program" {
  for_each = local.accounts

  account_id   = "lookalike-${each.key}"
  display_name = "Lookalike ${each.key} (${var.environment})"
  description  = each.value

  depends_on = [google_project_service.used]
}

resource "google_service_account_iam_member" "workload_identity" {
  for_each = var.cluster ? local.in_cluster : toset([])

  service_account_id = google_service_account.program[each.key].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${var.project}.svc.id.goog[${var.namespace}/lookalike-${each.key}]"

  depends_on = [google_container_cluster.serving]
}

# Starting a run, or workers, as another account takes that account's leave.
resource "google_service_account_iam_member" "acts_as" {
  for_each = {
    scheduler_as_builder = { who = "scheduler", whom = "builder" }
    builder_as_trainer   = { who = "builder", whom = "trainer" }
  }

  service_account_id = google_service_account.program[each.value.whom].name
  role               = "roles/iam.serviceAccountUser"
  member             = local.members[each.value.who]
}

resource "google_project_iam_member" "vertex" {
  for_each = toset(["builder", "releaser", "scheduler"])

  project = var.project
  role    = "roles/aiplatform.user"
  member  = local.members[each.key]
}

resource "google_project_iam_member" "logs" {
  for_each = toset(["builder", "releaser", "trainer", "serving", "console", "rating"])

  project = var.project
  role    = "roles/logging.logWriter"
  member  = local.members[each.key]
}

# The train step shows its workers' lines.
resource "google_project_iam_member" "reads_logs" {
  project = var.project
  role    = "roles/logging.viewer"
  member  = local.members["builder"]
}

resource "google_artifact_registry_repository_iam_member" "reads_images" {
  for_each = toset(["builder", "releaser", "trainer", "serving", "console", "rating"])

  location   = google_artifact_registry_repository.images.location
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = local.members[each.key]
}

resource "google_artifact_registry_repository_iam_member" "reads_pipelines" {
  for_each = toset(["builder", "releaser", "scheduler"])

  location   = google_artifact_registry_repository.pipelines.location
  repository = google_artifact_registry_repository.pipelines.name
  role       = "roles/artifactregistry.reader"
  member     = local.members[each.key]
}

resource "google_artifact_registry_repository_iam_member" "ci" {
  for_each = {
    images    = google_artifact_registry_repository.images
    pipelines = google_artifact_registry_repository.pipelines
  }

  location   = each.value.location
  repository = each.value.name
  role       = "roles/artifactregistry.writer"
  member     = local.members["ci"]
}
